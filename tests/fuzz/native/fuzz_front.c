/* libFuzzer target: what the front of appc-oci reads – the two files of a container, and the words it is called with. */
#include "front.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static volatile size_t sink;

static void walk_file(const char *data, size_t size)
{
	struct front_file file;

	if (!front_file(&file, data, size))
		return;
	sink += strlen(file.boot) + strlen(file.head) + strlen(file.middle) + strlen(file.tail);
	sink += front_allows(&file, "start") + front_allows(&file, "delete");
	for (const char *group = front_next_group(&file, NULL); group != NULL; group = front_next_group(&file, group)) {
		if (group[0] != '/')
			abort();
		sink += strlen(group);
	}
#ifdef PLANTED_BUG
	/* What the fuzzer must find when it is told to prove itself: a string taken for longer than it is. */
	sink += (size_t)file.tail[strlen(file.verbs) == 5 ? size : 0];
#endif
}

static void walk_process(const char *text)
{
	uint64_t started;
	pid_t pid;

	if (front_process(text, &pid, &started) && pid <= 0)
		abort();
}

/* The strings of `text`, which ends with a zero byte, as words. */
static void walk_call(char *text, size_t size)
{
	static char *words[64];
	struct front_call call;
	int count = 0;

	for (size_t at = 0; at < size && count < 63; at += strlen(text + at) + 1)
		words[count++] = text + at;
	words[count] = NULL;
	if (!front_call(&call, count, words, "/root"))
		return;
	if (call.root[0] != '/' || strchr(call.id, '/') != NULL || call.signal < 1 || call.signal > 64)
		abort();
}

/* Copied, so that a read beyond the end is noticed. */
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	char *exact = malloc(size), *text = malloc(size + 1);

	if ((exact == NULL && size > 0) || text == NULL)
		abort();
	if (size > 0)
		memcpy(exact, data, size);
	memcpy(text, data, size);
	text[size] = '\0';
	walk_file(exact, size);
	walk_process(text);
	walk_call(text, size + 1);
	free(exact);
	free(text);
	return 0;
}
