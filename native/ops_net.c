/* The pod's sandbox: names, network and kernel parameters. */
#define _GNU_SOURCE
#include "init.h"
#include "kernel.h"
#include "netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int op_hostname(struct context *c, const struct wire_op *op)
{
	(void)c;
	return sethostname(op->args[0].p, op->args[0].n) < 0 ? errno : 0;
}

int op_domainname(struct context *c, const struct wire_op *op)
{
	(void)c;
	return setdomainname(op->args[0].p, op->args[0].n) < 0 ? errno : 0;
}

/* Fills in the request's interface; 0, or ENODEV for a name no interface can have. */
static int name_link(struct ifreq *request, const struct wire_arg *name)
{
	memset(request, 0, sizeof *request);
	if (name->n == 0 || name->n >= IFNAMSIZ)
		return ENODEV;
	memcpy(request->ifr_name, name->p, name->n);
	return 0;
}

int op_link_up(struct context *c, const struct wire_op *op)
{
	struct ifreq request;
	int error = name_link(&request, &op->args[0]);
	int fd;

	(void)c;
	if (error != 0)
		return error;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
		error = errno;
	} else {
		request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
		if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
			error = errno;
	}
	close(fd);
	return error;
}

static int link_index(const struct wire_arg *name, uint32_t *index)
{
	struct ifreq request;
	int error = name_link(&request, name);
	int fd;

	if (error != 0)
		return error;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	if (ioctl(fd, SIOCGIFINDEX, &request) < 0)
		error = errno;
	*index = (uint32_t)request.ifr_ifindex;
	close(fd);
	return error;
}

struct address_request {
	struct k_nlmsghdr header;
	struct k_ifaddrmsg body;
	struct {
		struct k_rtattr head;
		unsigned char address[16];
	} local, address;
};

/* The attributes are packed by their real length: IPv4 addresses leave no gap. */
static size_t pack(struct address_request *request, const unsigned char *address, size_t size)
{
	unsigned char *at = (unsigned char *)&request->local;
	struct k_rtattr head = {.len = (uint16_t)(sizeof head + size)};

	for (unsigned type = K_IFA_ADDRESS; type <= K_IFA_LOCAL; type++) {
		head.type = (uint16_t)type;
		memcpy(at, &head, sizeof head);
		memcpy(at + sizeof head, address, size);
		at += sizeof head + size;
	}
	return (size_t)(at - (unsigned char *)request);
}

int op_address(struct context *c, const struct wire_op *op)
{
	struct address_request request = {
		.header = {.type = K_RTM_NEWADDR, .flags = K_NLM_F_REQUEST | K_NLM_F_ACK | K_NLM_F_CREATE | K_NLM_F_EXCL},
	};
	unsigned char address[16];
	int family = strchr(op->args[1].p, ':') != NULL ? AF_INET6 : AF_INET;
	size_t size = family == AF_INET6 ? 16 : 4;
	int error;

	(void)c;
	if (inet_pton(family, op->args[1].p, address) != 1 || op->args[2].n > 8 * size)
		return EINVAL;
	error = link_index(&op->args[0], &request.body.index);
	if (error != 0)
		return error;
	request.body.family = (uint8_t)family;
	request.body.prefix = (uint8_t)op->args[2].n;
	request.header.len = (uint32_t)pack(&request, address, size);
	return netlink_ask(&request.header);
}

int op_sysctl(struct context *c, const struct wire_op *op)
{
	char path[PATH_MAX] = "sys/";
	char *at = path + 4;

	if (op->args[0].n + 5 > sizeof path)
		return EINVAL;
	/* As sysctl(8): dots separate, and a slash stands for a dot in a name. */
	for (const char *key = op->args[0].p; *key != '\0'; key++)
		*at++ = (char)(*key == '.' ? '/' : *key == '/' ? '.' : *key);
	*at = '\0';
	/* Out of sys lie files no sysctl means. */
	if (strstr(path, "..") != NULL)
		return EINVAL;
	return procfs_write(c, path, op->args[1].p);
}
