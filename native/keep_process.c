/* A process that may outlive its keeper: a container of its own, or a command beside one. */
#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static struct task *process;
static int target = -1; /* pidfd of whom its namespaces were adopted from */

pid_t process_pid(void)
{
	return process == NULL || process->phase == ENDED ? -1 : process->pid;
}

/* A socket in the directory the keeper was given, however long that one's path is. */
static int listen_for_start(int *fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct text path = {.used = 0};

	if (keep.pod < 0)
		return EBADF;
	text_add(&path, "/proc/self/fd/");
	text_number(&path, (uint64_t)keep.pod);
	text_add(&path, "/start");
	memcpy(address.sun_path, path.bytes, path.used + 1);
	*fd = high_fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(*fd, 1) < 0)
		return errno;
	return 0;
}

/* As an app's, its end is told by what comes of it; one that ran and ended at once has been started. */
static int settled(enum phase phase)
{
	int error = task_wait(process, phase, LAUNCH_TIMEOUT);

	return error != 0 && process->phase == ENDED && process->ran ? 0 : error;
}

int keep_target(const struct wire_op *op)
{
	pid_t pid = (pid_t)op->args[0].n;

	if (target >= 0 || op->args[0].n == 0 || op->args[0].n > INT32_MAX)
		return EINVAL;
	target = high_fd((int)syscall(K_NR_PIDFD_OPEN, pid, 0U));
	if (target < 0)
		return errno;
	fcntl(target, F_SETFD, FD_CLOEXEC);
	return start_time(pid) == op->args[1].n ? 0 : ESRCH;
}

int keep_process(const struct wire_op *op)
{
	struct task *task;
	int error = 0;

	if (op->args[1].n > INT32_MAX || process != NULL)
		return EINVAL;
	/* While it lives its number is its own, and so were the namespaces found by that number. */
	if (target >= 0 && poll(&(struct pollfd){.fd = target, .events = POLLIN}, 1, 0) != 0)
		return ESRCH;
	task = task_new(ROLE_PROCESS, "", op->args[0].p);
	if (task == NULL)
		return errno;
	process = task;
	task->stdio = (struct stdio){.mode = {op->args[3].p, op->args[4].p, op->args[5].p}, .log = ""};
	task->detached = op->args[2].n != 0;
	task->console = op->args[6].p;
	task->cgroup = op->args[7].p;
	task->syncs = track_has(task->track, OP_sync);
	if (track_has(task->track, OP_await_start))
		error = listen_for_start(&task->start);
	if (error == 0)
		error = task_spawn(task, (int)op->args[1].n);
	if (task->start >= 0)
		close(task->start);
	task->start = -1;
	if (error != 0)
		return error;
	/* From now on there is something to be killed. */
	status_process(task);
	return settled(HELD);
}

/* A file that is there is whole: the process id, without a newline, as those who wait for it read it. */
static int write_pid(const char *path)
{
	struct text number = {.used = 0}, temporary = {.used = 0};
	int fd, error = 0;

	text_number(&number, (uint64_t)process->pid);
	text_add(&temporary, path);
	text_add(&temporary, ".");
	text_add(&temporary, number.bytes);
	if (temporary.used + 1 >= sizeof temporary.bytes)
		return ENAMETOOLONG;
	fd = open(temporary.bytes, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno;
	/* The keeper's mask is for what is the keeper's. */
	if (write(fd, number.bytes, number.used) != (ssize_t)number.used || fchmod(fd, 0644) < 0 ||
	    rename(temporary.bytes, path) < 0)
		error = errno != 0 ? errno : EIO;
	close(fd);
	if (error != 0)
		unlink(temporary.bytes);
	return error;
}

int keep_proceed(const struct wire_op *op)
{
	int error = 0;

	if (process == NULL)
		return EINVAL;
	if (process->phase == HELD) {
		process->phase = RELEASED;
		error = task_proceed(process);
	}
	if (error == 0)
		error = settled(RUNNING);
	if (error == 0 && op->args[0].p[0] != '\0')
		error = write_pid(op->args[0].p);
	if (error == 0 && process->detached)
		process->left = true;
	return error;
}

int keep_pidfd(const struct wire_op *op)
{
	int fd, error;

	if (process_pid() < 0)
		return ESRCH;
	/* Not collected yet, so the number is still its own. */
	fd = (int)syscall(K_NR_PIDFD_OPEN, process->pid, 0U);
	if (fd < 0)
		return errno;
	error = send_descriptor(op->args[0].p, "pidfd", strlen("pidfd"), fd);
	close(fd);
	return error;
}

int keep_wait(const struct wire_op *op)
{
	(void)op;
	if (process == NULL || process->detached)
		return EINVAL;
	while (process->phase != ENDED && !keep.failure.set)
		watch_step(0);
	if (process->phase == ENDED)
		keep.status = task_exit_status(process);
	return 0;
}
