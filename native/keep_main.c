#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"
#include "planfd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Without initial values: what is not used costs no memory. */
struct keeper keep;

typedef int (*performer)(const struct wire_op *);

static const performer performers[OPCODES] = {
#define INSIDE(id, name, kinds)
#define OUTSIDE(id, name, kinds) [OP_##id] = keep_##id,
#include "ops.def"
#undef INSIDE
#undef OUTSIDE
};

void keep_fail(const char *track, uint32_t index, int error)
{
	uint32_t numbers[2] = {index, (uint32_t)error};

	if (keep.failure.set)
		return;
	keep.failure.set = true;
	keep.failure.track = track;
	keep.failure.index = index;
	keep.failure.error = error;
	tell("fail", track, numbers, 2);
}

void keep_warn(const char *track, uint32_t index, int error)
{
	uint32_t numbers[2] = {index, (uint32_t)error};

	tell("warn", track, numbers, 2);
	status_warning(track, index, error);
}

static void say(const char *word)
{
	if (write(STDERR_FILENO, word, strlen(word)) < 0)
		return;
}

/* For callers to whom nothing else tells the failure. */
static void print_failure(void)
{
	const struct wire_track *track = wire_find(&keep.launch.plan, keep.failure.track);
	struct text text = {.used = 0};
	struct wire_op op;

	text_add(&text, "appc: ");
	text_add(&text, keep.failure.track);
	if (track != NULL && wire_op_at(&keep.launch.plan, track, keep.failure.index, &op)) {
		text_add(&text, ": op ");
		text_number(&text, keep.failure.index);
		text_add(&text, " ");
		text_add(&text, wire_table[op.code].name);
	}
	text_add(&text, ": ");
	text_add(&text, strerror(keep.failure.error));
	text_add(&text, "\n");
	say(text.bytes);
}

void perform(const struct wire_track *track)
{
	struct wire_cursor cursor = wire_begin(&keep.source->plan, track);
	struct wire_op op;

	for (uint32_t index = 0; wire_next(&cursor, &op); index++) {
		int error = performers[op.code](&op);

		/* A stop interrupts what waits; what was started before is told as usual. */
		if (keep.failure.set || (error == EINTR && keep.stop != STOP_NO))
			return;
		if (error != 0 && !wire_tolerates(&op, error)) {
			keep_fail(track->name, index, error);
			return;
		}
		if (error != 0 && error != ENOENT && error != EEXIST)
			keep_warn(track->name, index, error);
	}
}

void tear_down(const struct source *source, const struct wire_track *track)
{
	struct wire_cursor cursor = wire_begin(&source->plan, track);
	struct wire_op op;

	for (uint32_t index = 0; wire_next(&cursor, &op); index++) {
		int error = performers[op.code](&op);

		if (error != 0 && !wire_tolerates(&op, error))
			status_warning(track->name, index, error);
	}
}

/* What must be known before the op that says it: how logs rotate and how long apps may take to
 * stop, also when the launch fails; whether output needs prefixes; whose session this is. */
static void look_ahead(const struct wire_track *track)
{
	struct wire_cursor cursor = wire_begin(&keep.launch.plan, track);
	struct wire_op op;

	while (wire_next(&cursor, &op)) {
		if (op.code == OP_app)
			keep.apps++;
		/* It belongs to its caller's session, whoever reads the report. */
		if (op.code == OP_process)
			keep.foreground = true;
		if (op.code != OP_supervise)
			continue;
		keep.grace = op.args[0].n;
		keep.log_size = op.args[1].n;
		keep.log_files = op.args[2].n;
	}
}

/* Moves a descriptor given by its number out of the way of children; "-" is none. */
static int take(const char *text, int *fd)
{
	char *end;
	long number;

	if (strcmp(text, "-") == 0)
		return 0;
	errno = 0;
	number = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || number < 3 || number > INT32_MAX)
		return EBADF;
	*fd = high_fd((int)number);
	return *fd < 0 ? errno : 0;
}

/* Closes every other descriptor the caller left open. */
static void close_others(int *const kept[], size_t count)
{
	unsigned from = 3, next;

	do {
		next = ~0U;
		for (size_t i = 0; i < count; i++)
			if (*kept[i] >= 0 && (unsigned)*kept[i] >= from && (unsigned)*kept[i] < next)
				next = (unsigned)*kept[i];
		if (next > from)
			k_close_range(from, next == ~0U ? next : next - 1, 0);
		from = next + 1;
	} while (next != ~0U);
}

#define FIXED 5

static int set_up(char **argv, size_t count)
{
	int *places[FIXED + CHILD_MOST_SOCKETS] = {&keep.launch.fd, &keep.init_fd, &keep.pod, &keep.lock, &keep.report};
	int error;

	keep.given = count - FIXED;
	for (size_t i = 0; i < keep.given; i++)
		places[FIXED + i] = &keep.sockets[i];

	keep.own_pid = keep.own_net = keep.own_mnt = -1;
	for (int i = 0; i < CHILD_NAMESPACES; i++)
		keep.ns[i] = -1;
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return EBADF;
	keep.foreground = true;
	for (size_t i = 0; i < count; i++)
		*places[i] = -1;
	for (size_t i = 0; i < count; i++) {
		error = take(argv[1 + i], places[i]);
		if (error != 0)
			return error;
	}
	close_others(places, count);
	keep.foreground = keep.report < 0;
	/* A caller that does not read must not stop the pod. */
	if (keep.report >= 0)
		fcntl(keep.report, F_SETFL, O_NONBLOCK);
	keep.told = keep.report >= 0;
	keep.null = high_fd(open("/dev/null", O_RDWR | O_CLOEXEC));
	if (keep.null < 0 || chdir("/") < 0)
		return errno;
	umask(077);
	prctl(PR_SET_NAME, "appc-keep");
	prctl(PR_SET_DUMPABLE, 0UL);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1UL) < 0)
		return errno;
	notify_manager_is();
	error = watch_signals();
	return error != 0 ? error : open_ns(0, "pid", &keep.own_pid);
}

/* The track is absent, or for the keeper to perform. */
static bool optional_track(const char *name, const struct wire_track **track)
{
	*track = wire_find(&keep.launch.plan, name);
	return *track == NULL || wire_performed(&keep.launch.plan, *track, false);
}

static int load(const struct wire_track **launch_track, const struct wire_track **end_track,
		const struct wire_track **failure_track)
{
	int error = plan_load(keep.launch.fd, &keep.launch.plan, &keep.launch.data, &keep.launch.size);

	keep.source = &keep.launch;
	if (error != 0)
		return error;
	*launch_track = wire_find(&keep.launch.plan, "keeper");
	if (*launch_track == NULL || !wire_performed(&keep.launch.plan, *launch_track, false))
		return EBADMSG;
	return optional_track("teardown", end_track) && optional_track("failure", failure_track) ? 0 : EBADMSG;
}

static int exit_status(void)
{
	/* What `finish` said of the failed start tells a missing program from a failing kernel. */
	if (keep.failure.set)
		return keep.finished != 0 ? keep.finished : 125;
	if (keep.status == 0 && !keep.ready && keep.signals > 0)
		return 128 + keep.signal;
	return keep.status;
}

int main(int argc, char **argv)
{
	const struct wire_track *launch_track = NULL, *end_track = NULL, *failure_track = NULL;
	int error;

	if (argc < 1 + FIXED || argc > 1 + FIXED + CHILD_MOST_SOCKETS) {
		say("usage: appc-keep PLAN INIT POD LOCK REPORT [SOCKET...]\n");
		return 125;
	}
	k_small_pages();
	error = set_up(argv, (size_t)argc - 1);
	if (error == 0)
		error = load(&launch_track, &end_track, &failure_track);
	if (error != 0) {
		keep_fail("keeper", REPORT_NO_OP, error);
		status_failure();
	} else {
		look_ahead(launch_track);
		if (!keep.foreground)
			setsid();
		perform(launch_track);
		pod_end();
		tty_restore();
		/* The caller has been told, or reads from the end of the pipe that the pod was stopped. */
		if (keep.report >= 0)
			close(keep.report);
		keep.report = -1;
		change_tear_down();
		if (end_track != NULL)
			tear_down(&keep.launch, end_track);
		if (keep.failure.set && failure_track != NULL)
			tear_down(&keep.launch, failure_track);
	}
	/* Of a plan that was refused no track can tell; of a pod that is none, no record. */
	if (keep.failure.set && keep.foreground && !keep.told && failure_track == NULL && (keep.pod < 0 || error != 0))
		print_failure();
	return exit_status();
}
