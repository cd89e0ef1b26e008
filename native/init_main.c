#define _GNU_SOURCE
#include "init.h"
#include "kernel.h"
#include "planfd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int (*performer)(struct context *, const struct wire_op *);

static const performer performers[OPCODES] = {
#define INSIDE(id, name, kinds) [OP_##id] = op_##id,
#define OUTSIDE(id, name, kinds)
#include "ops.def"
#undef INSIDE
#undef OUTSIDE
};

static struct wire_plan plan;

static int report_at = CHILD_REPORT;

int report_socket(void)
{
	return report_at;
}

int report_move(void)
{
	int fd = fcntl(report_at, F_DUPFD_CLOEXEC, CHILD_SOCKETS + CHILD_MOST_SOCKETS);

	if (fd < 0)
		return errno;
	close(report_at);
	report_at = fd;
	return 0;
}

static void send_report(const struct report *report, int fd)
{
	struct report packet = *report;
	struct iovec part = {.iov_base = &packet, .iov_len = sizeof packet};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};

	if (fd >= 0) {
		struct cmsghdr *header;

		message.msg_control = control.bytes;
		message.msg_controllen = sizeof control.bytes;
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(header), &fd, sizeof fd);
	}
	while (sendmsg(report_at, &message, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

void report_send(enum report_kind kind, uint32_t index, int error, int fd)
{
	send_report(&(struct report){.kind = kind, .index = index, .error = (uint32_t)error}, fd);
}

void report_process(enum report_kind kind, uint32_t index, pid_t pid)
{
	send_report(&(struct report){.kind = kind, .index = index, .value = (uint32_t)pid}, -1);
}

int prepare_exec(struct context *c)
{
	if (c->prepared)
		return 0;
	c->prepared = true;
	if (k_close_range(3 + c->sockets, ~0U, K_CLOSE_RANGE_CLOEXEC) < 0)
		return errno;
	k_reset_signals();
	if (!c->umask_set)
		umask(022);
	return 0;
}

static _Noreturn void fail(uint32_t index, int error)
{
	report_send(REPORT_FAIL, index, error, -1);
	_exit(127);
}

static void perform(struct context *c, const struct wire_track *track)
{
	struct wire_cursor cursor = wire_begin(&plan, track);
	struct wire_op op;

	for (c->index = 0; wire_next(&cursor, &op); c->index++) {
		int error = performers[op.code](c, &op);

		if (error == 0)
			continue;
		if (!wire_tolerates(&op, error))
			fail(c->index, error);
		if (error != ENOENT && error != EEXIST)
			report_send(REPORT_WARN, c->index, error, -1);
	}
}

static void print_table(void)
{
	for (size_t i = 0; i < OPCODES; i++) {
		char line[64];
		size_t length = 0;
		const char *parts[] = {wire_table[i].name, ":", wire_table[i].kinds, wire_table[i].inside ? ":init\n" : ":keep\n"};

		for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) {
			size_t size = strlen(parts[part]);

			if (length + size > sizeof line)
				return;
			memcpy(line + length, parts[part], size);
			length += size;
		}
		if (write(1, line, length) < 0)
			return;
	}
}

int main(int argc, char **argv)
{
	static struct context c = {.root = -1};
	const struct wire_track *track;
	int error;

	if (argc == 2 && strcmp(argv[1], "--ops") == 0) {
		print_table();
		return 0;
	}
	if (argc != 2)
		return 127;
	k_small_pages();
	prctl(PR_SET_NAME, "appc-init");
	prctl(PR_SET_DUMPABLE, 0);
	umask(0);
	if (k_close_range(3, ~0U, K_CLOSE_RANGE_CLOEXEC) < 0)
		fail(REPORT_NO_OP, errno);
	error = plan_load(CHILD_PLAN, &plan, &c.plan, &c.plan_size);
	if (error != 0)
		fail(REPORT_NO_OP, error);
	track = wire_find(&plan, argv[1]);
	if (track == NULL || !wire_performed(&plan, track, true))
		fail(REPORT_NO_OP, EBADMSG);
	perform(&c, track);
	/* Only `exec` and `reap` end a track, and they do not return. */
	fail(track->ops, ENOEXEC);
}
