/* Sockets that wait for a service nobody has needed yet: the first connection hands the listening
 * socket over to the service, which is started when it does not run. */
#define _GNU_SOURCE
#include "keep.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_LISTENERS 8
#define LONGEST_NAME 64 /* of the service's socket in its directory */
#define RETRY 5        /* ms between attempts to reach the service */
#define PATIENCE 5000  /* ms until an attempt is given up */
#define PAUSE 1000     /* ms before the next one, and between two starts of the service */

static struct listener {
	int socket;
	int service;             /* connection while the service serves, else -1 */
	const char *path;
	const struct wire_arg *argv;
	struct wire_arg argv_copy;
	pid_t helper;            /* the service being started, 0 for none */
	uint64_t retry, give_up; /* ms, 0 = none */
	uint64_t start_again;    /* ms, when a service that ended may be started anew */
} listeners[MAX_LISTENERS];

static size_t count;

int net_address(const char *text, uint64_t port, struct sockaddr_storage *address, socklen_t *size)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;

	memset(address, 0, sizeof *address);
	if (port == 0 || port > UINT16_MAX)
		return EINVAL;
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		*size = sizeof *v4;
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		*size = sizeof *v6;
	} else {
		return EINVAL;
	}
	return 0;
}

static int make_socket(const struct sockaddr_storage *address, socklen_t size, int *fd)
{
	int on = 1, error = 0;

	*fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return errno;
	setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(*fd, (const struct sockaddr *)address, size) < 0 || listen(*fd, SOMAXCONN) < 0) {
		error = errno;
		close(*fd);
	}
	return error;
}

/* A network to come back to. An ordinary user's keeper is not let back into the host's, and does not need it. */
static int open_own_net(void)
{
	int error = open_ns(0, "net", &keep.own_net);

	if (error != 0 || setns(keep.own_net, CLONE_NEWNET) == 0)
		return error;
	close(keep.own_net);
	keep.own_net = -1;
	return unshare(CLONE_NEWNET) < 0 ? errno : open_ns(0, "net", &keep.own_net);
}

int net_enter_pod(void)
{
	int error;

	if (keep.ns[0] < 0)
		return 0;
	if (keep.own_net < 0 && (error = open_own_net()) != 0)
		return error;
	return setns(keep.ns[0], CLONE_NEWNET) < 0 ? errno : 0;
}

int net_leave_pod(void)
{
	return keep.ns[0] >= 0 && setns(keep.own_net, CLONE_NEWNET) < 0 ? errno : 0;
}

static int make_in_pod(const struct sockaddr_storage *address, socklen_t size, int *fd)
{
	int error = net_enter_pod(), left;

	if (error != 0)
		return error;
	error = make_socket(address, size, fd);
	left = net_leave_pod();
	return error != 0 ? error : left;
}

void pod_name(struct text *name)
{
	struct text link = {.used = 0};
	char path[PATH_MAX];
	char *slash;
	ssize_t n;

	text_add(&link, "/proc/self/fd/");
	text_number(&link, (uint64_t)keep.pod);
	n = keep.pod < 0 ? -1 : readlink(link.bytes, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = '\0';
	slash = strrchr(path, '/');
	text_add(name, slash == NULL ? path : slash + 1);
	text_add(name, "\n");
}

static bool send_socket(int to, int fd)
{
	struct text name = {.used = 0};
	struct iovec part;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control,
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	pod_name(&name);
	part = (struct iovec){.iov_base = name.bytes, .iov_len = name.used};
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	return sendmsg(to, &message, MSG_NOSIGNAL) == (ssize_t)name.used;
}

/* By way of its directory's descriptor, as the path of a socket may not be longer than 107 bytes. */
static int service_address(struct sockaddr_un *address, const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	char above[PATH_MAX] = "";
	struct text text = {.used = 0};
	int directory;

	memcpy(above, path, (size_t)(name - path));
	directory = open(above, O_PATH | O_DIRECTORY | O_CLOEXEC);
	text_add(&text, "/proc/self/fd/");
	text_number(&text, (uint64_t)directory);
	text_add(&text, "/");
	text_add(&text, name);
	memcpy(address->sun_path, text.bytes, text.used + 1);
	return directory;
}

static int reach_service(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int directory = service_address(&address, path);
	int fd = directory < 0 ? -1 : socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(fd);
		fd = -1;
	}
	if (directory >= 0)
		close(directory);
	return fd;
}

static void connection_waits(void *owner, short events);

/* The service let go of the socket: it is ours to watch again. */
static void service_ended(void *owner, short events)
{
	struct listener *listener = owner;

	(void)events;
	watch_drop(listener->service);
	close(listener->service);
	listener->service = -1;
	watch_set(listener->socket, POLLIN);
}

static void hand_over(struct listener *listener, uint64_t now)
{
	int fd = reach_service(listener->path);

	if (fd >= 0 && send_socket(fd, listener->socket) && watch_add(fd, POLLIN, service_ended, listener) == 0) {
		listener->service = fd;
		listener->retry = listener->give_up = 0;
		return;
	}
	if (fd >= 0)
		close(fd);
	if (now >= listener->give_up) {
		listener->give_up = 0;
		listener->retry = now + PAUSE;
		return;
	}
	if (listener->helper == 0 && now >= listener->start_again) {
		pid_t pid = spawn_helper(listener->argv, true);

		listener->helper = pid > 0 ? pid : 0;
		listener->start_again = now + PAUSE;
	}
	listener->retry = now + RETRY;
}

static void connection_waits(void *owner, short events)
{
	struct listener *listener = owner;
	uint64_t now = now_ms();

	(void)events;
	watch_set(listener->socket, 0);
	listener->give_up = now + PATIENCE;
	hand_over(listener, now);
}

int listen_add(const char *address, uint64_t port, const char *service, const struct wire_arg *argv)
{
	struct listener *listener = &listeners[count];
	struct sockaddr_storage storage;
	socklen_t size;
	int error;

	if (count == MAX_LISTENERS)
		return ENFILE;
	if (service[0] != '/' || strlen(service) >= PATH_MAX || strlen(strrchr(service, '/')) > LONGEST_NAME)
		return ENAMETOOLONG;
	error = net_address(address, port, &storage, &size);
	if (error == 0)
		error = make_in_pod(&storage, size, &listener->socket);
	if (error != 0)
		return error;
	listener->service = -1;
	listener->path = service;
	listener->argv_copy = *argv;
	listener->argv = &listener->argv_copy;
	count++;
	return watch_add(listener->socket, POLLIN, connection_waits, listener);
}

uint64_t listen_deadline(void)
{
	uint64_t next = 0;

	for (size_t i = 0; i < count; i++)
		next = earlier(next, listeners[i].retry);
	return next;
}

void listen_expire(uint64_t now)
{
	for (size_t i = 0; i < count; i++) {
		struct listener *listener = &listeners[i];

		if (listener->retry == 0 || now < listener->retry)
			continue;
		listener->retry = 0;
		if (listener->give_up == 0)
			watch_set(listener->socket, POLLIN);
		else
			hand_over(listener, now);
	}
}

void listen_helper_ended(pid_t pid)
{
	for (size_t i = 0; i < count; i++)
		if (listeners[i].helper == pid)
			listeners[i].helper = 0;
}
