/* Apps that are run again when they have ended: after a while, in the root they have, their pre-start handlers first. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum { AGAIN_ON_FAILURE = 1, AGAIN_ALWAYS = 2 };

/* Who has run this long has not failed at starting: its delays, and what counts as a row, begin anew. */
#define WELL_NS (10ULL * 1000 * 1000 * 1000)

int keep_restart(const struct wire_op *op)
{
	struct task *app = task_app(op->args[0].p);
	const struct wire_track *track = wire_find(&keep.source->plan, op->args[1].p);

	if (app == NULL || track == NULL || !wire_performed(&keep.source->plan, track, true))
		return EINVAL;
	if (op->args[2].n != AGAIN_ON_FAILURE && op->args[2].n != AGAIN_ALWAYS)
		return EINVAL;
	app->again.source = keep.source;
	app->again.track = track;
	app->again.when = op->args[2].n;
	app->again.first = app->again.delay = op->args[3].n;
	app->again.longest = op->args[4].n;
	app->again.most = op->args[5].n;
	return 0;
}

bool again_wanted(struct task *app)
{
	bool fails = task_exit_status(app) != 0 || health_bad(app);

	if (app->again.when == 0 || app->stopped || keep.stop != STOP_NO || !init_lives())
		return false;
	/* A launch that failed; a change that did concerns no other app. */
	if (keep.failure.set && !keep.ready)
		return false;
	if (!fails && app->again.when != AGAIN_ALWAYS)
		return false;
	if (app->ran && app->ended - app->started >= WELL_NS) {
		app->again.row = 0;
		app->again.delay = app->again.first;
	}
	if (app->again.most != 0 && app->again.row >= app->again.most)
		return false;
	app->again.row++;
	app->again.count++;
	app->again.at = now_ms() + app->again.delay;
	app->again.delay = app->again.delay < app->again.longest / 2 ? 2 * app->again.delay : app->again.longest;
	app->coming = COMES_LATER;
	return true;
}

void again_cancel(struct task *app)
{
	if (app->role != ROLE_APP || app->coming == COMES_NOT)
		return;
	app->coming = COMES_NOT;
	for (size_t i = 0; i < keep.tasks; i++)
		if (keep.task[i].role == ROLE_HANDLER && strcmp(keep.task[i].app, app->app) == 0)
			task_kill(&keep.task[i], SIGKILL);
	app_failed(app);
}

/* It did not come to run: as good as an end. */
static void fails(struct task *app, int status)
{
	app->coming = COMES_NOT;
	app->status = status;
	app->ended = now_ns();
	app->ran = false;
	if (again_wanted(app))
		status_app(app);
	else
		app_failed(app);
}

int again_start(struct task *app)
{
	app->source = app->again.source;
	app->track = app->again.track;
	app->coming = COMES_NOT;
	app->syncs = false;
	app->post_status = 0;
	notify_started(app);
	app->post = POST_NONE;
	for (size_t i = 0; i < keep.tasks; i++) {
		struct task *handler = &keep.task[i];

		if (handler->role != ROLE_POST_STOP || strcmp(handler->app, app->app) != 0)
			continue;
		handler->phase = DECLARED;
		app->post = POST_PENDING;
	}
	return task_spawn(app, 0);
}

static void run(struct task *app)
{
	app->later = true;
	if (again_start(app) == 0)
		return;
	app->post = POST_SKIPPED;
	fails(app, 127 << 8);
}

/* Starts the app's next pre-start handler or, when none is left, the app. */
static void proceed(struct task *app)
{
	for (size_t i = 0; i < keep.tasks; i++) {
		struct task *handler = &keep.task[i];

		if (handler->role != ROLE_HANDLER || handler->phase != DECLARED || strcmp(handler->app, app->app) != 0)
			continue;
		handler->later = true;
		if (task_start_handler(handler) != 0)
			fails(app, 127 << 8);
		return;
	}
	run(app);
}

void pre_start_ended(struct task *handler)
{
	struct task *app = task_app(handler->app);

	/* At a launch somebody waits for it. */
	if (app->coming != COMES_PREPARED)
		return;
	if (handler->status == 0)
		proceed(app);
	else
		fails(app, handler->status);
}

void again_running(const struct task *app)
{
	if (app->role == ROLE_APP && app->later)
		status_app(app);
}

/* Its handlers come first, and it is only over when they are. */
static bool waits(const struct task *app)
{
	return app->role == ROLE_APP && app->coming == COMES_LATER && app->post != POST_PENDING;
}

uint64_t again_deadline(void)
{
	uint64_t next = 0;

	for (size_t i = 0; i < keep.tasks; i++)
		if (waits(&keep.task[i]))
			next = earlier(next, keep.task[i].again.at);
	return next;
}

void again_expire(uint64_t now)
{
	for (size_t i = 0; i < keep.tasks; i++) {
		struct task *app = &keep.task[i];

		if (!waits(app) || now < app->again.at)
			continue;
		for (size_t k = 0; k < keep.tasks; k++)
			if (keep.task[k].role == ROLE_HANDLER && strcmp(keep.task[k].app, app->app) == 0)
				keep.task[k].phase = DECLARED;
		app->coming = COMES_PREPARED;
		proceed(app);
	}
}
