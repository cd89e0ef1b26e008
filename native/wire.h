/* The plan as bytes. A plan is parsed whole, and refused whole, before anything is done.
 *
 * "appcplan" · u32 version · u32 hash of ops.def · u32 total length ·
 * u32 facts × (string key, string value) · u32 tracks × (string name, u32 ops × op)
 * op = u16 opcode · u16 n · n × u32 tolerated errno · string source · arguments by signature
 * number = u64, string = u32 length, bytes, NUL; list = u32 count, strings; bytes = u32 length, bytes.
 * Little endian, no padding, nothing after the last track. */
#ifndef APPC_WIRE_H
#define APPC_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_MAX_SIZE (16U << 20)
#define WIRE_MAX_TRACKS 256U
#define WIRE_MAX_OPS 4096U
#define WIRE_MAX_FACTS 256U
#define WIRE_MAX_TOLERATED 16U
#define WIRE_MAX_ARGS 8U
#define WIRE_VERSION 1U

enum opcode {
#define INSIDE(id, name, kinds) OP_##id,
#define OUTSIDE(id, name, kinds) OP_##id,
#include "ops.def"
#undef INSIDE
#undef OUTSIDE
	OPCODES
};

struct wire_row {
	const char *name;
	const char *kinds;
	bool inside; /* performed by appc-init, else by appc-keep */
};

extern const struct wire_row wire_table[OPCODES];

/* One argument: `n` is the number, the length of a string or bytes, or the count of a list; `p`
 * points into the plan (a list: at its first element). Strings end in NUL. */
struct wire_arg {
	uint64_t n;
	const char *p;
};

struct wire_op {
	enum opcode code;
	uint32_t tolerated;
	const unsigned char *tolerate;
	const char *source;
	struct wire_arg args[WIRE_MAX_ARGS];
};

struct wire_track {
	const char *name;
	uint32_t ops;
	const unsigned char *at;
};

struct wire_plan {
	const unsigned char *end;
	uint32_t tracks;
	struct wire_track track[WIRE_MAX_TRACKS];
};

/* Reads the ops of one track in order. */
struct wire_cursor {
	const unsigned char *at, *end;
	uint32_t left;
};

uint32_t wire_table_hash(void);

/* 0, or EBADMSG (malformed), EPROTO (another version or table of ops), E2BIG (over a limit).
 * `data` must outlive the plan. */
int wire_parse(struct wire_plan *plan, const void *data, size_t size);

const struct wire_track *wire_find(const struct wire_plan *plan, const char *name);
struct wire_cursor wire_begin(const struct wire_plan *plan, const struct wire_track *track);
bool wire_next(struct wire_cursor *cursor, struct wire_op *op);

/* The op at `index`; false when the track has no such op. */
bool wire_op_at(const struct wire_plan *plan, const struct wire_track *track, uint32_t index, struct wire_op *op);

/* Whether every op of the track is for this performer. */
bool wire_performed(const struct wire_plan *plan, const struct wire_track *track, bool inside);

bool wire_tolerates(const struct wire_op *op, int error);

/* Fills `vector` with the list's strings and a final NULL; false when `max` entries do not hold them. */
bool wire_list(const struct wire_arg *list, const char **vector, size_t max);

/* Steps through a list: start with *at = list->p, call list->n times. */
const char *wire_item(const char **at);

#endif
