#define _GNU_SOURCE
#include "userns.h"
#include "kernel.h"
#include "lines.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The files of a process, by way of its directory. */
static int open_process(int proc, pid_t pid)
{
	struct text name = {.used = 0};

	text_number(&name, (uint64_t)pid);
	return openat(proc, name.bytes, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Nothing but the first process of the namespace, until it is open. */
static _Noreturn void stand_in(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static int open_mapped(int proc, pid_t pid, const struct wire_arg *uids, const struct wire_arg *gids, int *fd)
{
	int process = open_process(proc, pid);
	int error;

	if (process < 0)
		return errno;
	error = lines_write(process, "gid_map", gids);
	if (error == 0)
		error = lines_write(process, "uid_map", uids);
	if (error == 0 && (*fd = openat(process, "ns/user", O_RDONLY | O_CLOEXEC)) < 0)
		error = errno;
	close(process);
	return error;
}

int userns_new(int proc, const struct wire_arg *uids, const struct wire_arg *gids, int *fd)
{
	struct k_clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	pid_t pid = (pid_t)syscall(K_NR_CLONE3, &args, sizeof args);
	int error;

	if (pid == 0)
		stand_in();
	if (pid < 0)
		return errno;
	error = open_mapped(proc, pid, uids, gids, fd);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return error;
}
