/* Reads plans – u32 length, bytes – from standard input and prints the reader's verdict on each. */
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	static struct wire_plan plan;
	unsigned char head[4];

	while (fread(head, 1, 4, stdin) == 4) {
		size_t size = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
		/* Exactly as large as the plan, so that a read past its end is noticed. */
		unsigned char *data = malloc(size);

		if ((data == NULL && size > 0) || fread(data, 1, size, stdin) != size)
			return 1;
		printf("%d\n", wire_parse(&plan, data, size));
		free(data);
	}
	return 0;
}
