/* What hooks of the runtime-spec read on stdin. */
#ifndef APPC_STATEFILE_H
#define APPC_STATEFILE_H

#include "wire.h"

#include <sys/types.h>

/* Makes a file in memory, so that a hook that reads nothing holds up nobody: the strings of `parts` with `pid` between
 * them. 0 and the file at its beginning in `*fd`, or an errno. */
int statefile_new(const struct wire_arg *parts, pid_t pid, int *fd);

#endif
