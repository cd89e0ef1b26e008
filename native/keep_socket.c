/* Sockets that apps find open when they start (sd_listen_fds(3)): the caller's, or made here. They stay open as long
 * as the pod, so none is lost while an app runs again. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SOCKETS 256

static struct {
	const char *app;
	int fd;
} sockets[MAX_SOCKETS];

static size_t count;

static int make(const char *kind, const struct sockaddr_storage *address, socklen_t size, int *fd)
{
	bool stream = strcmp(kind, "tcp") == 0;
	int on = 1, off = 0, error = 0;

	if (!stream && strcmp(kind, "udp") != 0)
		return EINVAL;
	*fd = high_fd(socket(address->ss_family, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
	if (*fd < 0)
		return errno;
	if (stream)
		setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	/* All addresses of IPv6 are those of IPv4, too. */
	if (address->ss_family == AF_INET6)
		setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(*fd, (const struct sockaddr *)address, size) < 0 || (stream && listen(*fd, SOMAXCONN) < 0)) {
		error = errno;
		close(*fd);
	}
	return error;
}

static int make_somewhere(const struct wire_op *op, int *fd)
{
	struct sockaddr_storage address;
	socklen_t size;
	int error = net_address(op->args[2].p, op->args[3].n, &address, &size), left;

	if (error != 0 || op->args[4].n == 0)
		return error != 0 ? error : make(op->args[1].p, &address, size, fd);
	error = net_enter_pod();
	if (error != 0)
		return error;
	error = make(op->args[1].p, &address, size, fd);
	left = net_leave_pod();
	return error != 0 ? error : left;
}

int keep_socket(const struct wire_op *op)
{
	int fd = -1, error = 0;

	if (count == MAX_SOCKETS)
		return ENFILE;
	if (strcmp(op->args[1].p, "inherited") != 0)
		error = make_somewhere(op, &fd);
	else if (op->args[3].n < keep.given)
		fd = keep.sockets[op->args[3].n];
	else
		error = EBADF;
	if (error != 0)
		return error;
	sockets[count].app = op->args[0].p;
	sockets[count++].fd = fd;
	return 0;
}

void socket_forget(const char *app)
{
	for (size_t i = 0; i < count;) {
		if (strcmp(sockets[i].app, app) != 0) {
			i++;
			continue;
		}
		close(sockets[i].fd);
		memmove(&sockets[i], &sockets[i + 1], (--count - i) * sizeof sockets[0]);
	}
}

void socket_place(const char *app)
{
	int number = CHILD_SOCKETS;

	for (size_t i = 0; i < count && number < CHILD_SOCKETS + CHILD_MOST_SOCKETS; i++)
		if (strcmp(sockets[i].app, app) == 0)
			place(sockets[i].fd, number++);
}
