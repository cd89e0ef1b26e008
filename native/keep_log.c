#define _GNU_SOURCE
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_LOGS 256

struct logfile {
	const char *path;
	int fd;
	uint64_t size;
	uint64_t lost; /* bytes of entries that could not be written */
};

static struct logfile logs[MAX_LOGS];
static size_t count;

/* Entries on their way to one file; holds at least one entry of a full read. */
static char out[12288];
static size_t out_used;

static int open_file(const char *path)
{
	return openat(keep.pod, path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
}

struct logfile *log_find(const char *path)
{
	for (size_t i = 0; i < count; i++)
		if (logs[i].path != NULL && strcmp(logs[i].path, path) == 0)
			return &logs[i];
	return NULL;
}

void log_close(struct logfile *log)
{
	close(log->fd);
	*log = (struct logfile){.path = NULL};
}

struct logfile *log_open(const char *path)
{
	struct logfile *found = log_find(path);
	struct stat st;
	size_t at = 0;
	int fd;

	if (found != NULL)
		return found;
	while (at < count && logs[at].path != NULL)
		at++;
	if (at == MAX_LOGS) {
		errno = ENFILE;
		return NULL;
	}
	fd = keep.pod < 0 ? -1 : open_file(path);
	if (fd < 0 || fstat(fd, &st) < 0) {
		if (keep.pod < 0)
			errno = EBADF;
		return NULL;
	}
	logs[at] = (struct logfile){.path = path, .fd = fd, .size = (uint64_t)st.st_size};
	if (at == count)
		count++;
	return &logs[at];
}

static void old_name(struct text *name, const struct logfile *log, uint64_t number)
{
	name->used = 0;
	text_add(name, log->path);
	if (number > 0) {
		text_add(name, ".");
		text_number(name, number);
	}
}

static void rotate(struct logfile *log)
{
	int fd;

	for (uint64_t i = keep.log_files - 1; i > 0; i--) {
		struct text from, to;

		old_name(&from, log, i - 1);
		old_name(&to, log, i);
		renameat(keep.pod, from.bytes, keep.pod, to.bytes);
	}
	if (keep.log_files == 1 && ftruncate(log->fd, 0) == 0)
		log->size = 0;
	fd = open_file(log->path);
	/* Without a new file the old one, under its new name, goes on. */
	if (fd < 0 || keep.log_files == 1) {
		if (fd >= 0)
			close(fd);
		return;
	}
	close(log->fd);
	log->fd = fd;
	log->size = 0;
}

/* Takes back the last `size` bytes, whatever the file has become meanwhile. */
static void take_back(struct logfile *log, size_t size)
{
	struct stat st;

	if (fstat(log->fd, &st) == 0 && st.st_size >= (off_t)size && ftruncate(log->fd, st.st_size - (off_t)size) == 0)
		log->size = (uint64_t)st.st_size - size;
}

/* Writes all or nothing. A log that cannot be written never holds up the app. */
static bool append(struct logfile *log, const char *bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(log->fd, bytes + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			take_back(log, done);
			return false;
		}
		done += (size_t)n;
	}
	log->size += size;
	return true;
}

/* "2026-01-31T12:00:00.123456789Z" */
static size_t stamp(char *at, size_t room)
{
	struct timespec now;
	struct tm day;
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &day);
	n = snprintf(at, room, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ", day.tm_year + 1900, day.tm_mon + 1, day.tm_mday,
	             day.tm_hour, day.tm_min, day.tm_sec, now.tv_nsec);
	return (size_t)n;
}

/* Says what is missing before what follows it; both are written or neither. */
static bool append_after_loss(struct logfile *log)
{
	char note[128];
	size_t n = stamp(note, sizeof note);

	n += (size_t)snprintf(note + n, sizeof note - n, " stderr F [appc: %llu bytes of log were lost]\n",
	                      (unsigned long long)log->lost);
	if (!append(log, note, n))
		return false;
	if (append(log, out, out_used)) {
		log->lost = 0;
		return true;
	}
	take_back(log, n);
	return false;
}

static void flush(struct logfile *log)
{
	if (keep.log_size > 0 && keep.log_files > 0 && log->size > 0 && log->size + out_used > keep.log_size)
		rotate(log);
	if (!(log->lost > 0 ? append_after_loss(log) : append(log, out, out_used)))
		log->lost += out_used;
	out_used = 0;
}

void log_write(struct logfile *log, int source, const char *data, size_t size)
{
	char head[64];
	size_t head_size = stamp(head, sizeof head - 16);

	memcpy(head + head_size, source == 1 ? " stdout P " : " stderr P ", 10);
	head_size += 10;
	while (size > 0) {
		const char *newline = memchr(data, '\n', size);
		size_t length = newline == NULL ? size : (size_t)(newline - data);
		size_t step = newline == NULL ? length : length + 1;

		if (out_used + head_size + length + 1 > sizeof out)
			flush(log);
		/* A whole line, or the end of one whose beginning was an entry of its own. */
		head[head_size - 2] = newline == NULL ? 'P' : 'F';
		memcpy(out + out_used, head, head_size);
		memcpy(out + out_used + head_size, data, length);
		out_used += head_size + length + 1;
		out[out_used - 1] = '\n';
		data += step;
		size -= step;
	}
	flush(log);
}
