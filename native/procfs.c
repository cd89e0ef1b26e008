/* Reaching procfs without trusting what is mounted on /proc. */
#define _GNU_SOURCE
#include "kernel.h"
#include "mountfs.h"
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Inside a user namespace the kernel may refuse a second procfs: then the one on /proc will do, if
 * it is one, seen from its own root. */
static int open_mounted(const struct context *c)
{
	struct statfs fs;
	struct stat st;
	int fd = root_open(c, "/proc", O_PATH | O_DIRECTORY);

	if (fd < 0)
		return -1;
	if (fstatfs(fd, &fs) == 0 && fs.f_type == K_PROC_MAGIC && fstat(fd, &st) == 0 && st.st_ino == K_PROC_ROOT_INO)
		return fd;
	close(fd);
	errno = EXDEV;
	return -1;
}

int procfs_open(struct context *c)
{
	static const struct wire_arg none = {0, ""};
	int fd = mountfs_new("proc", "proc", &none, K_MOUNT_ATTR_NOSUID | K_MOUNT_ATTR_NODEV | K_MOUNT_ATTR_NOEXEC);

	return fd < 0 && errno == EPERM ? open_mounted(c) : fd;
}

int procfs_write(struct context *c, const char *path, const char *text)
{
	int proc = procfs_open(c);
	int fd, error;

	if (proc < 0)
		return errno;
	/* thread-self is a symbolic link of procfs itself, so links are followed, but never out. */
	fd = k_openat2(proc, path, O_WRONLY | O_NOFOLLOW, K_RESOLVE_BENEATH | K_RESOLVE_NO_XDEV | K_RESOLVE_NO_MAGICLINKS);
	error = fd < 0 ? errno : k_write_once(fd, text, strlen(text));
	if (fd >= 0)
		close(fd);
	close(proc);
	return error;
}
