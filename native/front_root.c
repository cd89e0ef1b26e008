/* Where states are kept when nothing says so, as appc/oci/main.py has it. */
#define _GNU_SOURCE
#include "front.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OF_ROOT "/run/appc/oci"
#define ALL_IDS 4294967295U

/* Whether user IDs are the host's. What cannot be read is taken for it: so it was before there were others. */
static bool ids_are_hosts(void)
{
	char text[64];
	unsigned inside, outside, count;
	int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (size < 0)
		return true;
	text[size] = '\0';
	return sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 && outside == 0 &&
	       count == ALL_IDS;
}

const char *front_root(char *buffer, size_t size)
{
	const char *given = getenv("APPC_OCI_ROOT"), *own = getenv("XDG_RUNTIME_DIR"), *user = getenv("USER");

	if (given != NULL && given[0] != '\0')
		return given;
	if (own == NULL || own[0] != '/' ||
	    (geteuid() == 0 && ((user != NULL && strcmp(user, "root") == 0) || ids_are_hosts())))
		return OF_ROOT;
	return snprintf(buffer, size, "%s/appc/oci", own) < (int)size ? buffer : NULL;
}
