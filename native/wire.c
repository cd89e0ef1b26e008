#include "wire.h"

#include <errno.h>
#include <string.h>

const struct wire_row wire_table[OPCODES] = {
#define INSIDE(id, name, kinds) {name, kinds, true},
#define OUTSIDE(id, name, kinds) {name, kinds, false},
#include "ops.def"
#undef INSIDE
#undef OUTSIDE
};

static uint32_t fnv(uint32_t hash, const char *text)
{
	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619U;
	return hash;
}

uint32_t wire_table_hash(void)
{
	uint32_t hash = 2166136261U;

	for (size_t i = 0; i < OPCODES; i++) {
		hash = fnv(fnv(hash, wire_table[i].name), ":");
		hash = fnv(fnv(hash, wire_table[i].kinds), ":");
		hash = fnv(hash, wire_table[i].inside ? "init\n" : "keep\n");
	}
	return hash;
}

static uint32_t word(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Takes `size` bytes; NULL when there are fewer left. */
static const unsigned char *take(struct wire_cursor *c, size_t size)
{
	const unsigned char *at = c->at;

	if ((size_t)(c->end - at) < size)
		return NULL;
	c->at = at + size;
	return at;
}

static bool take_u32(struct wire_cursor *c, uint32_t *value)
{
	const unsigned char *p = take(c, 4);

	if (p == NULL)
		return false;
	*value = word(p);
	return true;
}

static bool take_bytes(struct wire_cursor *c, struct wire_arg *arg)
{
	uint32_t length;
	const unsigned char *p;

	if (!take_u32(c, &length) || (p = take(c, length)) == NULL)
		return false;
	arg->n = length;
	arg->p = (const char *)p;
	return true;
}

static bool take_string(struct wire_cursor *c, struct wire_arg *arg)
{
	const unsigned char *end;

	if (!take_bytes(c, arg) || (end = take(c, 1)) == NULL)
		return false;
	return *end == 0 && memchr(arg->p, 0, arg->n) == NULL;
}

static bool take_list(struct wire_cursor *c, struct wire_arg *arg)
{
	struct wire_arg item;
	uint32_t count;

	if (!take_u32(c, &count))
		return false;
	arg->n = count;
	arg->p = (const char *)c->at;
	while (count-- > 0)
		if (!take_string(c, &item))
			return false;
	return true;
}

static bool take_arg(struct wire_cursor *c, char kind, struct wire_arg *arg)
{
	const unsigned char *p;

	switch (kind) {
	case 'n':
		p = take(c, 8);
		if (p == NULL)
			return false;
		arg->n = (uint64_t)word(p) | (uint64_t)word(p + 4) << 32;
		return true;
	case 's':
		return take_string(c, arg);
	case 'l':
		return take_list(c, arg);
	default:
		return take_bytes(c, arg);
	}
}

static bool take_op(struct wire_cursor *c, struct wire_op *op)
{
	const unsigned char *head = take(c, 4);
	struct wire_arg source;
	const char *kinds;

	memset(op, 0, sizeof *op);
	if (head == NULL)
		return false;
	op->code = (enum opcode)(head[0] | head[1] << 8);
	op->tolerated = (uint32_t)(head[2] | head[3] << 8);
	op->tolerate = take(c, 4 * (size_t)op->tolerated);
	if (op->code >= OPCODES || op->tolerated > WIRE_MAX_TOLERATED || op->tolerate == NULL || !take_string(c, &source))
		return false;
	op->source = source.p;
	kinds = wire_table[op->code].kinds;
	for (size_t i = 0; kinds[i] != '\0'; i++)
		if (!take_arg(c, kinds[i], &op->args[i]))
			return false;
	return true;
}

static int parse_track(struct wire_plan *plan, struct wire_cursor *c)
{
	struct wire_track *track = &plan->track[plan->tracks];
	struct wire_arg name;
	struct wire_op op;

	if (!take_string(c, &name) || !take_u32(c, &track->ops))
		return EBADMSG;
	if (track->ops > WIRE_MAX_OPS)
		return E2BIG;
	if (wire_find(plan, name.p) != NULL)
		return EBADMSG;
	track->name = name.p;
	track->at = c->at;
	for (uint32_t i = 0; i < track->ops; i++)
		if (!take_op(c, &op))
			return EBADMSG;
	plan->tracks++;
	return 0;
}

int wire_parse(struct wire_plan *plan, const void *data, size_t size)
{
	struct wire_cursor c = {.at = data, .end = (const unsigned char *)data + size};
	const unsigned char *magic = take(&c, 8);
	uint32_t version, hash, total, facts, tracks;
	struct wire_arg text;
	int error;

	plan->end = c.end;
	plan->tracks = 0;
	if (size > WIRE_MAX_SIZE)
		return E2BIG;
	if (magic == NULL || memcmp(magic, "appcplan", 8) != 0)
		return EBADMSG;
	if (!take_u32(&c, &version) || !take_u32(&c, &hash) || !take_u32(&c, &total))
		return EBADMSG;
	if (version != WIRE_VERSION || hash != wire_table_hash())
		return EPROTO;
	if (total != size || !take_u32(&c, &facts))
		return EBADMSG;
	if (facts > WIRE_MAX_FACTS)
		return E2BIG;
	while (facts-- > 0)
		if (!take_string(&c, &text) || !take_string(&c, &text))
			return EBADMSG;
	if (!take_u32(&c, &tracks))
		return EBADMSG;
	if (tracks > WIRE_MAX_TRACKS)
		return E2BIG;
	while (plan->tracks < tracks) {
		error = parse_track(plan, &c);
		if (error != 0)
			return error;
	}
	return c.at == c.end ? 0 : EBADMSG;
}

const struct wire_track *wire_find(const struct wire_plan *plan, const char *name)
{
	for (uint32_t i = 0; i < plan->tracks; i++)
		if (strcmp(plan->track[i].name, name) == 0)
			return &plan->track[i];
	return NULL;
}

struct wire_cursor wire_begin(const struct wire_plan *plan, const struct wire_track *track)
{
	return (struct wire_cursor){.at = track->at, .end = plan->end, .left = track->ops};
}

bool wire_next(struct wire_cursor *cursor, struct wire_op *op)
{
	if (cursor->left == 0)
		return false;
	cursor->left--;
	return take_op(cursor, op);
}

bool wire_op_at(const struct wire_plan *plan, const struct wire_track *track, uint32_t index, struct wire_op *op)
{
	struct wire_cursor c = wire_begin(plan, track);

	if (index >= track->ops)
		return false;
	for (uint32_t i = 0; i <= index; i++)
		if (!wire_next(&c, op))
			return false;
	return true;
}

bool wire_performed(const struct wire_plan *plan, const struct wire_track *track, bool inside)
{
	struct wire_cursor c = wire_begin(plan, track);
	struct wire_op op;

	while (wire_next(&c, &op))
		if (wire_table[op.code].inside != inside)
			return false;
	return true;
}

bool wire_tolerates(const struct wire_op *op, int error)
{
	for (size_t i = 0; i < op->tolerated; i++)
		if (word(op->tolerate + 4 * i) == (uint32_t)error)
			return true;
	return false;
}

const char *wire_item(const char **at)
{
	const char *item = *at + 4;

	*at = item + word((const unsigned char *)*at) + 1;
	return item;
}

bool wire_list(const struct wire_arg *list, const char **vector, size_t max)
{
	const char *at = list->p;

	if (list->n >= max)
		return false;
	for (uint64_t i = 0; i < list->n; i++)
		vector[i] = wire_item(&at);
	vector[list->n] = NULL;
	return true;
}
