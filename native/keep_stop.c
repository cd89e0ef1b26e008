/* How a pod ends: an app that fails, a signal, a failed launch; handlers after each app; PID 1 last. */
#define _GNU_SOURCE
#include "keep.h"

#include <signal.h>
#include <sys/wait.h>

/* A killed process that does not go (stuck in the kernel) is left to `gc` after this time. */
#define END_TIMEOUT 10000

static bool alive(const struct task *task)
{
	return task->phase != DECLARED && task->phase != ENDED && !task->left;
}

void stop_all(void)
{
	keep.stop = STOP_KILL;
	keep.kill_at = 0;
	for (size_t i = 0; i < keep.tasks; i++) {
		again_cancel(&keep.task[i]);
		if (&keep.task[i] != keep.init)
			task_kill(&keep.task[i], SIGKILL);
	}
}

static void stop_apps(void)
{
	if (keep.stop != STOP_NO)
		return;
	keep.stop = STOP_TERM;
	notify_manager("STOPPING=1");
	keep.kill_at = now_ms() + keep.grace;
	for (size_t i = 0; i < keep.tasks; i++) {
		struct task *task = &keep.task[i];

		if (task->role != ROLE_APP)
			continue;
		again_cancel(task);
		/* It may have been executed, and we not have seen that yet. */
		task_ready(task, 0);
		task_kill(task, task->phase == RUNNING ? SIGTERM : SIGKILL);
	}
}

static bool forward(int signal_number)
{
	bool found = false;

	for (size_t i = 0; i < keep.tasks; i++) {
		struct task *task = &keep.task[i];
		bool process = task->role == ROLE_PROCESS && task->phase == RUNNING;

		if ((task->role == ROLE_EXECUTE || process) && alive(task)) {
			task_kill(task, signal_number);
			found = true;
		}
	}
	return found;
}

void stop_request(int signal_number)
{
	if (keep.signals++ == 0)
		keep.signal = signal_number;
	if (forward(signal_number))
		return;
	/* Somebody at a terminal who has lost patience; several who ask a pod to stop are no hurry. */
	if (signal_number == SIGQUIT || (signal_number == SIGINT && keep.signals > 1))
		stop_all();
	else
		stop_apps();
}

void stop_expire(uint64_t now)
{
	if (keep.kill_at == 0 || now < keep.kill_at)
		return;
	keep.kill_at = 0;
	for (size_t i = 0; i < keep.tasks; i++)
		if (keep.task[i].role == ROLE_APP)
			task_kill(&keep.task[i], SIGKILL);
}

/* Starts the app's next post-stop handler; false when none is left to start. */
static bool next_post_stop(struct task *app)
{
	for (size_t i = 0; i < keep.tasks; i++) {
		struct task *task = &keep.task[i];

		if (task->role != ROLE_POST_STOP || task->phase != DECLARED || task_app(task->app) != app)
			continue;
		if (task_start_handler(task) == 0)
			return true;
		task->phase = ENDED;
		app->post_status = 127;
	}
	return false;
}

static void post_stop(struct task *app)
{
	if (app->post != POST_PENDING)
		return;
	if (keep.stop == STOP_KILL || !init_lives())
		app->post = POST_SKIPPED;
	else if (!next_post_stop(app))
		app->post = POST_DONE;
	if (app->post != POST_PENDING)
		status_app(app);
}

void post_stop_ended(struct task *handler)
{
	struct task *app = task_app(handler->app);

	if (app->post_status == 0)
		app->post_status = task_exit_status(handler);
	post_stop(app);
}

void app_failed(struct task *app)
{
	int status = task_exit_status(app);

	if (app->stopped)
		return;
	if (status != 0 && keep.status == 0)
		keep.status = status;
	if (status != 0)
		stop_apps();
}

void app_ended(struct task *app)
{
	bool again;

	/* An app that never ran is a failed launch, which is told elsewhere. */
	if (!app->ran && !app->later)
		return;
	death_note(app);
	/* Its last words come before those of its handlers. */
	stream_catch_up_with(app->app);
	again = again_wanted(app);
	if (!app->ran && app->post == POST_PENDING)
		app->post = POST_SKIPPED;
	status_app(app);
	post_stop(app);
	if (!again) {
		attach_over(app->app);
		app_failed(app);
	}
}

bool pod_over(void)
{
	for (size_t i = 0; i < keep.tasks; i++) {
		const struct task *task = &keep.task[i];

		if (task->role != ROLE_APP)
			continue;
		if (alive(task) || task->coming != COMES_NOT || (task->ran && task->post == POST_PENDING))
			return false;
		/* It waits for being started again. */
		if (task->stopped && keep.stop == STOP_NO && init_lives())
			return false;
	}
	return true;
}

static bool any_alive(void)
{
	for (size_t i = 0; i < keep.tasks; i++)
		if (alive(&keep.task[i]))
			return true;
	return false;
}

void pod_end(void)
{
	uint64_t give_up;

	/* After a failed launch apps may run: they end as in any other stop. */
	if (!pod_over())
		stop_apps();
	while (!pod_over())
		watch_step(0);
	for (size_t i = 0; i < keep.tasks; i++)
		if (!keep.task[i].left)
			task_kill(&keep.task[i], SIGKILL);
	give_up = now_ms() + END_TIMEOUT;
	while (any_alive() && now_ms() < give_up)
		watch_step(give_up);
	stream_drain();
	journal_end();
}
