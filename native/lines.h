/* Files of the kernel that take several lines, all of them in one write. */
#ifndef APPC_LINES_H
#define APPC_LINES_H

#include "wire.h"

/* Writes a list's strings as lines to `file` of the directory `dir` (AT_FDCWD); 0 or an errno. */
int lines_write(int dir, const char *file, const struct wire_arg *lines);

#endif
