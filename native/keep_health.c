/* Checks of an app's health: a command beside it, or a port of the pod, each with fixed fields. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CHECKS 256
#define ANSWER 12 /* bytes: "HTTP/1.1 200" */

/* Where an app may listen, in the order to try. */
static const char *const LOOPBACK[] = {"127.0.0.1", "::1"};
#define ADDRESSES (sizeof LOOPBACK / sizeof *LOOPBACK)

enum state { UNKNOWN, GOOD, BAD };

static struct health {
	const char *app;    /* "" = free */
	struct task *check; /* NULL: the port is asked */
	uint64_t port;
	const char *path;   /* "" = it is enough to get a connection */
	uint64_t interval, timeout, start; /* ms */
	uint64_t most;                     /* failures in a row that an app survives */
	enum state state;
	bool asking;
	uint64_t begun, next, until; /* ms, 0 = not yet */
	uint64_t row;                /* failures */
	int fd;                      /* the connection */
	size_t address;              /* of LOOPBACK, where it leads */
	char answer[ANSWER];
	size_t got;
} checks[MAX_CHECKS];

static size_t used;

static struct health *find(const char *app)
{
	for (size_t i = 0; i < used; i++)
		if (strcmp(checks[i].app, app) == 0)
			return &checks[i];
	return NULL;
}

bool health_bad(const struct task *app)
{
	const struct health *health = find(app->app);

	return health != NULL && health->state == BAD;
}

const char *health_word(const struct task *app)
{
	static const char *const words[] = {"unknown", "good", "bad"};
	const struct health *health = find(app->app);

	return health == NULL ? "" : words[health->state];
}

static void hang_up(struct health *health)
{
	if (health->fd < 0)
		return;
	watch_drop(health->fd);
	close(health->fd);
	health->fd = -1;
}

/* An app that is not well ends and, when it comes again, has failed. */
static void give_up(struct task *app)
{
	if (app->again.when == 0 || app->stopped || keep.stop != STOP_NO)
		return;
	task_kill(app, SIGTERM);
	app->deadline = now_ms() + keep.grace;
}

static void result(struct health *health, bool well)
{
	struct task *app = task_app(health->app);
	enum state before = health->state;
	uint64_t now = now_ms();

	hang_up(health);
	health->asking = false;
	health->next = now + health->interval;
	if (app == NULL || app->phase != RUNNING)
		return;
	if (well) {
		health->row = 0;
		health->state = GOOD;
	} else if ((before != UNKNOWN || now >= health->begun + health->start) && ++health->row > health->most) {
		health->state = BAD;
	}
	if (health->state == before)
		return;
	status_app(app);
	if (health->state == BAD)
		give_up(app);
}

void health_ended(const struct task *check)
{
	struct health *health = find(check->app);

	if (health != NULL && health->asking)
		result(health, check->ran && !check->timed_out && check->status == 0);
}

static void answer_ready(void *owner, short events)
{
	struct health *health = owner;
	ssize_t n = recv(health->fd, health->answer + health->got, ANSWER - health->got, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0)
		health->got += (size_t)n;
	if (n > 0 && health->got < ANSWER)
		return;
	/* Any answer but of an error: 2xx, 3xx. */
	result(health, health->got == ANSWER && memcmp(health->answer, "HTTP/1.", 7) == 0 && health->answer[8] == ' ' &&
	                       (health->answer[9] == '2' || health->answer[9] == '3'));
}

static int connect_in_pod(struct health *health);

static void connection_ready(void *owner, short events)
{
	struct health *health = owner;
	struct text request = {.used = 0};
	int error = 0;
	socklen_t size = sizeof error;

	(void)events;
	if (getsockopt(health->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error != 0) {
		hang_up(health);
		health->address++;
		if (connect_in_pod(health) != 0)
			result(health, false);
		return;
	}
	if (health->path[0] == '\0') {
		result(health, true);
		return;
	}
	text_add(&request, "GET ");
	text_add(&request, health->path);
	text_add(&request, " HTTP/1.0\r\nHost: localhost\r\nUser-Agent: appc\r\n\r\n");
	health->got = 0;
	watch_drop(health->fd);
	if (send(health->fd, request.bytes, request.used, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)request.used ||
	    watch_add(health->fd, POLLIN, answer_ready, health) != 0)
		result(health, false);
}

static int connect_to(struct health *health)
{
	struct sockaddr_storage address;
	socklen_t size;
	int error = net_address(LOOPBACK[health->address], health->port, &address, &size);

	if (error == 0)
		error = net_enter_pod();
	if (error != 0)
		return error;
	health->fd = high_fd(socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	error = net_leave_pod();
	if (error != 0 || health->fd < 0)
		return error != 0 ? error : EMFILE;
	if (connect(health->fd, (struct sockaddr *)&address, size) < 0 && errno != EINPROGRESS)
		return errno;
	return watch_add(health->fd, POLLOUT, connection_ready, health);
}

/* Begins a connection to the first address, from the one it is at, that can be tried. */
static int connect_in_pod(struct health *health)
{
	int error = ECONNREFUSED;

	for (; health->address < ADDRESSES; health->address++) {
		error = connect_to(health);
		if (error == 0)
			return 0;
		hang_up(health);
	}
	return error;
}

static void ask(struct health *health, uint64_t now)
{
	int error;

	health->asking = true;
	health->until = now + health->timeout;
	if (health->check == NULL) {
		health->address = 0;
		error = connect_in_pod(health);
	} else {
		health->check->phase = DECLARED;
		error = init_lives() ? task_spawn(health->check, 0) : ESRCH;
	}
	if (error != 0)
		result(health, false);
}

/* One that was killed is still to be waited for. */
static bool busy(const struct health *health)
{
	return health->check != NULL && health->check->phase != DECLARED && health->check->phase != ENDED;
}

/* Of an app that does not run nothing is known, but for how it has ended. */
static void rest(struct health *health)
{
	hang_up(health);
	if (health->check != NULL)
		task_kill(health->check, SIGKILL);
	health->asking = false;
	health->next = 0;
	health->row = 0;
}

void health_expire(uint64_t now)
{
	for (size_t i = 0; i < used; i++) {
		struct health *health = &checks[i];
		struct task *app = task_app(health->app);

		if (app == NULL || app->phase != RUNNING || keep.stop != STOP_NO) {
			if (health->next != 0)
				rest(health);
		} else if (health->next == 0) {
			health->begun = now;
			health->next = now + health->interval;
			if (health->state != UNKNOWN) {
				health->state = UNKNOWN;
				status_app(app);
			}
		} else if (health->asking && health->check == NULL && now >= health->until) {
			result(health, false);
		} else if (!health->asking && !busy(health) && now >= health->next) {
			ask(health, now);
		}
	}
}

uint64_t health_deadline(void)
{
	uint64_t next = 0;

	/* A command has the time its task has. */
	for (size_t i = 0; i < used; i++)
		if (!checks[i].asking && !busy(&checks[i]))
			next = earlier(next, checks[i].next);
		else if (checks[i].check == NULL)
			next = earlier(next, checks[i].until);
	return next;
}

void health_forget(const char *app)
{
	struct health *health = find(app);

	if (health == NULL)
		return;
	hang_up(health);
	*health = (struct health){.app = "", .fd = -1};
}

/* The arguments from `interval` on are the same for all kinds. */
static int declare(const struct wire_op *op, size_t interval, struct health **declared)
{
	const char *app = op->args[0].p;
	struct health *health = find("");

	if (task_app(app) == NULL || find(app) != NULL || op->args[interval].n == 0 || op->args[interval + 1].n == 0)
		return EINVAL;
	if (health == NULL && used == MAX_CHECKS)
		return ENFILE;
	if (health == NULL)
		health = &checks[used++];
	*health = (struct health){.app = app, .path = "", .fd = -1};
	health->interval = op->args[interval].n;
	health->timeout = op->args[interval + 1].n;
	health->most = op->args[interval + 2].n;
	health->start = op->args[interval + 3].n;
	*declared = health;
	return 0;
}

int keep_health_command(const struct wire_op *op)
{
	struct task *app = task_app(op->args[0].p);
	struct health *health = NULL;
	int error = declare(op, 3, &health);
	struct task *check;

	if (error != 0)
		return error;
	check = task_new(ROLE_CHECK, op->args[0].p, op->args[1].p);
	if (check == NULL) {
		error = errno;
		health_forget(op->args[0].p);
		return error;
	}
	check->stdio = (struct stdio){.mode = {"null", "null", "null"}, .log = ""};
	check->cgroup = op->args[2].p;
	check->timeout = health->timeout;
	check->mnt = app->mnt;
	check->later = true;
	health->check = check;
	return 0;
}

int keep_health_port(const struct wire_op *op)
{
	struct health *health = NULL;
	int error;

	if (op->args[1].n == 0 || op->args[1].n > UINT16_MAX || op->args[2].n > 256)
		return EINVAL;
	error = declare(op, 3, &health);
	if (error != 0)
		return error;
	health->port = op->args[1].n;
	health->path = op->args[2].p;
	return 0;
}
