#define _GNU_SOURCE
#include "planfd.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_whole(int fd, char *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, data + done, size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EBADMSG;
		done += (size_t)n;
	}
	return 0;
}

int plan_load(int fd, struct wire_plan *plan, void **data, size_t *size)
{
	struct stat st;
	int error;

	if (fstat(fd, &st) < 0)
		return errno;
	if (st.st_size <= 0)
		return EBADMSG;
	if (st.st_size > (off_t)WIRE_MAX_SIZE)
		return E2BIG;
	*size = (size_t)st.st_size;
	*data = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (*data == MAP_FAILED)
		return errno;
	error = read_whole(fd, *data, *size);
	return error != 0 ? error : wire_parse(plan, *data, *size);
}
