/* Text in a buffer; what does not fit is left out. */
#ifndef APPC_TEXT_H
#define APPC_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
	char bytes[512];
	size_t used;
};

void text_add(struct text *text, const char *word);
void text_number(struct text *text, uint64_t number);
void text_pair(struct text *text, const char *key, uint64_t number); /* a line "KEY=NUMBER" */

#endif
