/* The verbs of the front. */
#define _GNU_SOURCE
#include "front.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Tells Python what became of a start it did not make itself: "INDEX ERRNO" of the op that failed. */
#define START_FAILED "APPC_OCI_START_FAILED"

static int state(const struct front_container *container)
{
	static const char *const words[] = {"", "stopped", "created", "running", "paused"};
	static char text[FRONT_SIZE + 64];
	enum front_status status = front_status(container);
	const struct front_file *file = &container->file;
	size_t written = 0, length;

	if (status == FRONT_UNKNOWN)
		return FRONT_PYTHON;
	length = (size_t)snprintf(text, sizeof text, "%s%d%s%s%s", file->head, status == FRONT_STOPPED ? 0 : container->pid,
	                          file->middle, words[status], file->tail);
	while (written < length) {
		ssize_t n = write(STDOUT_FILENO, text + written, length - written);

		if (n < 0 && errno != EINTR)
			return written == 0 ? FRONT_PYTHON : 1;
		written += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Connected to the process that awaits its start; -1 when it does not. */
static int connect_start(int directory)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	/* By the descriptor, since an address holds a path of a hundred bytes. */
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/start", directory);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && send(fd, "\1", 1, MSG_NOSIGNAL) == 1)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int start(const struct front_container *container)
{
	struct report report = {.kind = 0};
	char failure[32];
	bool refused;
	ssize_t n;
	int fd;

	if (front_status(container) != FRONT_CREATED)
		return FRONT_PYTHON;
	fd = connect_start(container->directory);
	if (fd < 0)
		return FRONT_PYTHON;
	do
		n = recv(fd, &report, sizeof report, 0);
	while ((n < 0 && errno == EINTR) || (n == sizeof report && report.kind != REPORT_FAIL));
	/* Nobody has taken the word: another's was first, or the process is gone. */
	refused = n < 0 && errno == ECONNRESET;
	close(fd);
	if (refused)
		return FRONT_PYTHON;
	unlinkat(container->directory, "start", 0);
	if (n != sizeof report)
		return 0;
	snprintf(failure, sizeof failure, "%u %u", report.index, report.error);
	setenv(START_FAILED, failure, 1);
	return FRONT_PYTHON;
}

static int kill_process(const struct front_container *container, const struct front_call *call)
{
	enum front_status status;
	int fd, sent;

	/* Processes that are made meanwhile die, too, where the kernel sees to it; else Python does. */
	if (call->all && call->signal == SIGKILL)
		return !front_frozen(&container->file) && front_kill_group(&container->file) ? 0 : FRONT_PYTHON;
	if (call->all)
		return front_signal_groups(&container->file, call->signal) ? 0 : FRONT_PYTHON;
	status = front_status(container);
	if (status != FRONT_CREATED && status != FRONT_RUNNING)
		return FRONT_PYTHON;
	fd = front_pidfd(container);
	if (fd < 0)
		return FRONT_PYTHON;
	sent = (int)syscall(SYS_pidfd_send_signal, fd, call->signal, NULL, 0);
	close(fd);
	return sent == 0 ? 0 : FRONT_PYTHON;
}

static int perform(const struct front_container *container, const struct front_call *call)
{
	if (call->verb == FRONT_STATE && front_allows(&container->file, "state"))
		return state(container);
	if (call->verb == FRONT_START && front_allows(&container->file, "start"))
		return start(container);
	if (call->verb == FRONT_KILL && front_allows(&container->file, "kill"))
		return kill_process(container, call);
	return FRONT_PYTHON;
}

int front(int argc, char **argv)
{
	struct front_container container = {.pid = 0};
	struct front_call call;
	char path[PATH_MAX], root[PATH_MAX];
	int directory, status = FRONT_PYTHON;

	if (!front_call(&call, argc, argv, front_root(root, sizeof root)) ||
	    snprintf(path, sizeof path, "%s/%s", call.root, call.id) >= (int)sizeof path)
		return FRONT_PYTHON;
	if (call.verb == FRONT_DELETE)
		return front_delete(path, call.force);
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return FRONT_PYTHON;
	if (front_open(&container, directory))
		status = perform(&container, &call);
	close(directory);
	return status;
}
