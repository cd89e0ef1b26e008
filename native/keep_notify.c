/* Readiness, by the protocol of sd_notify(3): what apps say of themselves, each at a socket of its own, and what the
 * keeper says of the pod to the service manager that runs it. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_NOTIFIERS 256
#define MESSAGE 4096 /* bytes; what an app says beyond is not heard */

static struct notifier {
	const char *app;
	int socket;
	char said[NOTIFY_SAID];
} notifiers[MAX_NOTIFIERS];

static size_t count;

static struct notifier *find(const char *app)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(notifiers[i].app, app) == 0)
			return &notifiers[i];
	return NULL;
}

const char *notify_said(const char *app)
{
	const struct notifier *notifier = find(app);

	return notifier == NULL ? "" : notifier->said;
}

/* Keeps the beginning of the app's own words, as one line. */
static void take_words(struct notifier *notifier, const char *words)
{
	size_t used = 0;

	for (; *words != '\0' && used < sizeof notifier->said - 1; words++)
		notifier->said[used++] = (unsigned char)*words < ' ' || *words == 127 ? ' ' : *words;
	/* Not half a character of UTF-8. */
	if (((unsigned char)*words & 0xC0) == 0x80)
		while (used > 0 && ((unsigned char)notifier->said[--used] & 0xC0) == 0x80)
			;
	notifier->said[used] = '\0';
}

static void take_line(struct notifier *notifier, struct task *app, const char *line)
{
	if (strcmp(line, "READY=1") == 0)
		app->ready = true;
	else if (strncmp(line, "STATUS=", 7) == 0)
		take_words(notifier, line + 7);
}

static void message_waits(void *owner, short events)
{
	static char message[MESSAGE];
	struct notifier *notifier = owner;
	/* Descriptors that come along find no room, so the kernel closes them. */
	ssize_t n = recv(notifier->socket, message, sizeof message - 1, MSG_DONTWAIT);
	struct task *app = task_app(notifier->app);
	char *line = message, *end;

	(void)events;
	/* It may have been executed, and we not have seen that yet. */
	if (app != NULL)
		task_ready(app, 0);
	/* What its pre-start handlers say, before it is started, does not count. */
	if (n <= 0 || app == NULL || app->phase < RELEASED)
		return;
	message[n] = '\0';
	do {
		end = strchr(line, '\n');
		if (end != NULL)
			*end = '\0';
		take_line(notifier, app, line);
		line = end == NULL ? NULL : end + 1;
	} while (line != NULL);
	status_app(app);
	notify_pod();
}

void notify_started(struct task *app)
{
	struct notifier *notifier = find(app->app);

	app->ready = notifier == NULL;
	if (notifier == NULL)
		return;
	notifier->said[0] = '\0';
	while (recv(notifier->socket, NULL, 0, MSG_DONTWAIT) >= 0)
		;
}

bool notify_all_ready(void)
{
	for (size_t i = 0; i < keep.tasks; i++)
		if (keep.task[i].role == ROLE_APP && !keep.task[i].ready)
			return false;
	return keep.ready;
}

/* An address below the pod's directory; its own path may be too long for a socket's. */
static int below_pod(struct sockaddr_un *address, const char *path)
{
	struct text text = {.used = 0};

	text_add(&text, "/proc/self/fd/");
	text_number(&text, (uint64_t)keep.pod);
	text_add(&text, "/");
	text_add(&text, path);
	if (text.used >= sizeof address->sun_path)
		return ENAMETOOLONG;
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, text.bytes, text.used + 1);
	return 0;
}

int socket_in_pod(const char *directory, const char *path, int type, mode_t mode, int *fd)
{
	struct sockaddr_un address;
	int error = below_pod(&address, path);

	if (error != 0)
		return error;
	if (keep.pod < 0)
		return EBADF;
	if (directory != NULL && mkdirat(keep.pod, directory, 0700) < 0 && errno != EEXIST)
		return errno;
	unlinkat(keep.pod, path, 0);
	*fd = high_fd(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (*fd < 0)
		return errno;
	if (bind(*fd, (struct sockaddr *)&address, sizeof address) == 0 && fchmodat(keep.pod, path, mode, 0) == 0)
		return 0;
	error = errno;
	close(*fd);
	return error;
}

void notify_forget(const char *app)
{
	struct notifier *notifier = find(app);

	if (notifier == NULL)
		return;
	watch_drop(notifier->socket);
	close(notifier->socket);
	*notifier = (struct notifier){.app = ""};
}

int keep_notify(const struct wire_op *op)
{
	struct notifier *notifier = find("");
	int error;

	if (notifier == NULL)
		notifier = &notifiers[count];
	if (notifier == &notifiers[MAX_NOTIFIERS])
		return ENFILE;
	/* Whoever the app runs as: nobody else sees the socket. */
	error = socket_in_pod("notify", op->args[1].p, SOCK_DGRAM, 0666, &notifier->socket);
	if (error != 0)
		return error;
	notifier->app = op->args[0].p;
	count += notifier == &notifiers[count];
	return watch_add(notifier->socket, POLLIN, message_waits, notifier);
}

static const char *manager = "";

void notify_manager_is(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	/* Programs the keeper starts are not the service. */
	if (path != NULL && (path[0] == '/' || path[0] == '@'))
		manager = path;
	unsetenv("NOTIFY_SOCKET");
}

void notify_manager(const char *message)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(manager);
	int fd;

	if (length == 0 || length >= sizeof address.sun_path)
		return;
	memcpy(address.sun_path, manager, length);
	if (manager[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	length += offsetof(struct sockaddr_un, sun_path);
	if (sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address, (socklen_t)length) < 0) {
		/* It has gone, and nobody waits for the pod. */
	}
	close(fd);
}

void notify_pod(void)
{
	static bool told;

	if (!notify_all_ready())
		return;
	status_keeper();
	if (!told)
		notify_manager("READY=1\nSTATUS=all apps are ready");
	told = true;
}
