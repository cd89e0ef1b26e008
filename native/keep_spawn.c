/* Starting children: appc-init inside the pod, helpers outside. */
#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Above every number a child knows, so that placing one descriptor never covers another. */
#define HIGH 64

enum { NS_MNT = 3, NS_PID = 4 };

int high_fd(int fd)
{
	int moved, error;

	if (fd < 0)
		return fd;
	moved = fcntl(fd, F_DUPFD_CLOEXEC, HIGH);
	error = errno;
	close(fd);
	errno = error;
	return moved;
}

void place(int fd, int number)
{
	if (fd >= 0 && fd != number && dup2(fd, number) < 0)
		_exit(127);
}

static _Noreturn void become_init(const struct task *task, int report, const int stdio[3])
{
	const char *argv[] = {"appc-init", task->track->name, NULL};
	char *empty[] = {NULL};
	struct report packet = {.kind = REPORT_FAIL, .index = REPORT_NO_OP};

	/* Until the track sets its own: the child never outlives its keeper. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	for (int i = 0; i < 3; i++)
		place(stdio[i], i);
	for (int number = CHILD_REPORT; number < CHILD_NS + CHILD_NAMESPACES; number++)
		close(number);
	place(report, CHILD_REPORT);
	place(task->source->fd, CHILD_PLAN);
	if (task->role == ROLE_INIT)
		place(keep.lock, CHILD_LOCK);
	if (task->role == ROLE_APP)
		socket_place(task->app);
	place(task->start, CHILD_START);
	for (size_t i = 0; i < keep.given && task->role == ROLE_PROCESS; i++)
		place(keep.sockets[i], CHILD_SOCKETS + (int)i);
	for (int i = 0; i < CHILD_NAMESPACES; i++)
		place(i == NS_MNT && task->mnt >= 0 ? task->mnt : keep.ns[i], CHILD_NS + i);
	syscall(SYS_execveat, keep.init_fd, "", argv, empty, K_AT_EMPTY_PATH);
	packet.error = (uint32_t)errno;
	send(CHILD_REPORT, &packet, sizeof packet, MSG_NOSIGNAL);
	_exit(127);
}

/* Being born in its group spares a child the move into it, which is slow. */
static int clone_in_group(int flags, const char *cgroup, pid_t *pid)
{
	struct k_clone_args args = {
		.flags = (uint64_t)flags, .exit_signal = (flags & CLONE_PARENT) != 0 ? 0 : SIGCHLD,
	};
	int fd = -1, error = 0;

	if (cgroup[0] != '\0') {
		fd = open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return errno;
		args.flags |= K_CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)fd;
	}
	*pid = (pid_t)syscall(K_NR_CLONE3, &args, sizeof args);
	if (*pid < 0)
		error = errno;
	if (fd >= 0)
		close(fd);
	return error;
}

/* Another enters it, and makes a child that is ours. */
static int clone_aside(int flags, const char *cgroup, pid_t *pid)
{
	int channel[2], answer[2] = {EIO, -1};
	pid_t helper;

	if (pipe2(channel, O_CLOEXEC) < 0)
		return errno;
	helper = fork();
	if (helper == 0) {
		answer[0] = setns(keep.ns[NS_PID], CLONE_NEWPID) < 0 ? errno : clone_in_group(flags | CLONE_PARENT, cgroup, pid);
		if (answer[0] == 0 && *pid == 0)
			return 0;
		answer[1] = (int)*pid;
		_exit(write(channel[1], answer, sizeof answer) == (ssize_t)sizeof answer ? 0 : 1);
	}
	close(channel[1]);
	if (helper < 0)
		answer[0] = errno;
	else if (read(channel[0], answer, sizeof answer) != (ssize_t)sizeof answer)
		answer[0] = EIO;
	close(channel[0]);
	while (helper > 0 && waitpid(helper, NULL, 0) < 0 && errno == EINTR)
		;
	*pid = (pid_t)answer[1];
	return answer[0];
}

/* A process id namespace is entered by the children that follow, so it is left again at once. */
static int clone_into_pod(int flags, const char *cgroup, pid_t *pid)
{
	bool inside = keep.ns[NS_PID] >= 0;
	int error;

	/* An ordinary user's keeper would not be let back into the host's. */
	if (inside && setns(keep.own_pid, CLONE_NEWPID) < 0)
		return clone_aside(flags, cgroup, pid);
	if (inside && setns(keep.ns[NS_PID], CLONE_NEWPID) < 0)
		return errno;
	error = clone_in_group(flags, cgroup, pid);
	if (error == 0 && *pid == 0)
		return 0;
	if (inside && setns(keep.own_pid, CLONE_NEWPID) < 0)
		error = errno;
	return error;
}

/* Runtimes of the host are run outside of the pod. */
static bool inside(const struct task *task)
{
	struct wire_op last;

	return !wire_op_at(&task->source->plan, task->track, task->track->ops - 1, &last) || last.code != OP_runtime;
}

int spawn_task(struct task *task, int flags, const int stdio[3])
{
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return errno;
	pair[1] = high_fd(pair[1]);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	error = pair[1] < 0 ? errno : (inside(task) ? clone_into_pod : clone_in_group)(flags, task->cgroup, &task->pid);
	if (error == 0 && task->pid == 0)
		become_init(task, pair[1], stdio);
	if (pair[1] >= 0)
		close(pair[1]);
	if (error != 0) {
		close(pair[0]);
		return error;
	}
	task->report = pair[0];
	task->phase = BUILDING;
	task->started = now_ns();
	task->failed = task->ran = task->timed_out = task->made = task->collected = false;
	task->maker = 0;
	task->deadline = task->timeout == 0 ? 0 : now_ms() + task->timeout;
	error = watch_add(task->report, POLLIN, task_ready, task);
	if (error != 0)
		task_kill(task, SIGKILL);
	return error;
}

/* Who explains a failed start is told what failed: TRACK OP ERRNO, and the status of the handler that did. */
static void append_failure(const char **argv)
{
	const uint64_t numbers[] = {keep.failure.index, (uint64_t)keep.failure.error, keep.failure.status};
	static struct text words[sizeof numbers / sizeof numbers[0]];

	*argv++ = keep.failure.track;
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		text_number(&words[i], numbers[i]);
		*argv++ = words[i].bytes;
	}
	*argv = NULL;
}

#define HELPER_WORDS 256

static _Noreturn void become_helper(const struct wire_arg *list, bool detached)
{
	const char *argv[HELPER_WORDS + 5];

	/* Not in the keeper's mount namespace: a helper that stays on would keep it, and all that is
	 * mounted there, alive. */
	if (keep.own_mnt >= 0 && setns(keep.own_mnt, CLONE_NEWNS) < 0)
		_exit(127);
	if (detached) {
		setsid();
		for (int fd = 0; fd <= 2; fd++)
			place(keep.null, fd);
	}
	k_close_range(3, ~0U, K_CLOSE_RANGE_CLOEXEC);
	k_reset_signals();
	if (!wire_list(list, argv, HELPER_WORDS) || list->n == 0)
		_exit(127);
	if (!detached && keep.failure.set)
		append_failure(argv + list->n);
	execve(argv[0], (char *const *)argv, environ);
	_exit(127);
}

pid_t spawn_helper(const struct wire_arg *argv, bool detached)
{
	pid_t pid = fork();

	if (pid == 0)
		become_helper(argv, detached);
	return pid;
}

int open_ns(pid_t pid, const char *kind, int *fd)
{
	struct text path = {.used = 0};

	text_add(&path, "/proc/");
	if (pid == 0)
		text_add(&path, "self");
	else
		text_number(&path, (uint64_t)pid);
	text_add(&path, "/ns/");
	text_add(&path, kind);
	*fd = high_fd(open(path.bytes, O_RDONLY | O_CLOEXEC));
	return *fd < 0 ? errno : 0;
}
