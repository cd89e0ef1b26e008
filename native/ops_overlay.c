/* A root made of an image's trees and the pod's own upper layer. */
#define _GNU_SOURCE
#include "kernel.h"
#include "mountfs.h"
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TARGET, LOWERS, UPPER, WORK, OPTIONS };

/* The arguments that say what is laid over what. */
struct layers {
	const struct wire_arg *lowers, *upper, *work, *options;
};

/* A path of the host, or "#NUMBER" and a path in what `tree` opened. */
static int open_layer(const struct context *c, const char *path)
{
	unsigned long number;
	char *rest;

	if (path[0] != '#')
		return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	number = strtoul(path + 1, &rest, 10);
	if (rest == path + 1 || number >= c->trees || (*rest != '\0' && *rest != '/')) {
		errno = EBADF;
		return -1;
	}
	return k_openat2(c->tree[number], *rest == '\0' ? "." : rest + 1, O_RDONLY | O_DIRECTORY,
	                 K_RESOLVE_BENEATH | K_RESOLVE_NO_SYMLINKS);
}

static int set_layer(const struct context *c, int fs, const char *key, const char *path)
{
	int fd = open_layer(c, path);
	int error = 0;

	if (fd < 0)
		return errno;
	if (k_fsconfig(fs, K_FSCONFIG_SET_FD, key, NULL, fd) < 0)
		error = errno;
	close(fd);
	return error;
}

/* Layers by descriptor: no limit on the length of their paths, nothing to escape. */
static int set_layers(const struct context *c, int fs, const struct layers *layers)
{
	const char *at = layers->lowers->p;
	int error = 0;

	for (uint64_t i = 0; i < layers->lowers->n && error == 0; i++)
		error = set_layer(c, fs, "lowerdir+", wire_item(&at));
	if (layers->upper->n == 0)
		return error;
	if (error == 0)
		error = set_layer(c, fs, "upperdir", layers->upper->p);
	return error != 0 ? error : set_layer(c, fs, "workdir", layers->work->p);
}

static int overlay_new(const struct context *c, const struct layers *layers, int *mount_fd)
{
	int fs = k_fsopen("overlay");
	int error;

	if (fs < 0)
		return errno;
	error = set_layers(c, fs, layers);
	if (error == 0)
		error = mountfs_options(fs, layers->options);
	if (error == 0 && k_fsconfig(fs, K_FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		error = errno;
	if (error == 0 && (*mount_fd = k_fsmount(fs, 0)) < 0)
		error = errno;
	close(fs);
	return error;
}

/* The data of mount(2): at most a page, in which each layer is /proc/self/fd/N – short, and free
 * of characters to escape. */
struct data {
	char text[4096];
	size_t used;
	int layers[500]; /* as many as overlay takes */
	size_t count;
	int error;
};

static void add(struct data *data, const char *text)
{
	size_t length = strlen(text);

	if (data->used + length + 1 > sizeof data->text) {
		data->error = E2BIG;
		return;
	}
	memcpy(data->text + data->used, text, length + 1);
	data->used += length;
}

static void add_layer(struct data *data, const char *separator, const char *path)
{
	struct text name = {.used = 0};
	int fd;

	if (data->error != 0)
		return;
	fd = data->count < sizeof data->layers / sizeof data->layers[0] ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0) {
		data->error = errno != 0 ? errno : E2BIG;
		return;
	}
	data->layers[data->count++] = fd;
	text_add(&name, "/proc/self/fd/");
	text_number(&name, (uint64_t)fd);
	add(data, separator);
	add(data, name.bytes);
}

/* For kernels before 6.13, whose overlay takes no descriptors. */
static int overlay_by_mount(struct context *c, const struct wire_op *op)
{
	static struct data data;
	const char *target = op->args[TARGET].p;
	const char *at = op->args[LOWERS].p;
	int fd;

	errno = 0;
	for (uint64_t i = 0; i < op->args[LOWERS].n; i++)
		add_layer(&data, i == 0 ? "lowerdir=" : ":", wire_item(&at));
	if (op->args[UPPER].n != 0) {
		add_layer(&data, ",upperdir=", op->args[UPPER].p);
		add_layer(&data, ",workdir=", op->args[WORK].p);
	}
	at = op->args[OPTIONS].p;
	for (uint64_t i = 0; i < op->args[OPTIONS].n; i++) {
		add(&data, ",");
		add(&data, wire_item(&at));
	}
	if (data.error == 0 && mount("overlay", target, "overlay", 0, data.text) < 0)
		data.error = errno;
	while (data.count > 0)
		close(data.layers[--data.count]);
	if (data.error != 0)
		return data.error;
	fd = open(target, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	root_set(c, fd);
	return 0;
}

int op_root_overlay(struct context *c, const struct wire_op *op)
{
	int mount_fd = -1;
	const struct wire_arg *args = op->args;
	struct layers layers = {&args[LOWERS], &args[UPPER], &args[WORK], &args[OPTIONS]};
	int error = overlay_new(c, &layers, &mount_fd);

	/* Before Linux 6.5 overlays are mounted the old way, which knows no descriptors: EOPNOTSUPP. */
	if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP)
		return overlay_by_mount(c, op);
	return error != 0 ? error : become_root(c, mount_fd, op->args[TARGET].p);
}

/* Files of this user from now on, with the same capabilities: a change of user takes some away. */
static int make_files_as(uid_t uid, gid_t gid)
{
	struct k_cap_header header = {.version = K_CAPABILITY_VERSION_3};
	struct k_cap_data data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return errno;
	syscall(SYS_setfsgid, gid);
	syscall(SYS_setfsuid, uid);
	return syscall(SYS_capset, &header, data) < 0 ? errno : 0;
}

/* The kernel makes files in the work directory for who mounts, and there nobody is the host's root. */
int op_overlay(struct context *c, const struct wire_op *op)
{
	struct layers layers = {&op->args[0], &op->args[1], &op->args[2], &op->args[3]};
	uid_t uid, gid;
	int mount_fd = -1, error, back;

	if (id_from_number(op->args[4].n, &uid) != 0 || id_from_number(op->args[5].n, &gid) != 0)
		return EINVAL;
	error = make_files_as(uid, gid);
	if (error == 0)
		error = overlay_new(c, &layers, &mount_fd);
	back = make_files_as(geteuid(), getegid());
	if (error == 0)
		error = back;
	if (error != 0 && mount_fd >= 0)
		close(mount_fd);
	return error != 0 ? error : keep_tree(c, mount_fd);
}
