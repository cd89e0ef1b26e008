/* Control groups of a container: whether they are frozen, signalling what is in them, and removing them. */
#define _GNU_SOURCE
#include "front.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEEPEST 32
#define PATIENCE 2000000 /* microseconds that killed processes get to die */

static bool join(char *into, const char *directory, const char *name)
{
	return snprintf(into, PATH_MAX, "%s/%s", directory, name) < PATH_MAX;
}

/* 1 or 0, -1 when the group has no such file. */
static int reads_other(const char *group, const char *file, const char *thawed)
{
	char path[PATH_MAX], text[32];
	ssize_t n = join(path, group, file) ? front_read_file(AT_FDCWD, path, text, sizeof text) : -1;

	if (n < 0)
		return -1;
	text[strcspn(text, "\n")] = '\0';
	return strcmp(text, thawed) != 0;
}

bool front_frozen(const struct front_file *file)
{
	for (const char *group = front_next_group(file, NULL); group != NULL; group = front_next_group(file, group)) {
		int frozen = reads_other(group, "cgroup.freeze", "0");

		if (frozen < 0)
			frozen = reads_other(group, "freezer.state", "THAWED");
		if (frozen >= 0)
			return frozen != 0;
	}
	return false;
}

static bool is_listed(const char *procs, int pid)
{
	char line[32];
	bool found = false;
	FILE *file = fopen(procs, "re");

	while (!found && file != NULL && fgets(line, sizeof line, file) != NULL)
		found = atoi(line) == pid;
	if (file != NULL)
		fclose(file);
	return found;
}

/* Signals a process that `procs` lists. It may have ended meanwhile and left its number to another: so it is held first,
 * and then must be listed still. False when it could not be signalled. */
static bool signal_member(const char *procs, int pid, int signal)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool done;

	if (fd < 0)
		return errno == ESRCH;
	done = !is_listed(procs, pid) || syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) == 0 || errno == ESRCH;
	close(fd);
	return done;
}

/* Signals the processes in the group itself. Returns how many there are, -1 when one could not be signalled. */
static int signal_group(const char *group, int signal)
{
	char path[PATH_MAX], line[32];
	int found = 0;
	FILE *file = join(path, group, "cgroup.procs") ? fopen(path, "re") : NULL;

	if (file == NULL)
		return errno == ENOENT || errno == ENODEV ? 0 : -1;
	while (found >= 0 && fgets(line, sizeof line, file) != NULL) {
		int pid = atoi(line);

		/* Those of foreign PID namespaces read as 0. */
		if (pid <= 0)
			continue;
		found++;
		if (!signal_member(path, pid, signal))
			found = -1;
	}
	fclose(file);
	return found;
}

/* Does `act` for the groups below `group`, innermost first, and for itself. The sum, -1 when one failed. */
static int each_group(const char *group, int depth, int (*act)(const char *group, int signal), int signal)
{
	DIR *directory = depth < DEEPEST ? opendir(group) : NULL;
	struct dirent *entry;
	int sum = 0, own;

	if (directory == NULL)
		return errno == ENOENT ? 0 : -1;
	while (sum >= 0 && (entry = readdir(directory)) != NULL) {
		char path[PATH_MAX];

		if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		own = join(path, group, entry->d_name) ? each_group(path, depth + 1, act, signal) : -1;
		sum = own < 0 ? -1 : sum + own;
	}
	closedir(directory);
	own = sum < 0 ? -1 : act(group, signal);
	return own < 0 ? -1 : sum + own;
}

bool front_signal_groups(const struct front_file *file, int signal)
{
	int found = 0;

	for (const char *group = front_next_group(file, NULL); group != NULL && found == 0;
	     group = front_next_group(file, group))
		found = each_group(group, 0, signal_group, signal);
	return found >= 0;
}

/* Has the kernel kill all that is in a group of cgroup2 and below; false when there is no such way. */
static bool kill_group(const char *group)
{
	char path[PATH_MAX];
	int fd = join(path, group, "cgroup.kill") ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	bool killed = fd >= 0 && write(fd, "1", 1) == 1;

	if (fd >= 0)
		close(fd);
	return killed;
}

bool front_kill_group(const struct front_file *file)
{
	const char *group = front_next_group(file, NULL);

	return group != NULL && kill_group(group);
}

/* Ends what is in the group and removes it; returns 1 when it is not gone yet. */
static int clear_group(const char *group, int signal)
{
	if (rmdir(group) == 0 || errno == ENOENT)
		return 0;
	if (!kill_group(group))
		signal_group(group, signal);
	return rmdir(group) < 0 && errno != ENOENT;
}

bool front_remove_groups(const struct front_file *file)
{
	long waited = 0, pause = 500;

	for (const char *group = front_next_group(file, NULL); group != NULL; group = front_next_group(file, group)) {
		if (rmdir(group) == 0 || errno == ENOENT)
			continue;
		/* A group whose last process is just dying is busy for a moment. */
		while (each_group(group, 0, clear_group, SIGKILL) != 0) {
			struct timespec time = {.tv_nsec = pause * 1000};

			if (waited > PATIENCE)
				return false;
			nanosleep(&time, NULL);
			waited += pause;
			pause = pause < 25000 ? pause * 2 : 50000;
		}
	}
	return true;
}
