/* What others read about the pod: status files in its directory, lines on the report pipe. */
#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Replaces a status file as a whole: readers see the old text or the new. */
static void replace(const char *name, const struct text *text)
{
	struct text path = {.used = 0}, temporary = {.used = 0};
	int fd;

	if (keep.pod < 0)
		return;
	text_add(&path, "status/");
	text_add(&path, name);
	text_add(&temporary, "status/.");
	text_add(&temporary, name);
	mkdirat(keep.pod, "status", 0700);
	fd = openat(keep.pod, temporary.bytes, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	/* An old file is swapped out first. File systems take a rename over a file for the wish that the new one survives
	 * a crash of the host and write it to disk, for which the next rename, or whoever removes it, would have to wait. */
	if (write(fd, text->bytes, text->used) == (ssize_t)text->used &&
	    k_exchange(keep.pod, temporary.bytes, path.bytes) < 0)
		renameat(keep.pod, temporary.bytes, keep.pod, path.bytes);
	unlinkat(keep.pod, temporary.bytes, 0);
	close(fd);
}

/* Field 22 of /proc/PID/stat. */
uint64_t start_time(pid_t pid)
{
	struct text path = {.used = 0};
	char stat[1024];
	const char *at;
	ssize_t n;
	int fd;

	text_add(&path, "/proc/");
	text_number(&path, (uint64_t)pid);
	text_add(&path, "/stat");
	fd = open(path.bytes, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
	if (fd >= 0)
		close(fd);
	stat[n < 0 ? 0 : n] = '\0';
	/* The name, field 2, may hold anything but ends at the last parenthesis. */
	at = strrchr(stat, ')');
	for (int field = 2; field < 22 && at != NULL; field++)
		at = strchr(at + 1, ' ');
	return at == NULL ? 0 : strtoull(at, NULL, 10);
}

void status_keeper(void)
{
	struct text text = {.used = 0};

	text_pair(&text, "pid", (uint64_t)getpid());
	text_pair(&text, "starttime", start_time(getpid()));
	if (keep.init != NULL) {
		text_pair(&text, "init", (uint64_t)keep.init->pid);
		text_pair(&text, "init-starttime", start_time(keep.init->pid));
	}
	if (notify_all_ready())
		text_pair(&text, "ready", 1);
	replace("_keeper", &text);
}

void status_app(const struct task *app)
{
	struct text text = {.used = 0};

	if (app->pid <= 0)
		return;
	text_pair(&text, "pid", (uint64_t)app->pid);
	text_pair(&text, "started", app->started);
	text_pair(&text, "ready", app->ready);
	if (notify_said(app->app)[0] != '\0') {
		text_add(&text, "said=");
		text_add(&text, notify_said(app->app));
		text_add(&text, "\n");
	}
	if (app->phase == ENDED) {
		text_pair(&text, "exited", app->ended);
		if (WIFSIGNALED(app->status))
			text_pair(&text, "signal", (uint64_t)WTERMSIG(app->status));
		else
			text_pair(&text, "status", (uint64_t)WEXITSTATUS(app->status));
		death_add(&text, app);
	}
	if (health_word(app)[0] != '\0') {
		text_add(&text, "health=");
		text_add(&text, health_word(app));
		text_add(&text, "\n");
	}
	if (app->again.count > 0)
		text_pair(&text, "restarts", app->again.count);
	if (app->coming != COMES_NOT)
		text_pair(&text, "restarting", 1);
	if (app->stopped)
		text_add(&text, "stopped=1\n");
	if (app->post == POST_SKIPPED)
		text_add(&text, "post-stop=skipped\n");
	else if (app->post == POST_DONE && app->post_status == 0)
		text_add(&text, "post-stop=done\n");
	else if (app->post == POST_DONE)
		text_pair(&text, "post-stop", (uint64_t)app->post_status);
	replace(app->app, &text);
}

void status_process(const struct task *process)
{
	struct text text = {.used = 0};

	text_pair(&text, "pid", (uint64_t)process->pid);
	text_pair(&text, "starttime", start_time(process->pid));
	text_pair(&text, "created", process->started);
	replace("_process", &text);
}

void status_failure(void)
{
	struct text text = {.used = 0};

	if (!keep.failure.set)
		return;
	text_add(&text, "track=");
	text_add(&text, keep.failure.track);
	text_add(&text, "\n");
	text_pair(&text, "op", keep.failure.index);
	text_pair(&text, "errno", (uint64_t)keep.failure.error);
	if (keep.failure.status != 0)
		text_pair(&text, "status", keep.failure.status);
	replace("_failure", &text);
}

void status_warning(const char *track, uint32_t index, int error)
{
	struct text text = {.used = 0};
	int fd;

	text_add(&text, track);
	text_add(&text, " ");
	text_number(&text, index);
	text_add(&text, " ");
	text_number(&text, (uint64_t)error);
	text_add(&text, "\n");
	if (keep.pod < 0)
		return;
	mkdirat(keep.pod, "status", 0700);
	fd = openat(keep.pod, "status/_warnings", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, text.bytes, text.used) != (ssize_t)text.used) {
		/* A full disk: a warning less. */
	}
	close(fd);
}

void tell(const char *word, const char *track, const uint32_t *numbers, size_t count)
{
	struct text line = {.used = 0};

	if (keep.report < 0)
		return;
	text_add(&line, word);
	if (track != NULL) {
		text_add(&line, " ");
		text_add(&line, track);
	}
	for (size_t i = 0; i < count; i++) {
		text_add(&line, " ");
		text_number(&line, numbers[i]);
	}
	text_add(&line, "\n");
	if (write(keep.report, line.bytes, line.used) != (ssize_t)line.used) {
		close(keep.report);
		keep.report = -1;
	}
}
