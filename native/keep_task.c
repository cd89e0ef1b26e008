/* What children report, and how they end. */
#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct task *task_new(enum role role, const char *app, const char *track)
{
	const struct wire_track *found = wire_find(&keep.source->plan, track);
	size_t at = 0;
	struct task *task;

	while (at < keep.tasks && keep.task[at].role != ROLE_NONE)
		at++;
	if (found == NULL || at == KEEP_MAX_TASKS) {
		errno = found == NULL ? ENOENT : ENFILE;
		return NULL;
	}
	if (!wire_performed(&keep.source->plan, found, true)) {
		errno = EINVAL;
		return NULL;
	}
	if (at == keep.tasks)
		keep.tasks++;
	task = &keep.task[at];
	*task = (struct task){.role = role, .app = app, .track = found, .report = -1, .mnt = -1, .start = -1};
	task->home = task->source = keep.source;
	task->cgroup = task->console = "";
	task->stdio = (struct stdio){.mode = {"null", "log", "log"}, .log = ""};
	return task;
}

struct task *task_app(const char *name)
{
	for (size_t i = 0; i < keep.tasks; i++)
		if (keep.task[i].role == ROLE_APP && strcmp(keep.task[i].app, name) == 0)
			return &keep.task[i];
	return NULL;
}

void task_forget(struct task *app)
{
	const char *name = app->app;

	stream_forget(app->app, app->stdio.log);
	notify_forget(name);
	health_forget(name);
	socket_forget(name);
	if (app->mnt >= 0)
		close(app->mnt);
	for (size_t i = 0; i < keep.tasks; i++)
		if (keep.task[i].role != ROLE_NONE && strcmp(keep.task[i].app, name) == 0)
			keep.task[i] = (struct task){.role = ROLE_NONE, .report = -1, .app = ""};
}

void task_kill(struct task *task, int signal_number)
{
	/* Not reaped yet, so the number is still this child's. */
	if (task->pid > 0 && task->phase != DECLARED && task->phase != ENDED && !task->collected)
		kill(task->pid, signal_number);
	/* And whatever the runtime still does for it. */
	if (task->maker > 0 && signal_number == SIGKILL)
		kill(task->maker, signal_number);
}

/* What fails after the launch spoils the pod's record, not the pod. */
static void task_fault(struct task *task, uint32_t index, int error)
{
	task->failed = true;
	/* Of a command that is run again and again, once. */
	if (task->later && !(task->role == ROLE_CHECK && task->noted))
		status_warning(task->track->name, index, error);
	task->noted = true;
	if (!task->later)
		keep_fail(task->track->name, index, error);
}

/* A child that does what its plan does not say is not trusted further. */
static void refuse(struct task *task, uint32_t index)
{
	task_fault(task, index, EPROTO);
	task_kill(task, SIGKILL);
}

int task_proceed(const struct task *task)
{
	char go = 1;

	return send(task->report, &go, 1, MSG_NOSIGNAL) == 1 ? 0 : ECONNRESET;
}

static bool at_start(const struct task *task, uint32_t index)
{
	struct wire_op op;

	if (!task->syncs || task->phase != BUILDING)
		return false;
	if (!wire_op_at(&task->source->plan, task->track, index, &op) || op.code != OP_sync)
		return false;
	return (task->role == ROLE_APP && strcmp(op.args[0].p, "start") == 0) ||
	       (task->role == ROLE_PROCESS && strcmp(op.args[0].p, "created") == 0);
}

/* A process that its performer may set going, if it waits for that. */
static bool goes_on(const struct task *task)
{
	return task->phase == (task->syncs ? RELEASED : BUILDING);
}

/* A container whose sync is still to come is not there yet. */
static bool may_be_ready(const struct task *task)
{
	if (task->made)
		return goes_on(task);
	if (task->role == ROLE_PROCESS)
		return task->phase == RELEASED || (task->phase == BUILDING && !task->syncs);
	return task->role == ROLE_INIT && task->phase == BUILDING;
}

/* Another process goes on with the track, also a child of ours; the one that made it has nothing left to do. */
static void born(struct task *task, const struct report *report)
{
	siginfo_t info;
	struct wire_op op;
	pid_t pid = (pid_t)report->value, before = task->pid;

	if (task->phase != BUILDING || !wire_op_at(&task->source->plan, task->track, report->index, &op) || op.code != OP_fork ||
	    pid <= 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
		refuse(task, report->index);
		return;
	}
	task->pid = pid;
	while (waitpid(before, NULL, 0) < 0 && errno == EINTR)
		;
	if (task->role == ROLE_PROCESS)
		status_process(task);
	task_proceed(task);
}

/* What a runtime made is what the task is about from now on; who ran the runtime tells what comes of it. */
static void made(struct task *task, const struct report *report)
{
	siginfo_t info;
	struct wire_op op;
	pid_t pid = (pid_t)report->value;

	if (task->made || !goes_on(task) || !wire_op_at(&task->source->plan, task->track, report->index, &op) ||
	    op.code != OP_runtime || pid <= 0 || pid == task->pid || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
		refuse(task, report->index);
		return;
	}
	task->made = true;
	task->maker = task->pid;
	task->pid = pid;
	task_proceed(task);
}

static void packet(struct task *task, const struct report *report, int fd)
{
	if (report->index > task->track->ops && report->index != REPORT_NO_OP) {
		refuse(task, REPORT_NO_OP);
	} else if (report->kind == REPORT_FAIL) {
		task_fault(task, report->index, (int)report->error);
	} else if (report->kind == REPORT_WARN) {
		keep_warn(task->track->name, report->index, (int)report->error);
	} else if (report->kind == REPORT_BORN) {
		born(task, report);
	} else if (report->kind == REPORT_MADE) {
		made(task, report);
	} else if (report->kind == REPORT_READY && may_be_ready(task)) {
		task->phase = RUNNING;
		again_running(task);
	} else if (report->kind == REPORT_SYNC && at_start(task, report->index)) {
		task->phase = HELD;
	} else if (report->kind == REPORT_CONSOLE && fd >= 0 && task->console[0] != '\0') {
		int error = console_send(task, fd);

		if (error != 0)
			task_fault(task, report->index, error);
		else
			task_proceed(task);
	} else if (report->kind == REPORT_LISTENER && fd >= 0 && task->role == ROLE_PROCESS) {
		int error = agent_send(task, fd);

		/* Its calls would wait for nobody. */
		if (error != 0) {
			keep_fail(task->track->name, report->index, error);
			task_kill(task, SIGKILL);
		}
	} else if (report->kind == REPORT_CONSOLE && task->tty && fd >= 0) {
		tty_attach(task, fd);
		task_proceed(task);
		return;
	} else {
		refuse(task, report->index);
	}
	if (fd >= 0)
		close(fd);
}

static void ended(struct task *task, int status);

static bool needs_release(const struct task *task)
{
	return task->role == ROLE_INIT || task->syncs;
}

/* Takes one packet; false when there is none. End of file closes the socket. */
static bool receive(struct task *task)
{
	struct report report;
	struct iovec part = {.iov_base = &report, .iov_len = sizeof report};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
		/* Not its padding, too, in which a second one would be taken in that nobody closes. */
		.msg_controllen = CMSG_LEN(sizeof(int)),
	};
	struct cmsghdr *header;
	ssize_t n = recvmsg(task->report, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int fd = -1;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	header = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
	if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(header), sizeof fd);
	if (n <= 0) {
		watch_drop(task->report);
		close(task->report);
		task->report = -1;
		/* The socket closes at exec; a child that died instead is reaped soon. */
		if (!task->failed && !task->made && (task->phase == RELEASED || (task->phase == BUILDING && !needs_release(task)))) {
			task->phase = RUNNING;
			again_running(task);
		}
		/* Nobody else would set it going. */
		if (task->made && task->phase != RUNNING)
			task_kill(task, SIGKILL);
		if (task->collected)
			ended(task, task->status);
		return false;
	}
	if (n != (ssize_t)sizeof report || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		if (fd >= 0)
			close(fd);
		refuse(task, REPORT_NO_OP);
		return true;
	}
	packet(task, &report, fd);
	return true;
}

void task_ready(void *owner, short events)
{
	struct task *task = owner;

	(void)events;
	while (task->report >= 0 && receive(task))
		;
}

static void ended(struct task *task, int status)
{
	pid_t pid = task->pid;

	task_ready(task, 0);
	/* Another went on in its place. */
	if (task->pid != pid)
		return;
	if (task->report >= 0) {
		watch_drop(task->report);
		close(task->report);
		task->report = -1;
	}
	task->ran = task->phase == RUNNING;
	task->phase = ENDED;
	task->status = status;
	task->ended = now_ns();
	task->deadline = 0;
	if (task->role == ROLE_APP)
		app_ended(task);
	else if (task->role == ROLE_POST_STOP)
		post_stop_ended(task);
	else if (task->role == ROLE_HANDLER)
		pre_start_ended(task);
	else if (task->role == ROLE_CHECK)
		health_ended(task);
}

/* What a runtime made may end before who ran that has told that it was started. */
static void collected(struct task *task, int status)
{
	if (task->made)
		task_ready(task, 0);
	if (!task->made || task->report < 0) {
		ended(task, status);
		return;
	}
	task->collected = true;
	task->status = status;
}

/* One that outlives the keeper keeps its status for whoever becomes its parent. */
static bool watch_detached(void)
{
	bool found = false;

	for (size_t i = 0; i < keep.tasks; i++) {
		struct task *task = &keep.task[i];
		siginfo_t info = {.si_pid = 0};

		if (!task->detached || task->pid <= 0)
			continue;
		found = true;
		if (task->phase != ENDED && waitid(P_PID, (id_t)task->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		    info.si_pid == task->pid)
			ended(task, 0);
	}
	return found;
}

void task_reap(void)
{
	int status;
	pid_t pid;

	hook_reap();
	if (watch_detached())
		return;
	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		listen_helper_ended(pid);
		for (size_t i = 0; i < keep.tasks; i++) {
			if (keep.task[i].maker == pid)
				keep.task[i].maker = 0;
			if (keep.task[i].pid == pid && keep.task[i].phase != ENDED && keep.task[i].phase != DECLARED)
				collected(&keep.task[i], status);
		}
	}
}

int task_exit_status(const struct task *task)
{
	return WIFSIGNALED(task->status) ? 128 + WTERMSIG(task->status) : WEXITSTATUS(task->status);
}

uint64_t task_deadline(void)
{
	uint64_t next = 0;

	for (size_t i = 0; i < keep.tasks; i++)
		next = earlier(next, keep.task[i].deadline);
	return next;
}

void task_expire(uint64_t now)
{
	for (size_t i = 0; i < keep.tasks; i++) {
		struct task *task = &keep.task[i];

		if (task->deadline != 0 && now >= task->deadline) {
			task->deadline = 0;
			task->timed_out = true;
			task_kill(task, SIGKILL);
		}
	}
}

int task_wait(struct task *task, enum phase phase, uint64_t timeout)
{
	uint64_t deadline = timeout == 0 ? 0 : now_ms() + timeout;

	while (task->phase < phase) {
		if (keep.stop != STOP_NO || keep.failure.set)
			return EINTR;
		if (deadline != 0 && now_ms() >= deadline)
			return ETIMEDOUT;
		watch_step(deadline);
	}
	/* An end that was not waited for: it did not get as far. */
	return task->phase == ENDED && phase != ENDED ? ECONNRESET : 0;
}

bool init_lives(void)
{
	struct task *init = keep.init;

	if (init == NULL)
		return true;
	/* Its socket closes before its namespace's processes are killed, and it is reaped after them. */
	task_ready(init, 0);
	return init->phase == RUNNING && init->report >= 0;
}
