/* `delete`: ends what runs, removes the control groups and the directory. Each step may be repeated, so Python can go on
 * wherever this stops. */
#define _GNU_SOURCE
#include "front.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATIENCE 10000 /* milliseconds a killed process gets to be gone */

/* Takes the lock of who changes the container; -1 when the name is by now that of another, or of none. */
static int open_locked(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat held, named;

	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX) == 0 && fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev &&
	    held.st_ino == named.st_ino)
		return fd;
	close(fd);
	return -1;
}

static bool kill_and_wait(const struct front_container *container)
{
	struct pollfd end = {.fd = front_pidfd(container), .events = POLLIN};
	bool ended;

	if (end.fd < 0)
		return true;
	ended = (syscall(SYS_pidfd_send_signal, end.fd, SIGKILL, NULL, 0) == 0 || errno == ESRCH) &&
	        poll(&end, 1, PATIENCE) == 1;
	close(end.fd);
	return ended;
}

/* Removes the files of a directory; what is found missing was removed by another. */
static bool remove_files(int directory)
{
	struct dirent *entry;
	bool done = true;
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *files = fd < 0 ? NULL : fdopendir(fd);

	if (files == NULL) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while ((entry = readdir(files)) != NULL)
		if (entry->d_type != DT_DIR && unlinkat(fd, entry->d_name, 0) < 0 && errno != ENOENT)
			done = false;
	closedir(files);
	return done;
}

static bool remove_directory(int directory, const char *path)
{
	int status = openat(directory, "status", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool done = status < 0 ? errno == ENOENT : remove_files(status);

	if (status >= 0)
		close(status);
	if (done && unlinkat(directory, "status", AT_REMOVEDIR) < 0 && errno != ENOENT)
		done = false;
	return done && remove_files(directory) && (rmdir(path) == 0 || errno == ENOENT);
}

/* Whether it may go in this state; of one that is frozen Python has to thaw the groups. */
static bool may_go(enum front_status status, bool force)
{
	return status == FRONT_STOPPED || status == FRONT_CREATED || (force && status == FRONT_RUNNING);
}

int front_delete(const char *path, bool force)
{
	struct front_container container = {.pid = 0};
	int directory = open_locked(path);
	enum front_status status;
	bool done;

	if (directory < 0)
		return FRONT_PYTHON;
	done = front_open(&container, directory) && front_allows(&container.file, "delete");
	status = done ? front_status(&container) : FRONT_UNKNOWN;
	done = may_go(status, force) && (status == FRONT_STOPPED || kill_and_wait(&container)) &&
	       front_remove_groups(&container.file) && remove_directory(directory, path);
	close(directory);
	return done ? 0 : FRONT_PYTHON;
}
