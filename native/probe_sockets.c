#define _GNU_SOURCE
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void tell_socket(const char *path, const char *text)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (fd < 0 || sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, sizeof address) < 0)
		complain(path);
	close(fd);
}

void answer_once(const char *number, const char *text)
{
	int fd = accept(atoi(number), NULL, NULL);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		complain("answer");
	close(fd);
}
