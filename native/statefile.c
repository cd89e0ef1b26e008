#define _GNU_SOURCE
#include "statefile.h"
#include "text.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int add(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);

		if (n < 0)
			return errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

static int fill(int fd, const struct wire_arg *parts, const struct text *number)
{
	const char *at = parts->p;
	int error = 0;

	for (uint64_t i = 0; i < parts->n && error == 0; i++) {
		const char *part = wire_item(&at);

		if (i > 0)
			error = add(fd, number->bytes, number->used);
		if (error == 0)
			error = add(fd, part, strlen(part));
	}
	return error == 0 && lseek(fd, 0, SEEK_SET) < 0 ? errno : error;
}

int statefile_new(const struct wire_arg *parts, pid_t pid, int *fd)
{
	struct text number = {.used = 0};
	int error;

	text_number(&number, (uint64_t)pid);
	*fd = memfd_create("state", MFD_CLOEXEC);
	if (*fd < 0)
		return errno;
	error = fill(*fd, parts, &number);
	if (error != 0)
		close(*fd);
	return error;
}
