/* Hooks of the runtime-spec: programs of the host that are told of a container while it is made. */
#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"
#include "statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOOK_WORDS 1024

/* The namespace of users comes after those that may belong to others, and before that of mounts, which is its own. */
static const char *const joined[] = {"net", "ipc", "uts", "cgroup", "user", "mnt"};
#define JOINED (sizeof joined / sizeof joined[0])

static struct {
	pid_t pid; /* 0: none runs */
	int status;
} hook;

void hook_reap(void)
{
	int status;

	if (hook.pid > 0 && waitpid(hook.pid, &status, WNOHANG) == hook.pid) {
		hook.status = status;
		hook.pid = 0;
	}
}

static _Noreturn void become_hook(const struct wire_op *op, int state, const int ns[JOINED])
{
	static const char *argv[HOOK_WORDS], *env[HOOK_WORDS];

	setsid();
	place(state, 0);
	/* Its words are for who reads ours. */
	place(2, 1);
	if (!wire_list(&op->args[1], argv, HOOK_WORDS) || !wire_list(&op->args[2], env, HOOK_WORDS))
		_exit(126);
	for (size_t i = 0; i < JOINED; i++)
		if (ns[i] >= 0 && setns(ns[i], 0) < 0)
			_exit(126);
	if (chdir("/") < 0)
		_exit(126);
	k_close_range(3, ~0U, K_CLOSE_RANGE_CLOEXEC);
	umask(022);
	k_reset_signals();
	execve(op->args[0].p, (char *const *)argv, (char *const *)env);
	_exit(127);
}

/* Only namespaces the container does not share with us: joining one's own user namespace is refused. */
static int open_joined(int ns[JOINED])
{
	for (size_t i = 0; i < JOINED; i++) {
		struct text path[2] = {{.used = 0}, {.used = 0}};
		char own[64], other[64];
		ssize_t n, m;

		text_add(&path[0], "/proc/self/ns/");
		text_add(&path[0], joined[i]);
		text_add(&path[1], "/proc/");
		text_number(&path[1], (uint64_t)process_pid());
		text_add(&path[1], "/ns/");
		text_add(&path[1], joined[i]);
		n = readlink(path[0].bytes, own, sizeof own);
		m = readlink(path[1].bytes, other, sizeof other);
		if (n < 0 || m < 0)
			return errno;
		if (n == m && memcmp(own, other, (size_t)n) == 0)
			continue;
		ns[i] = high_fd(open(path[1].bytes, O_RDONLY | O_CLOEXEC));
		if (ns[i] < 0)
			return errno;
	}
	return 0;
}

/* With all it started, unless it is too young to have a session of its own. */
static void end_hook(void)
{
	if (kill(-hook.pid, SIGKILL) < 0)
		kill(hook.pid, SIGKILL);
}

static int run(const struct wire_op *op, int state, const int ns[JOINED])
{
	uint64_t deadline = op->args[3].n == 0 ? 0 : now_ms() + op->args[3].n;
	bool late = false;

	hook.status = 0;
	hook.pid = fork();
	if (hook.pid == 0)
		become_hook(op, state, ns);
	if (hook.pid < 0)
		return errno;
	while (hook.pid > 0) {
		watch_step(late ? 0 : deadline);
		late = late || (deadline != 0 && now_ms() >= deadline);
		/* A stop is not waited for either. */
		if (hook.pid > 0 && (late || keep.stop != STOP_NO))
			end_hook();
	}
	if (late)
		return ETIMEDOUT;
	keep.failure.status = (uint32_t)(WIFSIGNALED(hook.status) ? 128 + WTERMSIG(hook.status) : WEXITSTATUS(hook.status));
	return keep.failure.status == 0 ? 0 : ECHILD;
}

int keep_hook(const struct wire_op *op)
{
	int ns[JOINED] = {-1, -1, -1, -1, -1, -1};
	int state = -1;
	int error = process_pid() > 0 ? statefile_new(&op->args[5], process_pid(), &state) : ESRCH;

	if (error != 0)
		return error;
	state = high_fd(state);
	if (state < 0)
		return errno;
	if (op->args[4].n != 0)
		error = open_joined(ns);
	if (error == 0)
		error = run(op, state, ns);
	for (size_t i = 0; i < JOINED; i++)
		if (ns[i] >= 0)
			close(ns[i]);
	close(state);
	return error;
}
