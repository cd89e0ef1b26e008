/* New mounts, made detached. */
#ifndef APPC_MOUNTFS_H
#define APPC_MOUNTFS_H

#include "wire.h"

/* Creates a file system and returns a descriptor of its detached mount, or -1 and errno. `options`
 * is a list of "key=value" or "flag"; `attributes` are MOUNT_ATTR_…; an empty source is none. */
int mountfs_new(const char *fstype, const char *source, const struct wire_arg *options, unsigned attributes);

/* Applies a list of options to a file system context; 0 or an errno. */
int mountfs_options(int fs, const struct wire_arg *options);

#endif
