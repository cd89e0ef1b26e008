/* Log lines to the journal of systemd, by its native protocol: a datagram of fields for each line. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_LINES 128
/* A line that is longer becomes several. */
#define LONGEST 4096

static struct line {
	const char *app; /* NULL: free */
	int source;
	size_t used;
	char text[LONGEST];
} lines[MAX_LINES];

static const char *path = "";
static int sender = -1;
static uint64_t lost; /* lines that were not taken */

int keep_journal(const struct wire_op *op)
{
	if (op->args[0].p[0] != '/' || strlen(op->args[0].p) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		return EINVAL;
	sender = high_fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (sender < 0)
		return errno;
	path = op->args[0].p;
	return 0;
}

static void field(struct text *text, const char *key, const char *value)
{
	text_add(text, key);
	text_add(text, value);
	text_add(text, "\n");
}

static bool send_entry(const char *app, int source, const char *message, size_t size)
{
	static char begin[] = "MESSAGE=";
	static struct text pod;
	struct text fields = {.used = 0};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct iovec parts[3];
	struct msghdr entry = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = parts, .msg_iovlen = 3};

	memcpy(address.sun_path, path, strlen(path));
	if (pod.used == 0)
		pod_name(&pod);
	field(&fields, "\nPRIORITY=", source == 2 ? "3" : "6");
	field(&fields, "SYSLOG_IDENTIFIER=", app);
	text_add(&fields, "APPC_POD=");
	text_add(&fields, pod.bytes);
	field(&fields, "APPC_STREAM=", source == 2 ? "stderr" : "stdout");
	field(&fields, "APPC_APP=", app);
	parts[0] = (struct iovec){.iov_base = begin, .iov_len = sizeof begin - 1};
	parts[1] = (struct iovec){.iov_base = (void *)(uintptr_t)message, .iov_len = size};
	parts[2] = (struct iovec){.iov_base = fields.bytes, .iov_len = fields.used};
	return sendmsg(sender, &entry, MSG_NOSIGNAL) > 0;
}

/* Nobody waits for the journal: what it does not take is lost, and that is said once it takes something. */
static void send_line(const char *app, int source, const char *message, size_t size)
{
	if (lost > 0) {
		struct text note = {.used = 0};

		text_add(&note, "[appc: ");
		text_number(&note, lost);
		text_add(&note, " lines were lost]");
		if (send_entry(app, 2, note.bytes, note.used))
			lost = 0;
	}
	if (lost > 0 || !send_entry(app, source, message, size))
		lost++;
}

static void flush(struct line *line)
{
	/* Terminals end lines with two characters. */
	if (line->used > 0 && line->text[line->used - 1] == '\r')
		line->used--;
	send_line(line->app, line->source, line->text, line->used);
	line->used = 0;
}

static struct line *line_of(const char *app, int source)
{
	struct line *unused = NULL;

	for (size_t i = 0; i < MAX_LINES; i++) {
		if (lines[i].app == NULL)
			unused = unused == NULL ? &lines[i] : unused;
		else if (lines[i].source == source && strcmp(lines[i].app, app) == 0)
			return &lines[i];
	}
	if (unused != NULL)
		*unused = (struct line){.app = app, .source = source};
	return unused;
}

void journal_write(const char *app, int source, const char *data, size_t size)
{
	struct line *line = sender < 0 ? NULL : line_of(app, source);

	for (size_t i = 0; i < size && line != NULL; i++) {
		if (data[i] != '\n')
			line->text[line->used++] = data[i];
		if (data[i] == '\n' || line->used == LONGEST)
			flush(line);
	}
}

void journal_forget(const char *app)
{
	for (size_t i = 0; i < MAX_LINES && sender >= 0; i++) {
		if (lines[i].app == NULL || strcmp(lines[i].app, app) != 0)
			continue;
		if (lines[i].used > 0)
			flush(&lines[i]);
		lines[i].app = NULL;
	}
}

void journal_end(void)
{
	for (size_t i = 0; i < MAX_LINES && sender >= 0; i++)
		if (lines[i].app != NULL && lines[i].used > 0)
			flush(&lines[i]);
}
