/* What the kernel's schedulers know of the process: order, processors, memory nodes; and its clocks. */
#define _GNU_SOURCE
#include "init.h"
#include "kernel.h"
#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct sched_attr, as the first kernel that had it knew it */
struct sched_request {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

int op_scheduler(struct context *c, const struct wire_op *op)
{
	struct sched_request request = {
		.size = sizeof request,
		.policy = (uint32_t)op->args[0].n,
		.nice = (int32_t)(int64_t)op->args[1].n,
		.priority = (uint32_t)op->args[2].n,
		.flags = op->args[3].n,
		.runtime = op->args[4].n,
		.deadline = op->args[5].n,
		.period = op->args[6].n,
	};

	(void)c;
	if (op->args[0].n > INT32_MAX || op->args[2].n > INT32_MAX)
		return EINVAL;
	return syscall(SYS_sched_setattr, 0, &request, 0U) < 0 ? errno : 0;
}

int op_io_priority(struct context *c, const struct wire_op *op)
{
	enum { WHO_PROCESS = 1, CLASS_SHIFT = 13 };

	(void)c;
	if (op->args[0].n > 7 || op->args[1].n > 7)
		return EINVAL;
	return syscall(SYS_ioprio_set, WHO_PROCESS, 0, (int)(op->args[0].n << CLASS_SHIFT | op->args[1].n)) < 0 ? errno : 0;
}

/* The kernel reads whole words. */
#define MASK_BYTES 1024

static int take_mask(const struct wire_arg *bits, unsigned long mask[MASK_BYTES / sizeof(long)])
{
	memset(mask, 0, MASK_BYTES);
	if (bits->n > MASK_BYTES)
		return EINVAL;
	/* Little endian as the plan is, and so are the machines this is built for. */
	memcpy(mask, bits->p, bits->n);
	return 0;
}

int op_affinity(struct context *c, const struct wire_op *op)
{
	unsigned long mask[MASK_BYTES / sizeof(long)];
	int error = take_mask(&op->args[0], mask);

	(void)c;
	if (error != 0)
		return error;
	return syscall(SYS_sched_setaffinity, 0, sizeof mask, mask) < 0 ? errno : 0;
}

int op_memory_policy(struct context *c, const struct wire_op *op)
{
	unsigned long mask[MASK_BYTES / sizeof(long)];
	int error = take_mask(&op->args[1], mask);

	(void)c;
	if (error == 0 && op->args[0].n > INT32_MAX)
		error = EINVAL;
	if (error != 0)
		return error;
	/* One more than there are bits, since the kernel takes one off. */
	if (syscall(SYS_set_mempolicy, (int)op->args[0].n, op->args[1].n == 0 ? NULL : mask, 8 * op->args[1].n + 1) < 0)
		return errno;
	return 0;
}

int op_personality(struct context *c, const struct wire_op *op)
{
	(void)c;
	return personality((unsigned long)op->args[0].n) < 0 ? errno : 0;
}

int op_clocks(struct context *c, const struct wire_op *op)
{
	int fd, error = 0;

	if (c->root >= 0)
		return EINVAL;
	if (unshare(K_CLONE_NEWTIME) < 0)
		return errno;
	/* On /proc is the host's still: this comes before the root. */
	if (op->args[0].n != 0)
		error = lines_write(AT_FDCWD, "/proc/self/timens_offsets", &op->args[0]);
	if (error != 0)
		return error;
	/* Made for children, but nobody has had it yet: this process may be its first. */
	fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (setns(fd, K_CLONE_NEWTIME) < 0)
		error = errno;
	close(fd);
	return error;
}
