/* rtnetlink, for requests of which only the success matters. */
#ifndef APPC_NETLINK_H
#define APPC_NETLINK_H

#include "kernel.h"

/* Sends a request that asks for an acknowledgement (K_NLM_F_ACK) to the caller's network namespace; 0 or an errno. */
int netlink_ask(const struct k_nlmsghdr *request);

#endif
