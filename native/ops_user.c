/* Into a user namespace: what is done before it is joined, and what just after. */
#define _GNU_SOURCE
#include "kernel.h"
#include "root.h"
#include "userns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TREE_RECURSIVE = 1, TREE_NO_SYMLINKS = 2, TREE_MAPPED = 4, TREE_PEER = 8 };
enum { CHILD_USERNS = CHILD_NS + 5 };

static int make_userns(struct context *c, const struct wire_arg *uids, const struct wire_arg *gids, int *fd)
{
	int proc = procfs_open(c);
	int error;

	if (proc < 0)
		return errno;
	error = userns_new(proc, uids, gids, fd);
	close(proc);
	return error;
}

/* Mounted there, a copy must not carry mounts of the container's to the host, but where that is what is wanted. */
static int adapt(struct context *c, int tree, uint64_t flags, const struct wire_arg *uids, const struct wire_arg *gids)
{
	struct k_mount_attr attr = {.propagation = (flags & TREE_PEER) != 0 ? 0 : MS_SLAVE};
	int own = -1, error = 0;

	if ((flags & TREE_MAPPED) != 0) {
		if (uids->n != 0)
			error = make_userns(c, uids, gids, &own);
		attr.set = K_MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)(own >= 0 ? own : CHILD_USERNS);
	}
	if (error == 0 && k_mount_setattr(tree, (flags & TREE_RECURSIVE) != 0 ? K_AT_RECURSIVE : 0, &attr) < 0)
		error = errno;
	if (own >= 0)
		close(own);
	return error;
}

int keep_tree(struct context *c, int tree)
{
	if (c->trees == sizeof c->tree / sizeof c->tree[0]) {
		close(tree);
		return ENFILE;
	}
	c->tree[c->trees++] = tree;
	return 0;
}

int op_tree(struct context *c, const struct wire_op *op)
{
	uint64_t flags = op->args[1].n;
	int source, tree, error;

	source = k_openat2(AT_FDCWD, op->args[0].p, O_PATH, (flags & TREE_NO_SYMLINKS) != 0 ? K_RESOLVE_NO_SYMLINKS : 0);
	if (source < 0)
		return errno;
	tree = k_open_tree(source, "", K_AT_EMPTY_PATH | K_OPEN_TREE_CLONE | ((flags & TREE_RECURSIVE) != 0 ? K_AT_RECURSIVE : 0));
	error = tree < 0 ? errno : adapt(c, tree, flags, &op->args[2], &op->args[3]);
	close(source);
	if (error != 0 && tree >= 0)
		close(tree);
	return error == 0 ? keep_tree(c, tree) : error;
}

int op_own_output(struct context *c, const struct wire_op *op)
{
	uid_t uid;

	return id_from_number(op->args[0].n, &uid) != 0 ? EINVAL : own_output(c, uid);
}

/* Neither outlives the keeper: the kernel forgets the signal at a birth and when identities change. */
static int die_with_keeper(void)
{
	return prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL) < 0 ? errno : 0;
}

int op_fork(struct context *c, const struct wire_op *op)
{
	/* The keeper's child, not ours: it waits for it, and outlives us. */
	struct k_clone_args args = {.flags = op->args[0].n | CLONE_PARENT};
	pid_t pid;
	int error;

	if (op->args[0].n > INT32_MAX)
		return EINVAL;
	pid = (pid_t)syscall(K_NR_CLONE3, &args, sizeof args);
	if (pid < 0)
		return errno;
	if (pid > 0) {
		report_process(REPORT_BORN, c->index, pid);
		_exit(0);
	}
	setsid();
	error = die_with_keeper();
	return error != 0 ? error : await_keeper();
}

int op_act_as(struct context *c, const struct wire_op *op)
{
	uid_t uid, gid;
	int error;

	(void)c;
	if (id_from_number(op->args[0].n, &uid) != 0 || id_from_number(op->args[1].n, &gid) != 0)
		return EINVAL;
	if (syscall(SYS_setgroups, (size_t)0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0 ||
	    syscall(SYS_setresuid, uid, uid, uid) < 0)
		return errno;
	error = die_with_keeper();
	if (error != 0)
		return error;
	return prctl(PR_SET_DUMPABLE, 0UL, 0UL, 0UL, 0UL) < 0 ? errno : 0;
}
