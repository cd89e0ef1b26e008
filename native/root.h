/* Paths in the root: resolved from its descriptor, so that no symbolic link or ".." leads out. */
#ifndef APPC_ROOT_H
#define APPC_ROOT_H

#include "init.h"

#include <limits.h>

/* Opens an existing path with flags of open(2); -1 and errno. Paths at or below /proc,
 * /sys and /dev may hold no symbolic link: what is mounted there must be where it says. */
int root_open(const struct context *c, const char *path, int flags);

/* Opens the directory that holds `path` and copies the last component to `name` (NAME_MAX + 1
 * bytes); -1 and errno. The last component is a plain name, never ".", ".." or empty. */
int root_parent(const struct context *c, const char *path, char *name);

/* Takes `fd` as the root. */
void root_set(struct context *c, int fd);

/* Takes the tree that "#NUMBER" names; 0 or EBADF. */
int take_tree(struct context *c, const char *source, int *tree);

/* Keeps a detached mount under the next number; closes it on failure. */
int keep_tree(struct context *c, int tree);

/* Attaches a detached mount at a path of the host and takes it as the root; closes it on failure. */
int become_root(struct context *c, int mount, const char *target);

#endif
