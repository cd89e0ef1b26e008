/* The loop: who waits for which descriptor. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MAX_WATCHES (4 * KEEP_MAX_TASKS)

static struct watch {
	int fd; /* -1: free */
	short events;
	watcher call;
	void *owner;
} watches[MAX_WATCHES];

static size_t used;

static struct watch *find(int fd)
{
	for (size_t i = 0; i < used; i++)
		if (watches[i].fd == fd)
			return &watches[i];
	return NULL;
}

int watch_add(int fd, short events, watcher call, void *owner)
{
	struct watch *watch = find(-1);

	if (watch == NULL) {
		if (used == MAX_WATCHES)
			return ENFILE;
		watch = &watches[used++];
	}
	*watch = (struct watch){.fd = fd, .events = events, .call = call, .owner = owner};
	return 0;
}

void watch_set(int fd, short events)
{
	struct watch *watch = find(fd);

	if (watch != NULL)
		watch->events = events;
}

void watch_drop(int fd)
{
	struct watch *watch = find(fd);

	if (watch != NULL)
		watch->fd = -1;
}

static int timeout_until(uint64_t deadline)
{
	uint64_t now;

	if (deadline == 0)
		return -1;
	now = now_ms();
	if (now >= deadline)
		return 0;
	return deadline - now > 60000 ? 60000 : (int)(deadline - now);
}

static uint64_t next_deadline(void)
{
	uint64_t next = earlier(task_deadline(), keep.kill_at);

	next = earlier(next, again_deadline());
	next = earlier(next, health_deadline());
	return earlier(next, listen_deadline());
}

static void expire(void)
{
	uint64_t now = now_ms();

	task_expire(now);
	stop_expire(now);
	again_expire(now);
	health_expire(now);
	listen_expire(now);
}

void watch_step(uint64_t deadline)
{
	static struct pollfd fds[MAX_WATCHES];
	size_t count = used;
	int ready;

	for (size_t i = 0; i < count; i++) {
		/* A paused descriptor would still report a hang-up. */
		fds[i].fd = watches[i].events == 0 ? -1 : watches[i].fd;
		fds[i].events = watches[i].events;
		fds[i].revents = 0;
	}
	ready = poll(fds, (nfds_t)count, timeout_until(earlier(deadline, next_deadline())));
	for (size_t i = 0; i < count && ready > 0; i++) {
		if (fds[i].revents == 0)
			continue;
		ready--;
		/* An earlier call may have dropped or reused the slot. */
		if (watches[i].fd == fds[i].fd && watches[i].events != 0)
			watches[i].call(watches[i].owner, fds[i].revents);
	}
	expire();
}

static void signals_ready(void *owner, short events)
{
	struct signalfd_siginfo info[8];
	ssize_t n = read(*(int *)owner, info, sizeof info);

	(void)events;
	for (ssize_t i = 0; i < n / (ssize_t)sizeof info[0]; i++) {
		switch (info[i].ssi_signo) {
		case SIGCHLD:
			task_reap();
			break;
		case SIGWINCH:
			tty_resize();
			break;
		default:
			stop_request((int)info[i].ssi_signo);
		}
	}
}

int watch_signals(void)
{
	static int fd;
	sigset_t set;

	/* All are blocked: a write to a closed pipe or to a terminal from the background must fail or
	 * succeed, not stop or end the keeper. */
	sigfillset(&set);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return errno;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	/* An ignored signal would never arrive; SIGCHLD ignored would lose exit statuses. */
	signal(SIGCHLD, SIG_DFL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? errno : watch_add(fd, POLLIN, signals_ready, &fd);
}
