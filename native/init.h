/* appc-init: performs one track of a plan inside a container. Everything here runs with the
 * privileges of the host's root among files an attacker wrote: paths in the root are resolved
 * through root.h only. */
#ifndef APPC_INIT_H
#define APPC_INIT_H

#include "report.h"
#include "text.h"
#include "wire.h"

#include <sys/types.h>

struct context {
	int root;              /* O_PATH descriptor of the root, -1 before there is one */
	bool pivoted;          /* the root is "/" and the host's mounts are gone */
	bool umask_set;
	bool prepared;         /* descriptors, signals and mask are as the app gets them */
	unsigned sockets;      /* open from 3 on for the program */
	struct text listen_pid; /* "LISTEN_PID=N" for it */
	bool own_console;      /* 0–2 are a pseudo-terminal made for this process */
	uint32_t index;        /* of the op being performed */
	int tree[512];         /* what `tree` opened, in order */
	uint32_t trees;
	void *plan;
	size_t plan_size;
};

/* The socket to the keeper; makes room at the number it has had. */
int report_socket(void);
int report_move(void); /* 0 or an errno */

/* Sends a packet, with a descriptor when `fd` ≥ 0. Errors are left to the next receive: a keeper
 * that is gone shows there. */
void report_send(enum report_kind kind, uint32_t index, int error, int fd);
void report_process(enum report_kind kind, uint32_t index, pid_t pid); /* REPORT_BORN or REPORT_MADE */

/* Waits for the keeper's word; without a keeper nothing goes on. 0 or an errno. */
int await_keeper(void);

/* Gives the output to the user `uid` where it was made for this app; 0 or an errno. */
int own_output(const struct context *c, uid_t uid);

/* Closes every descriptor from 3 on at exec, resets signals and sets the default mask; once. */
int prepare_exec(struct context *c);

/* A descriptor of a private procfs that no mount of the container can cover; -1 and errno. */
int procfs_open(struct context *c);

/* Writes `text` to a file of the private procfs in one write; 0 or an errno. */
int procfs_write(struct context *c, const char *path, const char *text);

/* 0 and the number, or EINVAL for what is no uid or gid. */
int id_from_number(uint64_t n, uid_t *id);

/* The ops: each performs one, completely, and returns 0 or an errno. */
#define INSIDE(id, name, kinds) int op_##id(struct context *c, const struct wire_op *op);
#define OUTSIDE(id, name, kinds)
#include "ops.def"
#undef INSIDE
#undef OUTSIDE

#endif
