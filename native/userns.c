#define _GNU_SOURCE
#include "userns.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The kernel takes less than a page of lines, in one write. */
#define MAP_SIZE 4096

static void decimal(char *to, unsigned long number)
{
	char digits[24];
	size_t first = sizeof digits - 1;

	digits[first] = '\0';
	do
		digits[--first] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	memcpy(to, digits + first, sizeof digits - first);
}

/* The files of a process, by way of its directory. */
static int open_process(int proc, pid_t pid)
{
	char name[24];

	decimal(name, (unsigned long)pid);
	return openat(proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int write_map(int process, const char *file, const struct wire_arg *lines)
{
	char text[MAP_SIZE];
	size_t used = 0;
	const char *at = lines->p;
	int fd, error = 0;

	for (uint64_t i = 0; i < lines->n; i++) {
		const char *line = wire_item(&at);
		size_t length = strlen(line);

		if (used + length + 1 > sizeof text)
			return E2BIG;
		memcpy(text + used, line, length);
		used += length;
		text[used++] = '\n';
	}
	fd = openat(process, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (write(fd, text, used) != (ssize_t)used)
		error = errno;
	close(fd);
	return error;
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
	error = write_map(process, "gid_map", gids);
	if (error == 0)
		error = write_map(process, "uid_map", uids);
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
