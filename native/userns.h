/* User namespaces: made by one process for others. */
#ifndef APPC_USERNS_H
#define APPC_USERNS_H

#include "wire.h"

/* Makes a user namespace whose identities are mapped as the lines of `uids` and `gids` say (user_namespaces(7): inside,
 * outside, how many) and opens it. `proc` is a procfs of the caller's process namespace. 0 or an errno. */
int userns_new(int proc, const struct wire_arg *uids, const struct wire_arg *gids, int *fd);

#endif
