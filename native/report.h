/* What a child tells its keeper: one packet per event on descriptor 3, a SOCK_SEQPACKET socket. */
#ifndef APPC_REPORT_H
#define APPC_REPORT_H

#include <stdint.h>

enum report_kind {
	REPORT_FAIL = 1,    /* op `index` failed with `error`; the child is gone */
	REPORT_SYNC = 2,    /* the child waits at op `index` for one byte */
	REPORT_READY = 3,   /* PID 1 has performed its track and reaps, a container awaits its start, or runs (REPORT_MADE) */
	REPORT_CONSOLE = 4, /* carries the master of the console's pseudo-terminal (SCM_RIGHTS); the child
	                     * waits for one byte */
	REPORT_WARN = 5,    /* op `index` met `error`, which its plan tolerates */
	REPORT_BORN = 6,    /* the process `value` goes on in place of the child, and waits for one byte */
	REPORT_LISTENER = 7, /* carries the listener of the filter that op `index` loaded (SCM_RIGHTS) */
	REPORT_MADE = 8,     /* the runtime that op `index` runs has made the process `value`; the child waits for one byte,
	                      * and REPORT_READY follows when the process runs */
};

/* `index` of a failure before the first op: the plan was refused, or appc-init did not start. */
#define REPORT_NO_OP UINT32_MAX

struct report {
	uint32_t kind, index, error, value;
};

/* Where a child finds its descriptors; namespaces that exist follow from CHILD_NS. */
enum {
	CHILD_REPORT = 3,
	CHILD_PLAN = 4,
	CHILD_LOCK = 5,
	CHILD_START = 6,
	CHILD_NS = 10,
	CHILD_SOCKETS = 20, /* those it hands on to its program, until `sockets` puts them where that looks */
};

#define CHILD_MOST_SOCKETS 32

/* CLONE_NEW… flags in the order of their descriptors from CHILD_NS: net, ipc, uts, mnt, pid, user,
 * cgroup, time; and 0 for a process's root, a directory. */
#define CHILD_NAMESPACES 9
#define CHILD_NAMESPACE_FLAGS \
	{ \
		0x40000000, 0x08000000, 0x04000000, 0x00020000, 0x20000000, 0x10000000, 0x02000000, 0x00000080, 0 \
	}

#endif
