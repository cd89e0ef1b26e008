/* A container that an OCI runtime of the host makes. Its performer stays outside of the container, with all privileges of
 * the host's root and nothing of the container's but its streams, and is gone when the container runs. */
#define _GNU_SOURCE
#include "init.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUNTIME_WORDS 64
#define VERB_WORDS 8

enum { ARGV, ENV, BUNDLE, ID, PID_FILE };

static _Noreturn void become_runtime(const struct wire_op *op, const char *const *verb, bool silent)
{
	static const char *argv[RUNTIME_WORDS + VERB_WORDS], *env[RUNTIME_WORDS];
	int null = silent ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
	size_t words = op->args[ARGV].n;

	/* Ends with its performer, as that does with the keeper. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		dup2(null, fd);
	if (words == 0 || !wire_list(&op->args[ARGV], argv, RUNTIME_WORDS) || !wire_list(&op->args[ENV], env, RUNTIME_WORDS))
		_exit(126);
	do
		argv[words++] = *verb;
	while (*verb++ != NULL);
	k_close_range(3, ~0U, K_CLOSE_RANGE_CLOEXEC);
	umask(022);
	k_reset_signals();
	execve(argv[0], (char *const *)argv, (char *const *)env);
	_exit(127);
}

/* Has the runtime do one thing: 0, ECHILD when it cannot, or why it could not be asked. */
static int call(const struct wire_op *op, const char *const *verb, bool silent)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		become_runtime(op, verb, silent);
	if (pid < 0)
		return errno;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : ECHILD;
}

static int read_pid(const char *path, pid_t *pid)
{
	char text[16], *at = text;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	long number = 0;
	ssize_t n;

	if (fd < 0)
		return errno;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	while (*at >= '0' && *at <= '9' && number <= INT32_MAX)
		number = number * 10 + (*at++ - '0');
	if (number <= 1 || number > INT32_MAX || (*at != '\0' && *at != '\n'))
		return EINVAL;
	*pid = (pid_t)number;
	return 0;
}

int op_runtime(struct context *c, const struct wire_op *op)
{
	const char *bundle = op->args[BUNDLE].p, *id = op->args[ID].p, *pid_file = op->args[PID_FILE].p;
	const char *const delete[] = {"delete", "--force", id, NULL};
	const char *const create[] = {"create", "--bundle", bundle, "--pid-file", pid_file, id, NULL};
	const char *const start[] = {"start", id, NULL};
	pid_t pid = -1;
	int error;

	/* What ran before under this name, it or another of its kind, has left it to the runtime to forget. */
	if (unlink(pid_file) == 0)
		call(op, delete, true);
	error = call(op, create, false);
	if (error == 0)
		error = read_pid(pid_file, &pid);
	if (error != 0)
		return error;
	/* It is the keeper's child since the runtime that made it has ended. */
	report_process(REPORT_MADE, c->index, pid);
	error = await_keeper();
	if (error == 0)
		error = call(op, start, false);
	if (error != 0)
		return error;
	report_send(REPORT_READY, c->index, 0, -1);
	_exit(0);
}
