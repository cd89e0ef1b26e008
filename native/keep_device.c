/* Programs that judge the use of devices in a control group (cgroup2). */
#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of 8 bytes each, as the kernel takes them; it looks at every one before it takes the program. */
#define INSTRUCTION 8

static int load(const struct wire_arg *filter)
{
	static const char licence[] = "Apache-2.0";
	struct k_bpf_load attributes = {
		.type = K_BPF_PROG_TYPE_CGROUP_DEVICE,
		.count = (uint32_t)(filter->n / INSTRUCTION),
		.instructions = (uint64_t)(uintptr_t)filter->p,
		.licence = (uint64_t)(uintptr_t)licence,
	};

	return (int)syscall(SYS_bpf, K_BPF_PROG_LOAD, &attributes, sizeof attributes);
}

int keep_device_filter(const struct wire_op *op)
{
	struct k_bpf_attach attributes = {.type = K_BPF_CGROUP_DEVICE, .flags = K_BPF_F_ALLOW_MULTI};
	int group = open(op->args[0].p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int program = group < 0 ? -1 : load(&op->args[1]);
	int error = 0;

	attributes.group = (uint32_t)group;
	attributes.program = (uint32_t)program;
	if (program < 0 || syscall(SYS_bpf, K_BPF_PROG_ATTACH, &attributes, sizeof attributes) < 0)
		error = errno;
	/* The group holds the program from now on, and ends it. */
	if (program >= 0)
		close(program);
	if (group >= 0)
		close(group);
	return error;
}
