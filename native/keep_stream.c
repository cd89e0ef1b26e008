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
	const char *prefix; /* before each copied line; NULL for none */
	bool middle;        /* of a copied line */
	size_t at, end;     /* of what is still to be copied */
	char pending[COPY_SIZE];
} streams[MAX_STREAMS];

static size_t used;

static void copy_ready(void *owner, short events);

static void finish_copy(struct stream *stream)
{
	if (stream->fd >= 0)
		watch_set(stream->fd, POLLIN);
	else
		stream->open = false;
}

/* The next piece: the prefix and a line, or all that is pending. */
static ssize_t write_piece(struct stream *stream)
{
	const char *at = stream->pending + stream->at, *newline;
	size_t size = stream->end - stream->at;
	struct iovec parts[3] = {{.iov_base = (void *)(uintptr_t)stream->prefix}, {.iov_base = (void *)(uintptr_t) ": "}};
	ssize_t n;

	if (stream->prefix == NULL)
		return write(stream->copy, at, size);
	newline = memchr(at, '\n', size);
	if (newline != NULL)
		size = (size_t)(newline - at) + 1;
	parts[0].iov_len = stream->middle ? 0 : strlen(stream->prefix);
	parts[1].iov_len = stream->middle ? 0 : 2;
	if (size > COPY_SIZE - parts[0].iov_len - parts[1].iov_len)
		size = COPY_SIZE - parts[0].iov_len - parts[1].iov_len;
	parts[2].iov_base = (void *)(uintptr_t)at;
	parts[2].iov_len = size;
	n = writev(stream->copy, parts, 3);
	if (n <= 0)
		return n;
	/* What can write less than asked (a socket) may lose a piece of a prefix. */
	n -= (ssize_t)(parts[0].iov_len + parts[1].iov_len);
	if (n > 0)
		stream->middle = at[n - 1] != '\n';
	return n > 0 ? n : 0;
}

static bool writable(int fd)
{
	struct pollfd out = {.fd = fd, .events = POLLOUT};

	return poll(&out, 1, 0) > 0;
}

/* Copies what can be copied without waiting; the rest holds the app back, as a pipe would. */
static void copy_pending(struct stream *stream)
{
	while (stream->at < stream->end) {
		ssize_t n = -1;

		errno = EAGAIN;
		if (writable(stream->copy))
			n = write_piece(stream);
		if (n < 0 && errno == EAGAIN) {
			static int number[3] = {0, 1, 2};

			watch_drop(stream->copy);
			if (watch_add(stream->copy, POLLOUT, copy_ready, &number[stream->copy]) == 0) {
				watch_set(stream->fd, 0);
				return;
			}
		}
		if (n < 0) {
			/* Nobody reads our output any more; the log goes on. */
			stream->copy = -1;
			break;
		}
		stream->at += (size_t)n;
	}
	stream->at = stream->end = 0;
	finish_copy(stream);
}

static void copy_ready(void *owner, short events)
{
	int copy = *(int *)owner;

	(void)events;
	watch_drop(copy);
	for (size_t i = 0; i < used; i++)
		if (streams[i].open && streams[i].copy == copy && streams[i].end > 0)
			copy_pending(&streams[i]);
}

static void close_stream(struct stream *stream)
{
	watch_drop(stream->fd);
	close(stream->fd);
	stream->fd = -1;
	stream->open = stream->end > 0;
}

/* Reads once; false when there is nothing to read now. */
static bool read_stream(struct stream *stream)
{
	static char buffer[8192];
	char *into = stream->copy >= 0 ? stream->pending : buffer;
	ssize_t n = read(stream->fd, into, stream->copy >= 0 ? sizeof stream->pending : sizeof buffer);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		/* A terminal says EIO when its last user has gone. */
		close_stream(stream);
		return false;
	}
	if (stream->log != NULL)
		log_write(stream->log, stream->source, into, (size_t)n);
	if (stream->copy >= 0) {
		stream->at = 0;
		stream->end = (size_t)n;
		copy_pending(stream);
	}
	return true;
}

static void stream_ready(void *owner, short events)
{
	(void)events;
	read_stream(owner);
}

int stream_add(int fd, const char *app, const char *log, int source, int copy)
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
	stream->prefix = keep.apps > 1 && strlen(app) < COPY_SIZE / 2 ? app : NULL;
	stream->middle = false;
	stream->at = stream->end = 0;
	return watch_add(fd, POLLIN, stream_ready, stream);
}

void stream_catch_up(void)
{
	for (size_t i = 0; i < used; i++)
		while (streams[i].open && streams[i].fd >= 0 && streams[i].end == 0 && read_stream(&streams[i]))
			;
}

void stream_drain(void)
{
	int signals = keep.signals;
	bool waiting;

	do {
		waiting = false;
		stream_catch_up();
		for (size_t i = 0; i < used; i++) {
			if (!streams[i].open)
				continue;
			if (streams[i].end == 0)
				close_stream(&streams[i]);
			else
				waiting = true;
		}
		if (waiting)
			watch_step(now_ms() + 1000);
	} while (waiting && keep.signals == signals);
}

static int open_pipe(const struct stdio *stdio, const char *app, int number, int *child)
{
	bool both = strcmp(stdio->mode[number], "both") == 0;
	int ends[2], error;

	if (stdio->log[0] == '\0')
		return EINVAL;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return errno;
	ends[1] = high_fd(ends[1]);
	error = ends[1] < 0 ? errno : stream_add(ends[0], app, stdio->log, number, both ? number : -1);
	if (error != 0) {
		close(ends[0]);
		if (ends[1] >= 0)
			close(ends[1]);
		return error;
	}
	*child = ends[1];
	return 0;
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
		else if (i > 0 && (strcmp(mode, "log") == 0 || strcmp(mode, "both") == 0))
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
