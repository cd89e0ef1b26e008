#include "text.h"

#include <string.h>

void text_add(struct text *text, const char *word)
{
	size_t length = strlen(word);

	if (text->used + length < sizeof text->bytes) {
		memcpy(text->bytes + text->used, word, length + 1);
		text->used += length;
	}
}

void text_number(struct text *text, uint64_t number)
{
	char digits[24];
	size_t first = sizeof digits - 1;

	digits[first] = '\0';
	do
		digits[--first] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	text_add(text, digits + first);
}

void text_pair(struct text *text, const char *key, uint64_t number)
{
	text_add(text, key);
	text_add(text, "=");
	text_number(text, number);
	text_add(text, "\n");
}
