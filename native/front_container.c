/* A container that exists: its directory, its process and its status, as appc/oci/container.py tells them. */
#define _GNU_SOURCE
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t front_read_file(int directory, const char *name, char *buffer, size_t size)
{
	size_t used = 0;
	ssize_t n = 1;
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	while (n > 0 && used < size - 1) {
		n = read(fd, buffer + used, size - 1 - used);
		used += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	buffer[used] = '\0';
	return n < 0 ? -1 : (ssize_t)used;
}

bool front_open(struct front_container *container, int directory)
{
	static char data[FRONT_SIZE];
	char text[256];
	ssize_t size = front_read_file(directory, "front", data, sizeof data);

	container->directory = directory;
	/* One that fills the buffer may be longer than it. */
	if (size < 0 || (size_t)size >= sizeof data - 1 || !front_file(&container->file, data, (size_t)size))
		return false;
	return front_read_file(directory, "status/_process", text, sizeof text) > 0 &&
	       front_process(text, &container->pid, &container->started);
}

/* When the process began (field 22 of proc_pid_stat(5)), 0 when it does not run. */
static uint64_t start_time(pid_t pid)
{
	char path[32], stat[4096];
	const char *at;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (front_read_file(AT_FDCWD, path, stat, sizeof stat) <= 0)
		return 0;
	/* The name, field 2, may hold anything but ends at the last parenthesis. */
	at = strrchr(stat, ')');
	if (at == NULL || strlen(at) < 3 || at[2] == 'Z' || at[2] == 'X')
		return 0;
	for (int field = 2; field < 22 && at != NULL; field++)
		at = strchr(at + 1, ' ');
	return at == NULL ? 0 : strtoull(at, NULL, 10);
}

static bool same_boot(const char *boot)
{
	char now[64];
	ssize_t n = front_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", now, sizeof now);

	if (n > 0 && now[n - 1] == '\n')
		now[n - 1] = '\0';
	return n > 0 && strcmp(now, boot) == 0;
}

static bool is_alive(const struct front_container *container)
{
	return container->started > 0 && start_time(container->pid) == container->started;
}

enum front_status front_status(const struct front_container *container)
{
	struct stat st;

	if (!same_boot(container->file.boot) || !is_alive(container))
		return FRONT_STOPPED;
	if (front_frozen(&container->file))
		return FRONT_PAUSED;
	if (fstatat(container->directory, "start", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return FRONT_CREATED;
	return errno == ENOENT ? FRONT_RUNNING : FRONT_UNKNOWN;
}

int front_pidfd(const struct front_container *container)
{
	int fd = (int)syscall(SYS_pidfd_open, container->pid, 0);

	/* The descriptor holds on to whoever has the number now; whether that is the right one can be asked only now. */
	if (fd >= 0 && !is_alive(container)) {
		close(fd);
		fd = -1;
	}
	return fd;
}
