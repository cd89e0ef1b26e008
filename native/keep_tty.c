/* Our own terminal joined to an app's console. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct {
	int master; /* -1: nothing attached */
	bool raw;
	struct termios saved;
	size_t at, end;
	char pending[1024];
} tty = {.master = -1};

static void detach(void)
{
	watch_drop(STDIN_FILENO);
	watch_drop(tty.master);
	close(tty.master);
	tty.master = -1;
}

static void master_ready(void *owner, short events);

/* Sends what was typed; the console takes only so much before somebody reads it. */
static void send_pending(void)
{
	while (tty.at < tty.end) {
		ssize_t n = write(tty.master, tty.pending + tty.at, tty.end - tty.at);

		if (n < 0 && errno == EAGAIN) {
			watch_set(STDIN_FILENO, 0);
			watch_drop(tty.master);
			if (watch_add(tty.master, POLLOUT, master_ready, NULL) == 0)
				return;
		}
		if (n < 0) {
			detach();
			return;
		}
		tty.at += (size_t)n;
	}
	tty.at = tty.end = 0;
}

static void master_ready(void *owner, short events)
{
	(void)owner;
	(void)events;
	watch_drop(tty.master);
	watch_set(STDIN_FILENO, POLLIN);
	send_pending();
}

static void stdin_ready(void *owner, short events)
{
	ssize_t n = read(STDIN_FILENO, tty.pending, sizeof tty.pending);

	(void)owner;
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	tty.at = 0;
	if (n > 0) {
		tty.end = (size_t)n;
	} else {
		/* Input from a file ended: the console's own way to say so is Ctrl-D. */
		watch_drop(STDIN_FILENO);
		tty.pending[0] = 4;
		tty.end = 1;
	}
	send_pending();
}

void tty_resize(void)
{
	struct winsize size;

	if (tty.master >= 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		ioctl(tty.master, TIOCSWINSZ, &size);
}

static void make_raw(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &tty.saved) < 0)
		return;
	raw = tty.saved;
	cfmakeraw(&raw);
	tty.raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

/* To those who attach later, by a descriptor of its own: the stream is watched, too. */
static void offer(const char *app, int master)
{
	int fd = fcntl(master, F_DUPFD_CLOEXEC, 0);

	if (fd >= 0 && attach_input(app, fd, true) != 0)
		close(fd);
}

void tty_attach(struct task *task, int master)
{
	bool attach = (keep.foreground || task->role == ROLE_EXECUTE) && tty.master < 0;

	/* No name before its lines: what a terminal shows is not all lines. */
	if (stream_add(master, task->app, task->stdio.log, 1, attach ? STDOUT_FILENO : -1, false) != 0) {
		close(master);
		return;
	}
	if (task->role == ROLE_APP)
		offer(task->app, master);
	if (!attach)
		return;
	tty.master = fcntl(master, F_DUPFD_CLOEXEC, 0);
	if (tty.master < 0)
		return;
	make_raw();
	tty_resize();
	watch_add(STDIN_FILENO, POLLIN, stdin_ready, NULL);
}

void tty_restore(void)
{
	if (tty.raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &tty.saved);
	tty.raw = false;
}
