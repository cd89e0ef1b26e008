/* Control groups: removing one, with what is left in it and below it. */
#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 2000 /* ms */
#define MAX_DEPTH 16

/* Kills every process listed; only their end empties the group, so the caller tries again. */
static void kill_listed(int dir, const char *procs)
{
	char buffer[4096];
	size_t kept = 0;
	ssize_t n;
	int fd = openat(dir, procs, O_RDONLY | O_CLOEXEC);

	while (fd >= 0 && (n = read(fd, buffer + kept, sizeof buffer - 1 - kept)) > 0) {
		char *line = buffer, *end;

		buffer[kept + (size_t)n] = '\0';
		while ((end = strchr(line, '\n')) != NULL) {
			long pid = strtol(line, NULL, 10);

			if (pid > 1 && pid != getpid())
				kill((pid_t)pid, SIGKILL);
			line = end + 1;
		}
		kept = strlen(line);
		memmove(buffer, line, kept);
	}
	if (fd >= 0)
		close(fd);
}

static void kill_group(int dir, const char *procs)
{
	int fd = openat(dir, "cgroup.kill", O_WRONLY | O_CLOEXEC);
	bool killed = fd >= 0 && write(fd, "1", 1) == 1;

	if (fd >= 0)
		close(fd);
	if (!killed && procs[0] != '\0')
		kill_listed(dir, procs);
}

static int remove_group(int parent, const char *path, const char *procs, int depth);

/* Removes the groups in `dir`. */
static void remove_below(int dir, const char *procs, int depth)
{
	char buffer[2048];
	long n;

	while ((n = k_getdents(dir, buffer, sizeof buffer)) > 0) {
		for (long at = 0; at < n;) {
			struct k_dirent64 entry;
			const char *name = buffer + at + offsetof(struct k_dirent64, name);

			memcpy(&entry, buffer + at, sizeof entry);
			if (entry.type == 4 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
				remove_group(dir, name, procs, depth);
			at += entry.reclen;
		}
	}
}

static int remove_group(int parent, const char *path, const char *procs, int depth)
{
	int dir;

	if (unlinkat(parent, path, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY && errno != ENOTEMPTY)
		return errno;
	dir = openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return errno;
	kill_group(dir, procs);
	if (depth < MAX_DEPTH)
		remove_below(dir, procs, depth + 1);
	close(dir);
	return unlinkat(parent, path, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : errno;
}

int keep_rmdir_cgroup(const struct wire_op *op)
{
	/* The list's name in this group and, where groups were made below, in those. */
	const char *slash = strrchr(op->args[1].p, '/');
	const char *procs = slash == NULL ? op->args[1].p : slash + 1;
	uint64_t deadline = now_ms() + PATIENCE;
	uint64_t wait = 1;
	int error;

	while ((error = remove_group(AT_FDCWD, op->args[0].p, procs, 0)) == EBUSY && now_ms() < deadline) {
		watch_step(now_ms() + wait);
		if (wait < 32)
			wait *= 2;
	}
	return error;
}
