/* Why an app died, as far as the kernel tells: for want of memory, or for a system call its filter refuses. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OOM_KILLS "oom_kill " /* in memory.events of cgroup v2 and memory.oom_control of v1 */
/* Of cgroup v1; v2 says "max". */
#define NO_LIMIT (1ULL << 60)

/* Reads a file of the app's group, or with no app of the pod's, below `group`; "" when there is none. */
static void read_file(const char *group, const char *app, const char *file, char *buffer, size_t size)
{
	struct text path = {.used = 0};
	ssize_t n = -1;
	int fd;

	text_add(&path, group);
	text_add(&path, "/");
	text_add(&path, app);
	text_add(&path, file);
	fd = open(path.bytes, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, buffer, size - 1);
		close(fd);
	}
	buffer[n < 0 ? 0 : n] = '\0';
}

static uint64_t number_in(const char *group, const char *app, const char *file)
{
	char buffer[64];

	read_file(group, app, file, buffer, sizeof buffer);
	return strtoull(buffer, NULL, 10);
}

/* The number behind the line that begins with OOM_KILLS; 0 when there is no such file or line. */
static uint64_t oom_kills(const char *group, const char *app, const char *file)
{
	char buffer[1024];
	const char *line = buffer;

	read_file(group, app, file, buffer, sizeof buffer);
	while (strncmp(line, OOM_KILLS, strlen(OOM_KILLS)) != 0) {
		line = strchr(line, '\n');
		if (line++ == NULL)
			return 0;
	}
	return strtoull(line + strlen(OOM_KILLS), NULL, 10);
}

static uint64_t either(const char *group, const char *app, const char *v2, const char *v1)
{
	uint64_t found = number_in(group, app, v2);

	return found != 0 ? found : number_in(group, app, v1);
}

static uint64_t limit_of(const char *group, const char *app)
{
	uint64_t limit = either(group, app, "/memory.max", "/memory.limit_in_bytes");

	return limit < NO_LIMIT ? limit : 0;
}

#define POD "."

/* Whether the kernel killed in the group since `known`, which is brought up to date. */
static bool killed_in(const char *group, const char *app, uint64_t *known)
{
	uint64_t kills = oom_kills(group, app, "/memory.events");
	bool more;

	if (kills == 0)
		kills = oom_kills(group, app, "/memory.oom_control");
	more = kills > *known;
	*known = kills;
	return more;
}

/* Looks in one group of the pod; false when it is none that counts memory, or nobody was killed in it. */
static bool look_in(struct task *app, const char *group)
{
	/* Of all apps that have no group of their own below it: what one died of, another does not. */
	static uint64_t of_pod;
	struct death *death = &app->death;
	const char *where = app->app;

	if (number_in(group, where, "/memory.max_usage_in_bytes") == 0 && number_in(group, where, "/memory.peak") == 0)
		where = POD;
	if (!killed_in(group, where, where == app->app ? &death->kills : &of_pod))
		return false;
	death->memory = true;
	death->peak = either(group, where, "/memory.peak", "/memory.max_usage_in_bytes");
	death->limit = where == app->app ? limit_of(group, where) : 0;
	if (death->limit == 0) {
		death->limit = limit_of(group, POD);
		death->of_pod = death->limit != 0;
	}
	return true;
}

/* The groups of the pod are those that are removed at its end; false when nobody was killed in those of this plan. */
static bool look_in_plan(struct task *app, const struct wire_plan *plan)
{
	const struct wire_track *track = wire_find(plan, "teardown");
	struct wire_cursor cursor;
	struct wire_op op;

	if (track == NULL)
		return false;
	cursor = wire_begin(plan, track);
	while (wire_next(&cursor, &op)) {
		const char *name = op.code == OP_rmdir_cgroup ? strrchr(op.args[0].p, '/') : NULL;

		/* Those of apps and of PID 1 are below the pod's. */
		if (name != NULL && name[1] != '_' && task_app(name + 1) == NULL && look_in(app, op.args[0].p))
			return true;
	}
	return false;
}

static void look_at_memory(struct task *app)
{
	/* The limits of one that came later may have needed groups that the pod had not. */
	if (!look_in_plan(app, &keep.launch.plan) && app->home != &keep.launch)
		look_in_plan(app, &app->home->plan);
}

/* The number behind `key` in an audit record; false when it has none. */
static bool field(const char *record, const char *key, int base, uint64_t *number)
{
	const char *at = strstr(record, key);

	if (at == NULL)
		return false;
	*number = strtoull(at + strlen(key), NULL, base);
	return true;
}

static bool is_its(const struct task *app, const char *record)
{
	uint64_t pid, number;

	return strstr(record, "type=1326 ") != NULL && field(record, " pid=", 10, &pid) && pid == (uint64_t)app->pid &&
	       field(record, " sig=", 10, &number) && number == SIGSYS;
}

/* Records of the kernel's log have the numbers of the first process id namespace. */
static bool numbers_are_the_kernels(void)
{
	char link[64];
	ssize_t n = readlink("/proc/self/ns/pid", link, sizeof link - 1);

	link[n < 0 ? 0 : n] = '\0';
	return strcmp(link, "pid:[4026531836]") == 0;
}

#define TRIES 10
#define PAUSE 5 /* ms between them: the record is written by another thread of the kernel */

static void look_at_log(struct task *app)
{
	static char record[2048];
	int fd = numbers_are_the_kernels() ? open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;

	for (int tries = 0; fd >= 0 && tries < TRIES && app->death.arch == 0; tries++) {
		struct timespec pause = {.tv_nsec = PAUSE * 1000000L};
		uint64_t call, arch;
		ssize_t n;

		/* An error in between is a record that was overwritten meanwhile. */
		while ((n = read(fd, record, sizeof record - 1)) > 0 || (n < 0 && errno == EPIPE)) {
			record[n < 0 ? 0 : n] = '\0';
			if (!is_its(app, record) || !field(record, " arch=", 16, &arch) || !field(record, " syscall=", 10, &call))
				continue;
			app->death.arch = arch;
			app->death.call = call;
		}
		if (app->death.arch == 0)
			nanosleep(&pause, NULL);
	}
	if (fd >= 0)
		close(fd);
}

void death_note(struct task *app)
{
	uint64_t kills = app->death.kills;

	app->death = (struct death){.kills = kills};
	/* A shell says 128 + 9 of a child that was killed. */
	if (task_exit_status(app) == 128 + SIGKILL)
		look_at_memory(app);
	else if (task_exit_status(app) == 128 + SIGSYS)
		look_at_log(app);
}

void death_add(struct text *text, const struct task *app)
{
	if (app->death.memory) {
		text_add(text, "out-of-memory=1\n");
		text_pair(text, "memory-peak", app->death.peak);
		if (app->death.limit != 0)
			text_pair(text, app->death.of_pod ? "pod-memory-limit" : "memory-limit", app->death.limit);
	}
	if (app->death.arch != 0) {
		text_pair(text, "syscall", app->death.call);
		text_pair(text, "arch", app->death.arch);
	}
}
