/* Network devices of the host that a container is given. */
#define _GNU_SOURCE
#include "keep.h"
#include "kernel.h"
#include "netlink.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

struct link_request {
	struct k_nlmsghdr header;
	struct k_ifinfomsg body;
	struct {
		struct k_rtattr head;
		uint32_t fd;
	} space;
	struct {
		struct k_rtattr head;
		char name[IFNAMSIZ];
	} name;
};

int keep_net_device(const struct wire_op *op)
{
	struct link_request request = {
		.header = {.len = sizeof request, .type = K_RTM_NEWLINK, .flags = K_NLM_F_REQUEST | K_NLM_F_ACK},
		.space = {.head = {.len = sizeof request.space, .type = K_IFLA_NET_NS_FD}},
		.name = {.head = {.len = sizeof request.name, .type = K_IFLA_IFNAME}},
	};
	int space = -1, error;

	if (op->args[1].n == 0 || op->args[1].n >= sizeof request.name.name)
		return EINVAL;
	memcpy(request.name.name, op->args[1].p, op->args[1].n);
	request.body.index = (int32_t)if_nametoindex(op->args[0].p);
	if (request.body.index == 0)
		return ENODEV;
	error = open_ns(process_pid(), "net", &space);
	if (error != 0)
		return error;
	request.space.fd = (uint32_t)space;
	error = netlink_ask(&request.header);
	close(space);
	return error;
}
