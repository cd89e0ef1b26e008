/* Descriptors for those who asked to have them: a terminal, a pidfd, the listener of a filter. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int send_descriptor(const char *path, const char *data, size_t size, int sent)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct iovec part = {.iov_base = (char *)data, .iov_len = size};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	size_t length = strlen(path);
	int fd, error = 0;

	if (length >= sizeof address.sun_path)
		return ENAMETOOLONG;
	memcpy(address.sun_path, path, length + 1);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof sent);
	memcpy(CMSG_DATA(header), &sent, sizeof sent);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
		error = errno;
	close(fd);
	return error;
}

int console_send(const struct task *task, int master)
{
	static const char name[] = "/dev/ptmx";

	return send_descriptor(task->console, name, sizeof name - 1, master);
}

/* The agent's socket, and the text around each place of the process's number. */
static struct {
	const char *socket;
	struct wire_arg state;
} agent;

int keep_agent(const struct wire_op *op)
{
	if (agent.socket != NULL)
		return EINVAL;
	agent.socket = op->args[0].p;
	agent.state = op->args[1];
	return 0;
}

int agent_send(const struct task *task, int listener)
{
	static char text[1 << 16];
	const char *at = agent.state.p;
	struct text number = {.used = 0};
	size_t used = 0;

	if (agent.socket == NULL)
		return EPROTO;
	text_number(&number, (uint64_t)task->pid);
	for (uint64_t i = 0; i < agent.state.n; i++) {
		const char *part = wire_item(&at);
		size_t size = strlen(part);

		if (used + number.used + size > sizeof text)
			return EMSGSIZE;
		if (i > 0) {
			memcpy(text + used, number.bytes, number.used);
			used += number.used;
		}
		memcpy(text + used, part, size);
		used += size;
	}
	return send_descriptor(agent.socket, text, used, listener);
}
