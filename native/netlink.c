#define _GNU_SOURCE
#include "netlink.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static int acknowledgement(int fd)
{
	struct {
		struct k_nlmsghdr header;
		int32_t error;
		unsigned char rest[512];
	} answer;
	ssize_t n;

	do
		n = recv(fd, &answer, sizeof answer, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno;
	if ((size_t)n < sizeof answer.header + sizeof answer.error || answer.header.type != K_NLMSG_ERROR)
		return EPROTO;
	return -answer.error;
}

int netlink_ask(const struct k_nlmsghdr *request)
{
	struct k_sockaddr_nl kernel = {.family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, K_NETLINK_ROUTE);
	int error;

	if (fd < 0)
		return errno;
	if (sendto(fd, request, request->len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
		error = errno;
	else
		error = acknowledgement(fd);
	close(fd);
	return error;
}
