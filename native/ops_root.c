/* Joining and leaving namespaces, building the root and moving into it. */
#define _GNU_SOURCE
#include "kernel.h"
#include "mountfs.h"
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CHILD_MOUNT_NS = CHILD_NS + 3 };

/* `cgroup.procs`, or on v1 `tasks`: that moves this one thread without the lock which stops every
 * fork of the machine for some milliseconds. */
int op_cgroup(struct context *c, const struct wire_op *op)
{
	int fd = open(op->args[0].p, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	int error = 0;

	(void)c;
	if (fd < 0)
		return errno;
	if (write(fd, "0", 1) != 1)
		error = errno;
	close(fd);
	return error;
}

static int open_slash(struct context *c)
{
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	root_set(c, fd);
	return 0;
}

static int enter_root(struct context *c, int fd)
{
	if (fchdir(fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return errno;
	c->pivoted = true;
	return open_slash(c);
}

int op_join(struct context *c, const struct wire_op *op)
{
	static const int flags[CHILD_NAMESPACES] = CHILD_NAMESPACE_FLAGS;
	uint64_t wanted = op->args[0].n;

	for (int i = 0; i < CHILD_NAMESPACES; i++) {
		if (wanted != (uint64_t)flags[i])
			continue;
		if (flags[i] == 0)
			return enter_root(c, CHILD_NS + i);
		if (setns(CHILD_NS + i, flags[i]) < 0)
			return errno;
		if (flags[i] != CLONE_NEWNS)
			return 0;
		c->pivoted = true;
		return open_slash(c);
	}
	return EINVAL;
}

int op_unshare(struct context *c, const struct wire_op *op)
{
	(void)c;
	if (op->args[0].n > INT32_MAX)
		return EINVAL;
	return unshare((int)op->args[0].n) < 0 ? errno : 0;
}

int op_propagation(struct context *c, const struct wire_op *op)
{
	(void)c;
	return mount(NULL, "/", NULL, (unsigned long)op->args[0].n, NULL) < 0 ? errno : 0;
}

int become_root(struct context *c, int mount, const char *target)
{
	int at = open(target, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int error = 0;

	if (at < 0 || k_move_mount(mount, at) < 0)
		error = errno;
	if (at >= 0)
		close(at);
	if (error != 0)
		close(mount);
	else
		root_set(c, mount);
	return error;
}

int op_root_bind(struct context *c, const struct wire_op *op)
{
	const char *source = op->args[0].p;
	int tree = -1, error = 0;

	if (source[0] == '#')
		error = take_tree(c, source, &tree);
	else if ((tree = k_open_tree(AT_FDCWD, source, K_OPEN_TREE_CLONE | K_AT_RECURSIVE)) < 0)
		error = errno;
	return error != 0 ? error : become_root(c, tree, op->args[1].p);
}

int op_root_tmpfs(struct context *c, const struct wire_op *op)
{
	int mount_fd = mountfs_new("tmpfs", "appc", &op->args[1], 0);

	return mount_fd < 0 ? errno : become_root(c, mount_fd, op->args[0].p);
}

int op_pivot(struct context *c, const struct wire_op *op)
{
	(void)op;
	if (c->root < 0 || c->pivoted)
		return EBADF;
	if (fchdir(c->root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return errno;
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return errno;
	c->pivoted = true;
	return open_slash(c);
}

/* Every other file system of the kernel's that shows more of the host than the container's own do. */
static void drop_kernel_trees(void)
{
	static const char *const paths[] = {"/proc", "/sys"};

	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
		umount2(paths[i], MNT_DETACH | UMOUNT_NOFOLLOW);
}

/* For hosts whose root is the initial RAM file system, which cannot be pivoted away from. What was there stays below,
 * and who may call chroot(2) can find it. */
int op_move_root(struct context *c, const struct wire_op *op)
{
	(void)op;
	if (c->root < 0 || c->pivoted)
		return EBADF;
	if (fchdir(c->root) < 0)
		return errno;
	drop_kernel_trees();
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return errno;
	c->pivoted = true;
	return open_slash(c);
}

/* A copy that is in no namespace keeps its mounts together for as long as a process has it as its root: whoever shares
 * the namespace sees nothing of them, and nothing is left to unmount. */
int op_carry_root(struct context *c, const struct wire_op *op)
{
	int tree, error;

	(void)op;
	if (c->root < 0 || c->pivoted)
		return EBADF;
	tree = k_open_tree(c->root, "", K_OPEN_TREE_CLONE | K_AT_EMPTY_PATH | K_AT_RECURSIVE);
	if (tree < 0)
		return errno;
	error = setns(CHILD_MOUNT_NS, CLONE_NEWNS) < 0 ? errno : enter_root(c, tree);
	close(tree);
	return error;
}
