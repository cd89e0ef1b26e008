#define _GNU_SOURCE
#include "probe.h"

#include <arpa/inet.h>
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

/* Asks the metadata service, whose address is a number, as HTTP/1.0, so that the answer ends with
 * the connection. */
void ask_metadata(const char *method, const char *path, const char *form)
{
	const char *url = getenv("AC_METADATA_URL");
	char host[64], token[512] = "", port[8], request[4096], buffer[4096];
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd, length;
	ssize_t n;

	printf("%s %s\n", method, path);
	if (url == NULL || sscanf(url, "http://%63[^:/]:%7[0-9]%511s", host, port, token) < 2) {
		printf("AC_METADATA_URL is not http://ADDRESS:PORT/TOKEN\n");
		return;
	}
	length = snprintf(request, sizeof request,
	                  "%s %s%s HTTP/1.0\r\nHost: %s\r\nMetadata-Flavor: AppContainer\r\n"
	                  "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\n%s",
	                  method, token, path, host, strlen(form), form);
	address.sin_port = htons((uint16_t)atoi(port));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (length >= (int)sizeof request || inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || write(fd, request, (size_t)length) < 0)
		complain("connect");
	else
		while ((n = read(fd, buffer, sizeof buffer)) > 0)
			fwrite(buffer, 1, (size_t)n, stdout);
	close(fd);
}
