/* Mounting in the root. */
#define _GNU_SOURCE
#include "kernel.h"
#include "mountfs.h"
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { BIND_RECURSIVE = 1, BIND_NO_SYMLINKS = 2, BIND_ANEW = 4, ATTRIBUTES_RECURSIVE = 1 };

static int attach(const struct context *c, int tree, const char *path)
{
	int target = root_open(c, path, O_PATH | O_DIRECTORY);
	int error = 0;

	if (target < 0)
		return errno;
	if (k_move_mount(tree, target) < 0)
		error = errno;
	close(target);
	return error;
}

/* What lies at the path now must be the procfs just mounted, not something a link led to. */
static int verify_proc(const struct context *c, const char *path)
{
	struct statfs fs;
	int fd = root_open(c, path, O_PATH | O_DIRECTORY);
	int error = 0;

	if (fd < 0)
		return errno;
	if (fstatfs(fd, &fs) < 0)
		error = errno;
	else if (fs.f_type != K_PROC_MAGIC)
		error = EXDEV;
	close(fd);
	return error;
}

int op_mount(struct context *c, const struct wire_op *op)
{
	const char *fstype = op->args[0].p, *path = op->args[2].p;
	int mount = mountfs_new(fstype, op->args[1].p, &op->args[4], (unsigned)op->args[3].n);
	int error;

	if (mount < 0)
		return errno;
	error = attach(c, mount, path);
	close(mount);
	if (error == 0 && strcmp(fstype, "proc") == 0)
		error = verify_proc(c, path);
	return error;
}

static int set_attributes(int fd, bool recursive, uint64_t set, uint64_t clear)
{
	struct k_mount_attr attr = {.set = set, .clear = clear};

	if (set == 0 && clear == 0)
		return 0;
	/* The access time modes are one field: it is cleared to be set. */
	if ((set & K_MOUNT_ATTR_ATIME) != 0)
		attr.clear |= K_MOUNT_ATTR_ATIME;
	return k_mount_setattr(fd, recursive ? K_AT_RECURSIVE : 0, &attr) < 0 ? errno : 0;
}

/* A path of the host, or with a leading "@" one of the root. */
static int open_source(const struct context *c, const char *source, bool no_symlinks)
{
	if (source[0] == '@')
		return root_open(c, source + 1, O_PATH);
	return k_openat2(AT_FDCWD, source, O_PATH, no_symlinks ? K_RESOLVE_NO_SYMLINKS : 0);
}

/* Directory on directory, anything else on anything else; said before the kernel's EINVAL. */
static int check_kinds(int source, int target)
{
	struct stat from, to;

	if (fstat(source, &from) < 0 || fstat(target, &to) < 0)
		return errno;
	if (S_ISDIR(from.st_mode) && !S_ISDIR(to.st_mode))
		return ENOTDIR;
	return !S_ISDIR(from.st_mode) && S_ISDIR(to.st_mode) ? EISDIR : 0;
}

static int attach_tree(int tree, int target, bool recursive, uint64_t attributes)
{
	int error = set_attributes(tree, recursive, attributes, 0);

	return error == 0 && k_move_mount(tree, target) < 0 ? errno : error;
}

static int bind_at(int source, int target, bool recursive, uint64_t attributes)
{
	int tree, error = check_kinds(source, target);

	if (error != 0)
		return error;
	tree = k_open_tree(source, "", K_AT_EMPTY_PATH | K_OPEN_TREE_CLONE | (recursive ? K_AT_RECURSIVE : 0));
	if (tree < 0)
		return errno;
	error = attach_tree(tree, target, recursive, attributes);
	close(tree);
	return error;
}

/* "#NUMBER" is what `tree` opened: mounted as it is, once. */
int take_tree(struct context *c, const char *source, int *tree)
{
	char *end;
	unsigned long number = strtoul(source + 1, &end, 10);

	if (end == source + 1 || *end != '\0' || number >= c->trees || c->tree[number] < 0)
		return EBADF;
	*tree = c->tree[number];
	c->tree[number] = -1;
	return 0;
}

/* The kernel lists mounts by age, which for a tree is that of its `tree`; only what is mounted can be copied. What is
 * taken away again must not be so where it came from. */
static int mount_anew(int tree, int target)
{
	struct k_mount_attr attr = {.propagation = MS_PRIVATE};
	int copy = k_open_tree(tree, "", K_AT_EMPTY_PATH | K_OPEN_TREE_CLONE | K_AT_RECURSIVE);
	int error = 0;

	if (copy < 0)
		return errno;
	if (k_mount_setattr(tree, K_AT_RECURSIVE, &attr) < 0 || fchdir(tree) < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0 || k_move_mount(copy, target) < 0)
		error = errno;
	close(copy);
	return error;
}

static int bind_tree(struct context *c, const struct wire_op *op, int target)
{
	int tree, error = take_tree(c, op->args[0].p, &tree);

	if (error != 0)
		return error;
	error = check_kinds(tree, target);
	if (error == 0)
		error = attach_tree(tree, target, (op->args[2].n & BIND_RECURSIVE) != 0, op->args[3].n);
	if (error == 0 && (op->args[2].n & BIND_ANEW) != 0)
		error = mount_anew(tree, target);
	close(tree);
	return error;
}

static int bind_source(struct context *c, const struct wire_op *op, int target)
{
	uint64_t flags = op->args[2].n;
	int source = open_source(c, op->args[0].p, (flags & BIND_NO_SYMLINKS) != 0);
	int error;

	if (source < 0)
		return errno;
	error = bind_at(source, target, (flags & BIND_RECURSIVE) != 0, op->args[3].n);
	close(source);
	return error;
}

int op_bind(struct context *c, const struct wire_op *op)
{
	int target = root_open(c, op->args[1].p, O_PATH);
	int error;

	if (target < 0)
		return errno;
	error = op->args[0].p[0] == '#' ? bind_tree(c, op, target) : bind_source(c, op, target);
	close(target);
	return error;
}

int op_mount_propagation(struct context *c, const struct wire_op *op)
{
	struct k_mount_attr attr = {.propagation = op->args[1].n & ~(uint64_t)MS_REC};
	int fd = root_open(c, op->args[0].p, O_PATH);
	int error = 0;

	if (fd < 0)
		return errno;
	if (k_mount_setattr(fd, (op->args[1].n & MS_REC) != 0 ? K_AT_RECURSIVE : 0, &attr) < 0)
		error = errno;
	close(fd);
	return error;
}

int op_attributes(struct context *c, const struct wire_op *op)
{
	int fd = root_open(c, op->args[0].p, O_PATH);
	int error;

	if (fd < 0)
		return errno;
	error = set_attributes(fd, (op->args[1].n & ATTRIBUTES_RECURSIVE) != 0, op->args[2].n, op->args[3].n);
	close(fd);
	return error;
}

/* One empty, read-only tmpfs covers all masked directories: mounted over the first, it is cloned
 * for the others. */
static int mask_directory(int target)
{
	static int empty = -1;
	static const struct wire_arg none = {0, ""};
	int tree;

	if (empty >= 0) {
		tree = k_open_tree(empty, "", K_AT_EMPTY_PATH | K_OPEN_TREE_CLONE);
	} else {
		tree = mountfs_new("tmpfs", "appc", &none,
		                   K_MOUNT_ATTR_RDONLY | K_MOUNT_ATTR_NOSUID | K_MOUNT_ATTR_NODEV | K_MOUNT_ATTR_NOEXEC);
	}
	if (tree < 0)
		return errno;
	if (k_move_mount(tree, target) < 0) {
		int error = errno;

		close(tree);
		return error;
	}
	if (empty < 0)
		empty = tree;
	else
		close(tree);
	return 0;
}

/* The host's null device, not one the container could have replaced: so only before the pivot. */
static int mask_file(const struct context *c, int target)
{
	struct stat st;
	int null, error;

	if (c->pivoted)
		return EBUSY;
	null = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (null < 0)
		return errno;
	if (fstat(null, &st) < 0)
		error = errno;
	else if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		error = ENODEV;
	else
		error = bind_at(null, target, false, 0);
	close(null);
	return error;
}

int op_mask(struct context *c, const struct wire_op *op)
{
	struct stat st;
	int target = root_open(c, op->args[0].p, O_PATH);
	int error;

	if (target < 0)
		return errno;
	if (fstat(target, &st) < 0)
		error = errno;
	else
		error = S_ISDIR(st.st_mode) ? mask_directory(target) : mask_file(c, target);
	close(target);
	return error;
}
