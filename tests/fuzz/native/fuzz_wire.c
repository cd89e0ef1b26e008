/* libFuzzer target: parses a plan and, when it is accepted, walks all of it as the programs do. */
#include "wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static volatile size_t sink;

static void walk(const struct wire_op *op)
{
	static const char *vector[4096];
	const char *kinds = wire_table[op->code].kinds;

	sink += strlen(op->source);
	sink += wire_tolerates(op, 2);
	for (size_t i = 0; kinds[i] != '\0'; i++) {
		const struct wire_arg *arg = &op->args[i];

		if (kinds[i] == 's' && strlen(arg->p) != arg->n)
			abort();
		if (kinds[i] == 'b' && arg->n > 0)
			sink += (unsigned char)arg->p[arg->n - 1];
		if (kinds[i] == 'l' && wire_list(arg, vector, 4096))
			for (size_t n = 0; vector[n] != NULL; n++)
				sink += strlen(vector[n]);
	}
#ifdef PLANTED_BUG
	/* What the fuzzer must find when it is told to prove itself: a number taken for an index. */
	static const char limits[16];

	if (op->code == OP_rlimit)
		sink += (size_t)limits[op->args[0].n];
#endif
}

/* Without its header a plan is refused at once: the fuzzer would hardly get past it. Copied, so
 * that a read beyond the end is noticed. */
static unsigned char *with_header(const unsigned char *data, size_t size)
{
	unsigned char *copy = malloc(size);
	uint32_t words[3] = {WIRE_VERSION, wire_table_hash(), (uint32_t)size};

	if (copy == NULL)
		abort();
	memcpy(copy, data, size);
	memcpy(copy, "appcplan", 8);
	memcpy(copy + 8, words, sizeof words);
	return copy;
}

static void walk_plan(const struct wire_plan *plan)
{
	for (uint32_t i = 0; i < plan->tracks; i++) {
		struct wire_cursor cursor = wire_begin(plan, &plan->track[i]);
		struct wire_op op;
		uint32_t count = 0;

		while (wire_next(&cursor, &op)) {
			walk(&op);
			count++;
		}
		if (count != plan->track[i].ops || wire_find(plan, plan->track[i].name) == NULL)
			abort();
		sink += wire_performed(plan, &plan->track[i], true);
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static struct wire_plan plan;
	unsigned char *fixed;

	if (wire_parse(&plan, data, size) == 0)
		walk_plan(&plan);
	if (size < 20)
		return 0;
	fixed = with_header(data, size);
	if (wire_parse(&plan, fixed, size) == 0)
		walk_plan(&plan);
	free(fixed);
	return 0;
}
