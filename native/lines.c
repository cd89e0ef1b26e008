#define _GNU_SOURCE
#include "lines.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The kernel takes less than a page of lines. */
#define MOST 4096

int lines_write(int dir, const char *file, const struct wire_arg *lines)
{
	char text[MOST];
	size_t used = 0;
	const char *at = lines->p;
	int fd, error;

	for (uint64_t i = 0; i < lines->n; i++) {
		const char *line = wire_item(&at);
		size_t length = strlen(line);

		if (used + length + 1 > sizeof text)
			return E2BIG;
		memcpy(text + used, line, length);
		used += length;
		text[used++] = '\n';
	}
	fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	error = k_write_once(fd, text, used);
	close(fd);
	return error;
}
