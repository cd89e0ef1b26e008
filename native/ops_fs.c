/* Making files in the root. */
#define _GNU_SOURCE
#include "kernel.h"
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Makes one directory in `parent` and opens it; never through a symbolic link. */
static int make_component(int parent, const char *name, mode_t mode, uid_t uid, gid_t gid, int *fd)
{
	bool made = mkdirat(parent, name, mode & 0777) == 0;

	if (!made && errno != EEXIST)
		return errno;
	*fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0)
		return errno;
	if (made && (fchown(*fd, uid, gid) < 0 || fchmod(*fd, mode) < 0)) {
		int error = errno;

		close(*fd);
		return error;
	}
	return 0;
}

/* The longest leading part of `path` that exists, opened; `*rest` is what is missing. `path` is
 * changed and restored. */
static int open_existing(const struct context *c, char *path, char **rest)
{
	int dir = root_open(c, "/", O_PATH | O_DIRECTORY);
	char *at = path;

	while (dir >= 0) {
		char *end, kept;
		int next;

		while (*at == '/')
			at++;
		*rest = at;
		if (*at == '\0')
			return dir;
		end = strchrnul(at, '/');
		kept = *end;
		*end = '\0';
		next = root_open(c, path, O_PATH | O_DIRECTORY);
		*end = kept;
		if (next < 0 && errno == ENOENT)
			return dir;
		close(dir);
		dir = next;
		at = end;
	}
	return -1;
}

static int make_missing(int dir, char *rest, mode_t mode, uid_t uid, gid_t gid)
{
	int error = 0;

	for (char *name = strtok(rest, "/"); name != NULL && error == 0; name = strtok(NULL, "/")) {
		int next = -1;

		if (strcmp(name, "..") == 0)
			error = EINVAL;
		else if (strcmp(name, ".") != 0)
			error = make_component(dir, name, mode, uid, gid, &next);
		if (error == 0 && next >= 0) {
			close(dir);
			dir = next;
		}
	}
	close(dir);
	return error;
}

int op_mkdir(struct context *c, const struct wire_op *op)
{
	char path[PATH_MAX];
	char *rest = path;
	uid_t uid, gid;
	int dir;

	if (op->args[0].n >= sizeof path)
		return ENAMETOOLONG;
	if (op->args[1].n > 07777 || id_from_number(op->args[2].n, &uid) != 0 || id_from_number(op->args[3].n, &gid) != 0)
		return EINVAL;
	dir = root_open(c, op->args[0].p, O_PATH | O_DIRECTORY);
	if (dir >= 0) {
		close(dir);
		return 0;
	}
	if (errno != ENOENT)
		return errno;
	memcpy(path, op->args[0].p, op->args[0].n + 1);
	dir = open_existing(c, path, &rest);
	return dir < 0 ? errno : make_missing(dir, rest, (mode_t)op->args[1].n, uid, gid);
}

static int write_all(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, bytes, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		bytes += n;
		size -= (size_t)n;
	}
	return 0;
}

int op_file(struct context *c, const struct wire_op *op)
{
	char name[NAME_MAX + 1];
	int dir = root_parent(c, op->args[0].p, name);
	int fd, error = 0;

	if (dir < 0)
		return errno;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		error = errno;
	if (error == 0)
		error = write_all(fd, op->args[2].p, op->args[2].n);
	if (error == 0 && fchmod(fd, (mode_t)(op->args[1].n & 07777)) < 0)
		error = errno;
	if (error != 0 && fd >= 0)
		unlinkat(dir, name, 0);
	if (fd >= 0)
		close(fd);
	close(dir);
	return error;
}

int op_remove(struct context *c, const struct wire_op *op)
{
	char name[NAME_MAX + 1];
	int dir = root_parent(c, op->args[0].p, name);
	int error = 0;

	if (dir < 0)
		return errno;
	if (unlinkat(dir, name, 0) < 0)
		error = errno;
	close(dir);
	return error;
}

int op_symlink(struct context *c, const struct wire_op *op)
{
	char name[NAME_MAX + 1];
	int dir = root_parent(c, op->args[1].p, name);
	int error = 0;

	if (dir < 0)
		return errno;
	if (symlinkat(op->args[0].p, dir, name) < 0)
		error = errno;
	close(dir);
	return error;
}

/* Who else may write to the directory may have put something in the node's place: that is not given to anybody. */
static int own_node(int dir, const char *name, mode_t mode, dev_t device, uid_t uid, gid_t gid)
{
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int error = 0;

	if (fd < 0)
		return errno;
	if (fstat(fd, &st) < 0)
		error = errno;
	else if ((st.st_mode & S_IFMT) != (mode & S_IFMT) || (!S_ISFIFO(mode) && st.st_rdev != device))
		error = ESTALE;
	else if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		error = errno;
	close(fd);
	return error;
}

int op_mknod(struct context *c, const struct wire_op *op)
{
	char name[NAME_MAX + 1];
	mode_t mode = (mode_t)op->args[1].n;
	dev_t device = makedev((unsigned)op->args[2].n, (unsigned)op->args[3].n);
	uid_t uid, gid;
	int dir, error = 0;

	if (id_from_number(op->args[4].n, &uid) != 0 || id_from_number(op->args[5].n, &gid) != 0)
		return EINVAL;
	if (!S_ISCHR(mode) && !S_ISBLK(mode) && !S_ISFIFO(mode))
		return EINVAL;
	dir = root_parent(c, op->args[0].p, name);
	if (dir < 0)
		return errno;
	/* The mask is 0, so that the mode is exact. */
	if (mknodat(dir, name, mode, device) < 0)
		error = errno;
	else
		error = own_node(dir, name, mode, device, uid, gid);
	close(dir);
	return error;
}
