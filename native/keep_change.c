/* What changes in a pod that runs: a whole plan, sealed, comes by a socket of the pod's directory, which only root can
 * enter. It is read and refused whole as the pod's own was, and performed by the same functions; what it began goes
 * when it fails. */
#define _GNU_SOURCE
#include "keep.h"
#include "planfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* As many plans at most are in use at once. */
#define MAX_CHANGES 128

/* A killed process that does not go is left behind after this time. */
#define END_TIMEOUT 10000

static struct source changes[MAX_CHANGES];

/* One change at a time; who comes meanwhile waits in the socket's queue. */
static struct {
	int listener, caller, plan; /* -1 */
} control = {.listener = -1, .caller = -1, .plan = -1};

static bool may_change(enum opcode code)
{
	switch (code) {
	case OP_notify:
	case OP_app:
	case OP_handler:
	case OP_post_stop:
	case OP_restart:
	case OP_health_command:
	case OP_health_port:
	case OP_start:
	case OP_stop_app:
	case OP_run_again:
	case OP_drop_app:
	case OP_rmdir_cgroup:
	case OP_ready:
		return true;
	default:
		return false;
	}
}

static void hang_up(void)
{
	watch_drop(control.caller);
	close(control.caller);
	control.caller = -1;
	watch_set(control.listener, POLLIN);
}

/* The one packet of a caller: any byte, and the plan. */
static int receive_plan(void)
{
	char byte;
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} space;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = space.bytes,
		/* Not its padding, too, in which a second one would be taken in that nobody closes. */
		.msg_controllen = CMSG_LEN(sizeof(int)),
	};
	ssize_t n = recvmsg(control.caller, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *header = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
	int fd = -1;

	if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(header), sizeof fd);
	return high_fd(fd);
}

static void caller_ready(void *owner, short events)
{
	(void)owner;
	(void)events;
	control.plan = receive_plan();
	if (control.plan < 0)
		hang_up();
	else
		watch_drop(control.caller);
}

static void control_ready(void *owner, short events)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t size = sizeof peer;

	(void)owner;
	(void)events;
	control.caller = high_fd(accept4(control.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
	if (control.caller < 0)
		return;
	watch_set(control.listener, 0);
	if (getsockopt(control.caller, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != geteuid() ||
	    watch_add(control.caller, POLLIN, caller_ready, NULL) != 0)
		hang_up();
}

int change_listen(void)
{
	int error = socket_in_pod(".", "control", SOCK_SEQPACKET, 0600, &control.listener);

	if (error != 0)
		return error;
	if (listen(control.listener, SOMAXCONN) < 0)
		return errno;
	return watch_add(control.listener, POLLIN, control_ready, NULL);
}

static void release(struct source *source)
{
	if (source->data != NULL && source->data != MAP_FAILED)
		munmap(source->data, source->size);
	if (source->fd >= 0)
		close(source->fd);
	*source = (struct source){.fd = -1, .data = NULL};
}

/* Reads and checks the plan that was received, which is then the source's; 0 or an errno. */
static int load(struct source *source, const struct wire_track **track)
{
	const struct wire_track *end;
	struct wire_cursor cursor;
	struct wire_op op;
	int error;

	source->fd = control.plan;
	/* Its performers read it again. */
	if ((fcntl(source->fd, F_GET_SEALS) & SEALS) != SEALS)
		return EACCES;
	error = plan_load(source->fd, &source->plan, &source->data, &source->size);
	if (error != 0)
		return error;
	*track = wire_find(&source->plan, "change");
	if (*track == NULL)
		return EBADMSG;
	cursor = wire_begin(&source->plan, *track);
	while (wire_next(&cursor, &op))
		if (!may_change(op.code))
			return EBADMSG;
	end = wire_find(&source->plan, "teardown");
	if (end != NULL) {
		cursor = wire_begin(&source->plan, end);
		while (wire_next(&cursor, &op))
			if (op.code != OP_rmdir_cgroup)
				return EBADMSG;
	}
	return 0;
}

/* With several apps the lines of each are told apart. */
static void count_apps(const struct source *source, const struct wire_track *track)
{
	struct wire_cursor cursor = wire_begin(&source->plan, track);
	struct wire_op op;

	while (wire_next(&cursor, &op))
		keep.apps += op.code == OP_app;
}

static struct source *free_source(void)
{
	for (size_t i = 0; i < MAX_CHANGES; i++)
		if (changes[i].data == NULL)
			return &changes[i];
	return NULL;
}

static bool in_use(const struct source *source)
{
	for (size_t i = 0; i < keep.tasks; i++) {
		const struct task *task = &keep.task[i];

		if (task->role != ROLE_NONE &&
		    (task->home == source || task->source == source || (task->role == ROLE_APP && task->again.source == source)))
			return true;
	}
	return false;
}

static void end_now(struct task *task)
{
	uint64_t give_up = now_ms() + END_TIMEOUT;

	task_kill(task, SIGKILL);
	while (task->phase != ENDED && task->phase != DECLARED && now_ms() < give_up)
		watch_step(give_up);
}

static void forget(struct task *app)
{
	struct text name = {.used = 0};

	text_add(&name, "status/");
	text_add(&name, app->app);
	task_forget(app);
	unlinkat(keep.pod, name.bytes, 0);
}

/* Ends and forgets the apps that a change brought before it failed. */
static void take_back(const struct source *source)
{
	for (size_t i = 0; i < keep.tasks; i++) {
		struct task *task = &keep.task[i];

		if (task->role == ROLE_NONE || task->home != source)
			continue;
		task->stopped = true;
		again_cancel(task);
		if (task->post == POST_PENDING)
			task->post = POST_SKIPPED;
		end_now(task);
	}
	for (size_t i = 0; i < keep.tasks; i++)
		if (keep.task[i].role == ROLE_APP && keep.task[i].home == source)
			forget(&keep.task[i]);
}

static void finish(void)
{
	if (keep.report >= 0)
		close(keep.report);
	keep.report = -1;
	memset(&keep.failure, 0, sizeof keep.failure);
	keep.source = &keep.launch;
	control.plan = -1;
	for (size_t i = 0; i < MAX_CHANGES; i++)
		if (changes[i].data != NULL && !in_use(&changes[i]))
			release(&changes[i]);
	watch_set(control.listener, POLLIN);
}

void change_perform(void)
{
	const struct wire_track *track = NULL;
	struct source *source;
	int error;

	if (control.plan < 0)
		return;
	keep.report = control.caller;
	control.caller = -1;
	source = free_source();
	error = source == NULL ? ENFILE : load(source, &track);
	if (error != 0) {
		keep_fail("change", REPORT_NO_OP, error);
		if (source != NULL)
			release(source);
		else
			close(control.plan);
	} else {
		keep.source = source;
		count_apps(source, track);
		perform(track);
		if (keep.failure.set)
			take_back(source);
	}
	finish();
}

void change_tear_down(void)
{
	for (size_t i = 0; i < MAX_CHANGES; i++) {
		const struct wire_track *track = changes[i].data == NULL ? NULL : wire_find(&changes[i].plan, "teardown");

		if (track != NULL)
			tear_down(&changes[i], track);
	}
}

/* An app that is there, and that nothing is on its way with. */
static struct task *idle_app(const char *name)
{
	struct task *app = task_app(name);

	if (app == NULL || app->phase != ENDED || app->coming != COMES_NOT || (app->ran && app->post == POST_PENDING))
		return NULL;
	return app;
}

int keep_stop_app(const struct wire_op *op)
{
	struct task *app = task_app(op->args[0].p);

	if (app == NULL)
		return EINVAL;
	app->stopped = true;
	again_cancel(app);
	/* It may have been executed, and we not have seen that yet. */
	task_ready(app, 0);
	if (app->phase != ENDED) {
		task_kill(app, app->phase == RUNNING && op->args[1].n > 0 ? SIGTERM : SIGKILL);
		app->deadline = now_ms() + op->args[1].n;
	}
	while (idle_app(op->args[0].p) == NULL && keep.stop == STOP_NO)
		watch_step(0);
	stream_catch_up();
	status_app(app);
	return 0;
}

int keep_run_again(const struct wire_op *op)
{
	struct task *app = idle_app(op->args[0].p);
	const struct wire_track *track = wire_find(&keep.source->plan, op->args[1].p);
	bool stopped;
	int error = 0;

	if (app == NULL)
		return EBUSY;
	if (track == NULL || !wire_performed(&keep.source->plan, track, true))
		return EINVAL;
	for (size_t i = 0; i < keep.tasks && error == 0; i++) {
		struct task *handler = &keep.task[i];

		if (handler->role != ROLE_HANDLER || strcmp(handler->app, app->app) != 0)
			continue;
		end_now(handler);
		handler->later = false;
		handler->phase = DECLARED;
		error = task_run_handler(handler);
		if (error != 0)
			end_now(handler);
	}
	if (error != 0)
		return error;
	app->again.source = keep.source;
	app->again.track = track;
	app->again.row = 0;
	app->again.delay = app->again.first;
	app->later = false;
	stopped = app->stopped;
	app->stopped = false;
	error = again_start(app);
	if (error == 0)
		error = task_wait(app, RUNNING, LAUNCH_TIMEOUT);
	/* It may have run and ended at once. */
	if (error != 0 && !app->ran) {
		end_now(app);
		app->stopped = stopped;
		return error;
	}
	app->later = true;
	status_app(app);
	return 0;
}

int keep_drop_app(const struct wire_op *op)
{
	struct task *app = idle_app(op->args[0].p);

	if (app == NULL)
		return EBUSY;
	forget(app);
	return 0;
}
