/* Hooks of the runtime-spec that run inside, before the program does. */
#define _GNU_SOURCE
#include "init.h"
#include "kernel.h"
#include "statefile.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOOK_WORDS 1024

static _Noreturn void become_hook(const struct wire_op *op, int state)
{
	static const char *argv[HOOK_WORDS], *env[HOOK_WORDS];

	/* Nobody would wait for it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	if (dup2(state, 0) < 0 || !wire_list(&op->args[1], argv, HOOK_WORDS) || !wire_list(&op->args[2], env, HOOK_WORDS))
		_exit(126);
	/* What the program gets from 3 on is not the hook's. */
	k_close_range(3, ~0U, K_CLOSE_RANGE_CLOEXEC);
	umask(022);
	k_reset_signals();
	execve(op->args[0].p, (char *const *)argv, (char *const *)env);
	_exit(127);
}

/* Waits for its end: 0 or ETIMEDOUT. */
static int await_end(int pidfd, uint64_t timeout)
{
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	int n;

	do
		n = poll(&end, 1, timeout == 0 || timeout > INT32_MAX ? -1 : (int)timeout);
	while (n < 0 && errno == EINTR);
	return n == 0 ? ETIMEDOUT : n < 0 ? errno : 0;
}

static int run(const struct wire_op *op, int state)
{
	pid_t pid = fork();
	int pidfd, status, error;

	if (pid == 0)
		become_hook(op, state);
	if (pid < 0)
		return errno;
	pidfd = (int)syscall(K_NR_PIDFD_OPEN, pid, 0U);
	error = pidfd < 0 ? errno : await_end(pidfd, op->args[3].n);
	if (error != 0 && kill(-pid, SIGKILL) < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	if (pidfd >= 0)
		close(pidfd);
	if (error != 0)
		return error;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : ECHILD;
}

int op_start_hook(struct context *c, const struct wire_op *op)
{
	int state = -1;
	int error = c->pivoted ? statefile_new(&op->args[4], getpid(), &state) : EINVAL;

	if (error != 0)
		return error;
	error = run(op, state);
	close(state);
	return error;
}
