/* A tmpfs that begins with what the root has at its place (the mount option `tmpcopyup`). */
#define _GNU_SOURCE
#include "kernel.h"
#include "mountfs.h"
#include "root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Each level holds two descriptors and a buffer. */
#define DEEPEST 64
#define NAMES 4096

static int copy_directory(int from, int to, unsigned depth);

static int copy_bytes(int from, int to)
{
	static char buffer[65536];

	for (;;) {
		ssize_t n = read(from, buffer, sizeof buffer);

		if (n <= 0)
			return n < 0 ? errno : 0;
		for (ssize_t done = 0; done < n;) {
			ssize_t put = write(to, buffer + done, (size_t)(n - done));

			if (put < 0)
				return errno;
			done += put;
		}
	}
}

/* Owner, mode and times; of attributes those that decide what a file may do. */
static int copy_status(int from, int to, const struct stat *st)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	char value[64];
	ssize_t size;

	if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
		return errno;
	size = fgetxattr(from, "security.capability", value, sizeof value);
	if (size > 0 && fsetxattr(to, "security.capability", value, (size_t)size, 0) < 0 && errno != EOPNOTSUPP)
		return errno;
	return futimens(to, times) < 0 ? errno : 0;
}

static int copy_file(int from_dir, int to_dir, const char *name)
{
	/* Not to be held up by what has taken a file's place. */
	int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	int to, error;

	if (from < 0)
		return errno;
	if (fstat(from, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(from);
		return ESTALE;
	}
	to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	error = to < 0 ? errno : copy_bytes(from, to);
	if (error == 0)
		error = copy_status(from, to, &st);
	if (to >= 0)
		close(to);
	close(from);
	return error;
}

static int copy_link(int from_dir, int to_dir, const char *name, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from_dir, name, target, sizeof target - 1);

	if (n < 0)
		return errno;
	target[n] = '\0';
	if (symlinkat(target, to_dir, name) < 0 || fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return errno;
	return 0;
}

static int copy_below(int from_dir, int to_dir, const char *name, unsigned depth)
{
	int from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int to, error;

	if (from < 0)
		return errno;
	to = mkdirat(to_dir, name, 0700) < 0 ? -1 : openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	error = to < 0 ? errno : copy_directory(from, to, depth);
	if (to >= 0)
		close(to);
	close(from);
	return error;
}

static int copy_entry(int from, int to, const char *name, unsigned depth)
{
	struct stat st;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno;
	if (S_ISREG(st.st_mode))
		return copy_file(from, to, name);
	if (S_ISDIR(st.st_mode))
		return copy_below(from, to, name, depth);
	if (S_ISLNK(st.st_mode))
		return copy_link(from, to, name, &st);
	/* A socket is nobody's without its process. */
	if (S_ISSOCK(st.st_mode))
		return 0;
	if (mknodat(to, name, st.st_mode, st.st_rdev) < 0 || fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return errno;
	return 0;
}

static int copy_directory(int from, int to, unsigned depth)
{
	char entries[NAMES];
	struct stat st;
	long size;
	int error = 0;

	if (depth == DEEPEST)
		return ELOOP;
	if (fstat(from, &st) < 0)
		return errno;
	while (error == 0 && (size = k_getdents(from, entries, sizeof entries)) != 0) {
		if (size < 0)
			return errno;
		for (long at = 0; at < size && error == 0;) {
			const struct k_dirent64 *entry = (const void *)(entries + at);

			at += entry->reclen;
			if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
				error = copy_entry(from, to, entry->name, depth + 1);
		}
	}
	return error != 0 ? error : copy_status(from, to, &st);
}

static bool has_mode(const struct wire_arg *options)
{
	const char *at = options->p;

	for (uint64_t i = 0; i < options->n; i++)
		if (strncmp(wire_item(&at), "mode=", 5) == 0)
			return true;
	return false;
}

/* What the options say of the top holds, whatever the root's directory is. */
static int fill(int mount, int from, const struct wire_arg *options)
{
	int top = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int error;

	if (top < 0 || fstat(top, &st) < 0)
		return errno;
	error = copy_directory(from, top, 0);
	if (error == 0 && has_mode(options) && fchmod(top, st.st_mode & 07777) < 0)
		error = errno;
	close(top);
	return error;
}

int op_copy_up(struct context *c, const struct wire_op *op)
{
	const struct wire_arg *options = &op->args[2];
	struct k_mount_attr attributes = {.set = op->args[1].n};
	int from = root_open(c, op->args[0].p, O_RDONLY | O_DIRECTORY);
	int mount, error;

	if (from < 0)
		return errno;
	/* Read-only only when it is filled. */
	mount = mountfs_new("tmpfs", "tmpfs", options, 0);
	error = mount < 0 ? errno : fill(mount, from, options);
	if (error == 0 && attributes.set != 0 && k_mount_setattr(mount, 0, &attributes) < 0)
		error = errno;
	if (error == 0 && k_move_mount(mount, from) < 0)
		error = errno;
	if (mount >= 0)
		close(mount);
	close(from);
	return error;
}
