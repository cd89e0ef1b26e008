/* The ops that put a pod away. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>

int keep_record(const struct wire_op *op)
{
	(void)op;
	for (size_t i = 0; i < keep.tasks; i++)
		if (keep.task[i].role == ROLE_APP && keep.task[i].ran)
			status_app(&keep.task[i]);
	status_failure();
	return 0;
}

int keep_rename_phase(const struct wire_op *op)
{
	return rename(op->args[0].p, op->args[1].p) < 0 ? errno : 0;
}

int keep_finish(const struct wire_op *op)
{
	pid_t pid = spawn_helper(&op->args[0], false);
	int status;

	if (pid < 0)
		return errno;
	/* Nothing else is left to serve. */
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	if (!WIFEXITED(status))
		return ECHILD;
	/* What it found wrong it has said; that is no fault of the teardown. */
	keep.finished = WEXITSTATUS(status);
	return 0;
}
