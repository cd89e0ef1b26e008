/* The ops that bring a pod up. */
#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"
#include "mountfs.h"
#include "userns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int keep_mount_namespace(const struct wire_op *op)
{
	int error = open_ns(0, "mnt", &keep.own_mnt);

	(void)op;
	if (error != 0)
		return error;
	if (unshare(CLONE_NEWNS) < 0)
		return errno;
	return mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ? errno : 0;
}

int keep_tmpfs(const struct wire_op *op)
{
	const char *path = op->args[0].p;
	int at, tree, error = 0;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return errno;
	at = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0)
		return errno;
	tree = mountfs_new("tmpfs", "appc", &op->args[1], K_MOUNT_ATTR_NOSUID | K_MOUNT_ATTR_NODEV);
	if (tree < 0 || k_move_mount(tree, at) < 0)
		error = errno;
	if (tree >= 0)
		close(tree);
	close(at);
	return error;
}

static const char *const ns_names[CHILD_NAMESPACES] = {"net", "ipc", "uts", "mnt", "pid", "user", "cgroup", "time", "root"};
enum { NS_USER = 5, NS_ROOT = 8 };
static const int ns_flags[CHILD_NAMESPACES] = CHILD_NAMESPACE_FLAGS;

bool track_has(const struct wire_track *track, enum opcode code)
{
	struct wire_cursor cursor = wire_begin(&keep.source->plan, track);
	struct wire_op op;

	while (wire_next(&cursor, &op))
		if (op.code == code)
			return true;
	return false;
}

int keep_init(const struct wire_op *op)
{
	int flags = (int)op->args[0].n;
	int stdio[3] = {keep.null, keep.null, keep.null};
	struct task *task;
	int error;

	if (op->args[0].n > INT32_MAX || keep.init != NULL)
		return EINVAL;
	task = task_new(ROLE_INIT, "", op->args[1].p);
	if (task == NULL)
		return errno;
	task->cgroup = op->args[2].p;
	/* One that is born again makes its namespaces itself. */
	error = spawn_task(task, track_has(task->track, OP_fork) ? 0 : flags, stdio);
	if (error != 0)
		return error;
	keep.init = task;
	error = task_wait(task, RUNNING, LAUNCH_TIMEOUT);
	/* Its mounts are its own: each app has a mount namespace for itself. */
	flags &= ~CLONE_NEWNS;
	for (int i = 0; i < CHILD_NAMESPACES && error == 0; i++)
		if ((flags & ns_flags[i]) != 0 && keep.ns[i] < 0)
			error = open_ns(task->pid, ns_names[i], &keep.ns[i]);
	/* From now on the pod can be stopped, however long its handlers take. */
	if (error == 0)
		status_keeper();
	return error;
}

/* The user namespace that a namespace of another kind belongs to takes its place. */
static int take_owner(int *ns)
{
	int owner, kind = ioctl(*ns, K_NS_GET_NSTYPE);

	if (kind < 0)
		return errno;
	if (kind == CLONE_NEWUSER)
		return 0;
	owner = ioctl(*ns, K_NS_GET_USERNS);
	if (owner < 0)
		return errno;
	close(*ns);
	*ns = high_fd(owner);
	return *ns < 0 ? errno : 0;
}

int keep_adopt(const struct wire_op *op)
{
	for (int i = 0; i < CHILD_NAMESPACES; i++) {
		if (op->args[0].n != (uint64_t)ns_flags[i])
			continue;
		if (keep.ns[i] >= 0)
			close(keep.ns[i]);
		keep.ns[i] = high_fd(open(op->args[1].p, (i == NS_ROOT ? O_PATH | O_DIRECTORY : O_RDONLY) | O_CLOEXEC));
		if (keep.ns[i] < 0)
			return errno;
		if (i == NS_ROOT)
			return 0;
		if (i == NS_USER)
			return take_owner(&keep.ns[i]);
		/* Said here, where it is known who asked for it. */
		return ioctl(keep.ns[i], K_NS_GET_NSTYPE) == ns_flags[i] ? 0 : EINVAL;
	}
	return EINVAL;
}

int keep_userns(const struct wire_op *op)
{
	int fd = -1, proc, error;

	if (keep.ns[NS_USER] >= 0)
		return EINVAL;
	proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return errno;
	error = userns_new(proc, &op->args[0], &op->args[1], &fd);
	close(proc);
	if (error != 0)
		return error;
	keep.ns[NS_USER] = high_fd(fd);
	return keep.ns[NS_USER] < 0 ? errno : 0;
}

int keep_namespaces(const struct wire_op *op)
{
	struct text target = {.used = 0};

	if (keep.init == NULL)
		return EINVAL;
	text_add(&target, "/proc/");
	text_number(&target, (uint64_t)keep.init->pid);
	text_add(&target, "/ns");
	return symlink(target.bytes, op->args[0].p) < 0 ? errno : 0;
}

int keep_listen(const struct wire_op *op)
{
	return listen_add(op->args[0].p, op->args[1].n, op->args[2].p, &op->args[3]);
}

int task_spawn(struct task *task, int flags)
{
	int fds[3];
	int error = stdio_open(&task->stdio, task->app, fds, &task->tty);

	if (error != 0)
		return error;
	error = spawn_task(task, flags, fds);
	stdio_close(fds);
	return error;
}

static bool plain_name(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && name[0] != '_' && strchr(name, '/') == NULL && strlen(name) < 256;
}

int keep_app(const struct wire_op *op)
{
	struct task *task;
	int error;

	/* The name becomes the one of a status file, beside the keeper's own ("_…"). */
	if (!plain_name(op->args[0].p) || task_app(op->args[0].p) != NULL)
		return EINVAL;
	task = task_new(ROLE_APP, op->args[0].p, op->args[1].p);
	if (task == NULL)
		return errno;
	task->stdio = (struct stdio){.mode = {op->args[2].p, op->args[3].p, op->args[4].p}, .log = op->args[5].p};
	task->cgroup = op->args[6].p;
	task->syncs = true;
	error = task_spawn(task, 0);
	if (error == 0)
		error = task_wait(task, HELD, LAUNCH_TIMEOUT);
	return error != 0 ? error : open_ns(task->pid, "mnt", &task->mnt);
}

int task_start_handler(struct task *task)
{
	return task_spawn(task, 0);
}

static int declare(enum role role, const struct wire_op *op, struct task **handler)
{
	struct task *app = task_app(op->args[0].p);
	const char *output;
	struct task *task;

	if (app == NULL)
		return EINVAL;
	task = task_new(role, app->app, op->args[1].p);
	if (task == NULL)
		return errno;
	/* Where the app's output is also shown, its handlers' is. */
	output = strcmp(app->stdio.mode[1], "both") == 0 ? "both" : "log";
	if (op->args[2].p[0] == '\0')
		output = "null";
	task->stdio = (struct stdio){.mode = {"null", output, output}, .log = op->args[2].p};
	task->timeout = op->args[3].n;
	task->cgroup = op->args[4].p;
	task->mnt = app->mnt;
	task->later = role == ROLE_POST_STOP;
	*handler = task;
	return 0;
}

int task_run_handler(struct task *task)
{
	int error = task_start_handler(task);
	uint32_t status;

	if (error == 0)
		error = task_wait(task, ENDED, 0);
	if (error != 0)
		return error;
	stream_catch_up();
	/* An op of its track failed, and that is told already. */
	if (task->failed)
		return ECHILD;
	status = (uint32_t)task_exit_status(task);
	tell("handler", task->app, &status, 1);
	keep.failure.status = status;
	if (task->timed_out)
		return ETIMEDOUT;
	return status == 0 ? 0 : ECHILD;
}

int keep_handler(const struct wire_op *op)
{
	struct task *task = NULL;
	int error = declare(ROLE_HANDLER, op, &task);

	return error != 0 ? error : task_run_handler(task);
}

int keep_post_stop(const struct wire_op *op)
{
	struct task *task = NULL;
	int error = declare(ROLE_POST_STOP, op, &task);

	if (error == 0)
		task_app(task->app)->post = POST_PENDING;
	return error;
}

int keep_start(const struct wire_op *op)
{
	struct task *task = task_app(op->args[0].p);
	int error;

	if (task == NULL)
		return EINVAL;
	if (keep.stop != STOP_NO)
		return EINTR;
	if (task->phase != HELD)
		return ECONNRESET;
	notify_started(task);
	task->phase = RELEASED;
	task->started = now_ns();
	error = task_proceed(task);
	if (error == 0)
		error = task_wait(task, RUNNING, LAUNCH_TIMEOUT);
	/* It may have run and ended at once. */
	if (error != 0 && !task->ran)
		return error;
	if (task->phase == RUNNING)
		status_app(task);
	return 0;
}

int keep_ready(const struct wire_op *op)
{
	int error = 0;

	(void)op;
	if (!keep.ready && keep.init != NULL && keep.pod >= 0)
		error = change_listen();
	keep.ready = true;
	status_keeper();
	notify_pod();
	tell("ready", NULL, NULL, 0);
	if (keep.report >= 0)
		close(keep.report);
	keep.report = -1;
	return error;
}

int keep_supervise(const struct wire_op *op)
{
	/* Its arguments are known from the start: they hold for a launch that is stopped, too. */
	(void)op;
	while (!pod_over()) {
		watch_step(0);
		change_perform();
	}
	return 0;
}

int keep_execute(const struct wire_op *op)
{
	struct task *task = task_new(ROLE_EXECUTE, "", op->args[0].p);
	int error;

	if (task == NULL)
		return errno;
	task->stdio = (struct stdio){.mode = {op->args[1].p, op->args[2].p, op->args[3].p}, .log = ""};
	task->cgroup = op->args[4].p;
	keep.ready = true;
	error = task_spawn(task, 0);
	if (error == 0)
		error = task_wait(task, ENDED, 0);
	if (error == 0)
		keep.status = task_exit_status(task);
	return error;
}
