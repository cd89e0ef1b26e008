/* The apps' output: from pipes and terminals to logs and to the keeper's own output. */
#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_STREAMS 512

/* A write of this size to a pipe that polls writable does not block. */
#define COPY_SIZE PIPE_BUF

static struct stream {
	bool open;
	int fd;             /* -1 after end of file, while output is still to be copied */
	int source;         /* 1 or 2 */
	int copy;           /* our own descriptor to copy to, or -1 */
	struct logfile *log;
	const char *app;
	const char *prefix; /* before each copied line; NULL for none */
	size_t at, end;     /* of what was read and is still to be copied */
	size_t written;     /* of the next piece, when it could not be written at once */
	char pending[COPY_SIZE];
} streams[MAX_STREAMS];

static size_t used;

static void copy_ready(void *owner, short events);

/* With a prefix whole lines are copied, so that those of several apps do not mix: the size of what
 * can be copied as one piece, 0 to wait for the rest of a line. */
static size_t next_piece(const struct stream *stream)
{
	size_t size = stream->end - stream->at, most;
	const char *newline;

	if (stream->prefix == NULL || size == 0)
		return size;
	newline = memchr(stream->pending + stream->at, '\n', size);
	if (newline != NULL)
		size = (size_t)(newline - (stream->pending + stream->at)) + 1;
	else if (stream->fd >= 0 && (stream->at > 0 || size < sizeof stream->pending))
		return 0;
	/* A line that is too long becomes several. */
	most = COPY_SIZE - strlen(stream->prefix) - 3;
	return size < most ? size : most;
}

/* Writes a piece, or more of it; advances past it when all is written. */
static bool write_piece(struct stream *stream, size_t size)
{
	const char *text = stream->pending + stream->at;
	bool ends = stream->prefix == NULL || text[size - 1] == '\n';
	const char *parts[4] = {stream->prefix, stream->prefix == NULL ? NULL : ": ", text, ends ? NULL : "\n"};
	struct iovec vector[4];
	size_t skip = stream->written, total = 0;
	ssize_t n;
	int count = 0;

	for (int i = 0; i < 4; i++) {
		size_t length = parts[i] == NULL ? 0 : parts[i] == text ? size : strlen(parts[i]);
		size_t skipped = skip < length ? skip : length;

		total += length;
		skip -= skipped;
		if (skipped < length)
			vector[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)(parts[i] + skipped), .iov_len = length - skipped};
	}
	n = writev(stream->copy, vector, count);
	if (n < 0)
		return false;
	stream->written += (size_t)n;
	if (stream->written == total) {
		stream->at += size;
		stream->written = 0;
	}
	return true;
}

static bool writable(int fd)
{
	struct pollfd out = {.fd = fd, .events = POLLOUT};

	return poll(&out, 1, 0) > 0;
}

static bool wait_for_output(const struct stream *stream)
{
	static int number[3] = {0, 1, 2};

	watch_drop(stream->copy);
	if (watch_add(stream->copy, POLLOUT, copy_ready, &number[stream->copy]) != 0)
		return false;
	watch_set(stream->fd, 0);
	return true;
}

/* Copies what can be copied without waiting; the rest holds the app back, as a pipe would. */
static void copy_pending(struct stream *stream)
{
	size_t size;

	while (stream->copy >= 0 && (size = next_piece(stream)) > 0) {
		errno = EAGAIN;
		if (writable(stream->copy) && write_piece(stream, size))
			continue;
		if (errno == EAGAIN && wait_for_output(stream))
			return;
		/* Nobody reads our output any more; the log goes on. */
		stream->copy = -1;
	}
	/* What remains is the beginning of a line. */
	memmove(stream->pending, stream->pending + stream->at, stream->end - stream->at);
	stream->end = stream->copy >= 0 ? stream->end - stream->at : 0;
	stream->at = 0;
	if (stream->fd >= 0)
		watch_set(stream->fd, POLLIN);
	else
		stream->open = false;
}

/* Whether something waits for our output to be read. */
static bool blocked(const struct stream *stream)
{
	return stream->copy >= 0 && next_piece(stream) > 0;
}

static void copy_ready(void *owner, short events)
{
	int copy = *(int *)owner;

	(void)events;
	watch_drop(copy);
	for (size_t i = 0; i < used; i++)
		if (streams[i].open && streams[i].copy == copy)
			copy_pending(&streams[i]);
}

static void close_stream(struct stream *stream)
{
	watch_drop(stream->fd);
	close(stream->fd);
	stream->fd = -1;
	copy_pending(stream);
}

/* Reads once; false when there is nothing to read now. */
static bool read_stream(struct stream *stream)
{
	static char buffer[8192];
	bool copied = stream->copy >= 0;
	char *into = copied ? stream->pending + stream->end : buffer;
	ssize_t n = read(stream->fd, into, copied ? sizeof stream->pending - stream->end : sizeof buffer);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		/* A terminal says EIO when its last user has gone. */
		close_stream(stream);
		return false;
	}
	if (stream->log != NULL) {
		log_write(stream->log, stream->source, into, (size_t)n);
		journal_write(stream->app, stream->source, into, (size_t)n);
	}
	attach_output(stream->app, stream->source, into, (size_t)n);
	if (copied) {
		stream->end += (size_t)n;
		copy_pending(stream);
	}
	return true;
}

static void stream_ready(void *owner, short events)
{
	(void)events;
	read_stream(owner);
}

void stream_forget(const char *app, const char *log)
{
	struct logfile *file = log_find(log);

	stream_catch_up();
	for (size_t i = 0; i < used; i++) {
		if (!streams[i].open || strcmp(streams[i].app, app) != 0)
			continue;
		if (streams[i].fd >= 0)
			close_stream(&streams[i]);
		streams[i].open = false;
	}
	if (file != NULL)
		log_close(file);
	journal_forget(app);
}

int stream_add(int fd, const char *app, const char *log, int source, int copy, bool named)
{
	struct stream *stream = NULL;
	struct logfile *file = NULL;

	for (size_t i = 0; i < used && stream == NULL; i++)
		if (!streams[i].open)
			stream = &streams[i];
	if (stream == NULL && used == MAX_STREAMS)
		return ENFILE;
	if (log[0] != '\0') {
		file = log_open(log);
		if (file == NULL)
			return errno;
	}
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return errno;
	if (stream == NULL)
		stream = &streams[used++];
	stream->open = true;
	stream->fd = fd;
	stream->source = source;
	stream->copy = copy;
	stream->log = file;
	stream->app = app;
	stream->prefix = keep.apps > 1 && named && strlen(app) < COPY_SIZE / 2 ? app : NULL;
	stream->at = stream->end = stream->written = 0;
	return watch_add(fd, POLLIN, stream_ready, stream);
}

void stream_catch_up(void)
{
	for (size_t i = 0; i < used; i++)
		while (streams[i].open && streams[i].fd >= 0 && !blocked(&streams[i]) && read_stream(&streams[i]))
			;
}

/* As many reads as empty a pipe, even if somebody goes on writing. */
#define READS 64

void stream_catch_up_with(const char *app)
{
	for (size_t i = 0; i < used; i++)
		for (int reads = 0; reads < READS && streams[i].open && strcmp(streams[i].app, app) == 0; reads++)
			if (streams[i].fd < 0 || blocked(&streams[i]) || !read_stream(&streams[i]))
				break;
}

void stream_drain(void)
{
	int signals = keep.signals;
	bool waiting;

	do {
		waiting = false;
		stream_catch_up();
		for (size_t i = 0; i < used; i++) {
			if (streams[i].open && streams[i].fd >= 0 && !blocked(&streams[i]))
				close_stream(&streams[i]);
			waiting = waiting || streams[i].open;
		}
		if (waiting)
			watch_step(now_ms() + 1000);
	} while (waiting && keep.signals == signals);
}

static int open_pipe(const struct stdio *stdio, const char *app, int number, int *child)
{
	bool both = strcmp(stdio->mode[number], "both") == 0;
	const char *log = strcmp(stdio->mode[number], "attach") == 0 ? "" : stdio->log;
	int ends[2], error;

	if (stdio->log[0] == '\0')
		return EINVAL;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return errno;
	ends[1] = high_fd(ends[1]);
	error = ends[1] < 0 ? errno : stream_add(ends[0], app, log, number, both ? number : -1, true);
	if (error != 0) {
		close(ends[0]);
		if (ends[1] >= 0)
			close(ends[1]);
		return error;
	}
	*child = ends[1];
	return 0;
}

/* A pipe whose other end is for those who attach. */
static int open_input(const char *app, int *child)
{
	int ends[2], error;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return errno;
	*child = high_fd(ends[0]);
	error = *child < 0 ? errno : attach_input(app, ends[1], false);
	if (error != 0)
		close(ends[1]);
	return error;
}

int stdio_open(const struct stdio *stdio, const char *app, int fds[3], bool *tty)
{
	int error = 0;

	for (int i = 0; i < 3; i++)
		fds[i] = keep.null;
	for (int i = 0; i < 3 && error == 0; i++) {
		const char *mode = stdio->mode[i];

		if (strcmp(mode, "inherit") == 0)
			fds[i] = i;
		else if (strcmp(mode, "tty") == 0)
			*tty = true;
		else if (i == 0 && strcmp(mode, "attach") == 0)
			error = open_input(app, &fds[i]);
		else if (i > 0 && (strcmp(mode, "log") == 0 || strcmp(mode, "both") == 0 || strcmp(mode, "attach") == 0))
			error = open_pipe(stdio, app, i, &fds[i]);
		else if (strcmp(mode, "null") != 0)
			error = EINVAL;
	}
	if (error != 0)
		stdio_close(fds);
	return error;
}

void stdio_close(int fds[3])
{
	for (int i = 0; i < 3; i++)
		if (fds[i] > 2 && fds[i] != keep.null)
			close(fds[i]);
}
