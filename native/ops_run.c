/* Rendezvous, console, and the two ends of a track: the app, or PID 1. */
#define _GNU_SOURCE
#include "kernel.h"
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define LISTEN_PID "LISTEN_PID="

int await_keeper(void)
{
	char byte;
	ssize_t n;

	do
		n = recv(report_socket(), &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno;
	if (n == 0)
		_exit(127);
	return 0;
}

int op_sync(struct context *c, const struct wire_op *op)
{
	(void)op;
	report_send(REPORT_SYNC, c->index, 0, -1);
	return await_keeper();
}

/* Whoever goes away before it has said the word changes nothing. */
static int start_at = CHILD_START;

static int await_caller(int *caller)
{
	for (;;) {
		char byte;
		ssize_t n;

		*caller = accept4(start_at, NULL, NULL, SOCK_CLOEXEC);
		if (*caller < 0 && errno != EINTR && errno != ECONNABORTED)
			return errno;
		if (*caller < 0)
			continue;
		do
			n = recv(*caller, &byte, 1, 0);
		while (n < 0 && errno == EINTR);
		if (n == 1)
			return 0;
		close(*caller);
	}
}

int op_await_start(struct context *c, const struct wire_op *op)
{
	int caller, error;

	(void)op;
	report_send(REPORT_READY, c->index, 0, -1);
	/* The keeper ends at this; what comes is for who calls. */
	error = await_caller(&caller);
	if (error != 0)
		return error;
	close(start_at);
	if (dup3(caller, report_socket(), O_CLOEXEC) < 0)
		error = errno;
	close(caller);
	return error;
}

/* Opens the root's own pseudo-terminal multiplexer, and makes sure that it is one. */
static int open_master(const struct context *c)
{
	struct statfs fs;
	struct stat st;
	int fd = root_open(c, "/dev/pts/ptmx", O_RDWR | O_NOCTTY);

	if (fd < 0)
		return -1;
	if (fstatfs(fd, &fs) == 0 && fs.f_type == K_DEVPTS_MAGIC && fstat(fd, &st) == 0 && st.st_rdev == makedev(5, 2))
		return fd;
	close(fd);
	errno = ENODEV;
	return -1;
}

static int open_terminal(int master)
{
	int unlocked = 0;

	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		return -1;
	return ioctl(master, K_TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* Puts the terminal on /dev/console, by descriptor. */
static int mount_console(const struct context *c, int terminal)
{
	int dev = root_open(c, "/dev", O_PATH | O_DIRECTORY);
	int console, tree, error = 0;

	if (dev < 0)
		return errno;
	console = openat(dev, "console", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (console >= 0)
		close(console);
	console = openat(dev, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	close(dev);
	if (console < 0)
		return errno;
	tree = k_open_tree(terminal, "", K_AT_EMPTY_PATH | K_OPEN_TREE_CLONE);
	if (tree < 0 || k_move_mount(tree, console) < 0)
		error = errno;
	if (tree >= 0)
		close(tree);
	close(console);
	return error;
}

static int use_terminal(struct context *c, int terminal)
{
	/* The keeper made this process a session leader already; a lone performer is not one yet. */
	if (setsid() < 0 && getsid(0) != getpid())
		return errno;
	if (ioctl(terminal, TIOCSCTTY, 0) < 0)
		return errno;
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(terminal, fd) < 0)
			return errno;
	c->own_console = true;
	return 0;
}

int op_console(struct context *c, const struct wire_op *op)
{
	int master = open_master(c);
	struct winsize size = {.ws_row = (unsigned short)op->args[0].n, .ws_col = (unsigned short)op->args[1].n};
	int terminal, error;

	if (master < 0)
		return errno;
	if ((op->args[0].n != 0 || op->args[1].n != 0) && ioctl(master, TIOCSWINSZ, &size) < 0) {
		error = errno;
		close(master);
		return error;
	}
	terminal = open_terminal(master);
	error = terminal < 0 ? errno : 0;
	/* A process that joins a container leaves the console of that container alone. */
	if (error == 0 && !c->pivoted)
		error = mount_console(c, terminal);
	if (error == 0)
		error = use_terminal(c, terminal);
	/* Until the keeper has the other end and has set the window's size. */
	if (error == 0) {
		report_send(REPORT_CONSOLE, c->index, 0, master);
		error = await_keeper();
	}
	if (terminal >= 0)
		close(terminal);
	close(master);
	return error;
}

int op_program(struct context *c, const struct wire_op *op)
{
	const char *at = op->args[0].p;
	int result = ENOENT;

	if (!c->pivoted)
		return EINVAL;
	for (uint64_t i = 0; i < op->args[0].n; i++) {
		const char *file = wire_item(&at);
		struct stat st;

		if (stat(file, &st) < 0)
			continue;
		if (S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0)
			return 0;
		result = EACCES;
	}
	return result;
}

/* Out of the way, where a container awaits its start there; 0 or an errno. */
static int move_start(void)
{
	int fd = fcntl(start_at, F_DUPFD_CLOEXEC, CHILD_SOCKETS + CHILD_MOST_SOCKETS);

	if (fd < 0)
		return errno == EBADF ? 0 : errno;
	close(start_at);
	start_at = fd;
	return 0;
}

int op_sockets(struct context *c, const struct wire_op *op)
{
	unsigned count = (unsigned)op->args[0].n;
	int error;

	if (op->args[0].n == 0 || op->args[0].n > CHILD_MOST_SOCKETS || !c->pivoted)
		return EINVAL;
	error = report_move();
	if (error == 0)
		error = move_start();
	/* What else there is below is not needed any more: the plan has been read, the namespaces are joined. */
	for (unsigned i = 0; i < count && error == 0; i++)
		if (dup2(CHILD_SOCKETS + (int)i, 3 + (int)i) < 0)
			error = errno;
	if (error != 0)
		return error;
	c->sockets = count;
	text_add(&c->listen_pid, LISTEN_PID);
	text_number(&c->listen_pid, (uint64_t)getpid());
	return 0;
}

/* As much as execve(2) could ever take: its strings share an eighth of the stack's limit. */
#define VECTOR 131072

int op_exec(struct context *c, const struct wire_op *op)
{
	static const char *arguments[VECTOR], *environment[VECTOR];
	const char *at = op->args[0].p;
	int result = ENOENT, error;

	if (!wire_list(&op->args[1], arguments, VECTOR) || !wire_list(&op->args[2], environment, VECTOR))
		return E2BIG;
	error = prepare_exec(c);
	if (error != 0)
		return error;
	/* Which process it will be is known only now. */
	for (size_t i = 0; i < op->args[2].n && c->sockets > 0; i++)
		if (strcmp(environment[i], LISTEN_PID) == 0)
			environment[i] = c->listen_pid.bytes;
	for (uint64_t i = 0; i < op->args[0].n; i++) {
		execve(wire_item(&at), (char *const *)arguments, (char *const *)environment);
		if (errno == EACCES)
			result = EACCES;
		else if (errno != ENOENT && errno != ENOTDIR)
			return errno;
	}
	return result;
}

static void wake(int signal_number)
{
	(void)signal_number;
}

static _Noreturn void reap(void)
{
	struct pollfd keeper = {.fd = CHILD_REPORT, .events = POLLIN};
	sigset_t open;

	sigemptyset(&open);
	for (;;) {
		char byte;

		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
		if (ppoll(&keeper, 1, NULL, &open) > 0 && recv(CHILD_REPORT, &byte, 1, MSG_DONTWAIT) == 0)
			_exit(0);
	}
}

int op_reap(struct context *c, const struct wire_op *op)
{
	struct sigaction action = {.sa_handler = wake, .sa_flags = SA_NOCLDSTOP};
	sigset_t child;
	int error = prepare_exec(c);

	(void)op;
	if (error != 0)
		return error;
	/* Held back but while waiting, so that no end of a child falls between look and wait. */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &child, NULL) < 0 || sigaction(SIGCHLD, &action, NULL) < 0)
		return errno;
	report_send(REPORT_READY, c->index, 0, -1);
	/* PID 1 holds on to its keeper's socket and the pod's lock, nothing else. */
	close(CHILD_PLAN);
	k_close_range(CHILD_LOCK + 1, ~0U, 0);
	munmap(c->plan, c->plan_size);
	reap();
}
