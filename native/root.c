#define _GNU_SOURCE
#include "root.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool below(const char *path, const char *name)
{
	size_t length = strlen(name);

	while (*path == '/')
		path++;
	return strncmp(path, name, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static uint64_t resolution(const char *path)
{
	uint64_t resolve = K_RESOLVE_IN_ROOT | K_RESOLVE_NO_MAGICLINKS;

	if (below(path, "proc") || below(path, "sys") || below(path, "dev"))
		resolve |= K_RESOLVE_NO_SYMLINKS;
	return resolve;
}

int root_open(const struct context *c, const char *path, int flags)
{
	int fd, tries = 0;

	if (c->root < 0) {
		errno = EBADF;
		return -1;
	}
	/* The kernel gives up with EAGAIN when a rename elsewhere races the walk. */
	do
		fd = k_openat2(c->root, path, (uint64_t)flags, resolution(path));
	while (fd < 0 && errno == EAGAIN && ++tries < 1000);
	return fd;
}

int root_parent(const struct context *c, const char *path, char *name)
{
	const char *slash = strrchr(path, '/');
	const char *last = slash == NULL ? path : slash + 1;
	char parent[PATH_MAX];
	size_t length = (size_t)(last - path);

	if (*last == '\0' || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
		errno = EINVAL;
		return -1;
	}
	if (strlen(last) > NAME_MAX || length + 2 > sizeof parent) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(name, last, strlen(last) + 1);
	memcpy(parent, path, length);
	parent[length] = '\0';
	return root_open(c, length == 0 ? "/" : parent, O_PATH | O_DIRECTORY);
}

void root_set(struct context *c, int fd)
{
	if (c->root >= 0)
		close(c->root);
	c->root = fd;
}
