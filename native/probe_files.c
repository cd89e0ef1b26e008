#define _GNU_SOURCE
#include "probe.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void complain(const char *name)
{
	printf("%s: errno %d (%s)\n", name, errno, strerror(errno));
}

void show_file(const char *path)
{
	char buffer[4096];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		complain(path);
		return;
	}
	while ((n = read(fd, buffer, sizeof buffer)) > 0)
		fwrite(buffer, 1, (size_t)n, stdout);
	close(fd);
}

void show_status(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		complain(path);
	else
		printf("%s %06o %u:%u %u:%u %lld\n", path, st.st_mode, st.st_uid, st.st_gid, major(st.st_rdev), minor(st.st_rdev),
		       (long long)st.st_size);
}

void show_link(const char *path)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof target - 1);

	if (n < 0) {
		complain(path);
		return;
	}
	target[n] = '\0';
	printf("%s\n", target);
}

void list_directory(const char *path)
{
	struct dirent **entries;
	int count = scandir(path, &entries, NULL, alphasort);

	if (count < 0) {
		complain(path);
		return;
	}
	for (int i = 0; i < count; i++)
		if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0)
			printf("%s\n", entries[i]->d_name);
}

void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		complain(path);
	else
		printf("%s: written\n", path);
	if (fd >= 0)
		close(fd);
}

void await_file(const char *path, int there)
{
	while ((access(path, F_OK) == 0) != (there != 0))
		nap(0.005);
}

/* Connects, then copies what the other side says. */
void talk_to(const char *host, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buffer[4096];
	ssize_t n;

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		complain("connect");
		return;
	}
	while ((n = read(fd, buffer, sizeof buffer)) > 0)
		fwrite(buffer, 1, (size_t)n, stdout);
	close(fd);
}
