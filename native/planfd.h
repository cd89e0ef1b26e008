/* A plan behind a descriptor. */
#ifndef APPC_PLANFD_H
#define APPC_PLANFD_H

#include "wire.h"

/* Reads the plan into fresh memory (the bytes that are checked are the bytes performed) and parses
 * it; 0 or an errno. `*data` and `*size` are for munmap(2), when the plan is no longer needed. */
int plan_load(int fd, struct wire_plan *plan, void **data, size_t *size);

#endif
