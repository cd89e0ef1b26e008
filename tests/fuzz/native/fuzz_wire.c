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
	/* What the fuzzer must find when it is told to prove itself. */
	if (op->code == OP_rlimit && op->args[0].n == 0x4242)
		sink += (unsigned char)op->source[strlen(op->source) + (1U << 20)];
#endif
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static struct wire_plan plan;

	if (wire_parse(&plan, data, size) != 0)
		return 0;
	for (uint32_t i = 0; i < plan.tracks; i++) {
		struct wire_cursor cursor = wire_begin(&plan, &plan.track[i]);
		struct wire_op op;
		uint32_t count = 0;

		while (wire_next(&cursor, &op)) {
			walk(&op);
			count++;
		}
		if (count != plan.track[i].ops || wire_find(&plan, plan.track[i].name) == NULL)
			abort();
		sink += wire_performed(&plan, &plan.track[i], true);
	}
	return 0;
}
