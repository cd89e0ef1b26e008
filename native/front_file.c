/* Reads the two files that describe a container to the front. */
#define _GNU_SOURCE
#include "front.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The string at *at, which is moved behind it; NULL when there is none. */
static const char *take(const char **at, const char *end)
{
	const char *string = *at;

	if (string == NULL || string >= end)
		return NULL;
	*at = string + strlen(string) + 1;
	return string;
}

bool front_file(struct front_file *file, const char *data, size_t size)
{
	const char *at = data, *magic;

	if (size == 0 || data[size - 1] != '\0')
		return false;
	file->end = data + size;
	magic = take(&at, file->end);
	file->boot = take(&at, file->end);
	file->verbs = take(&at, file->end);
	file->head = take(&at, file->end);
	file->middle = take(&at, file->end);
	file->tail = take(&at, file->end);
	file->groups = at;
	if (magic == NULL || strcmp(magic, FRONT_MAGIC) != 0 || file->tail == NULL)
		return false;
	for (const char *group = front_next_group(file, NULL); group != NULL; group = front_next_group(file, group))
		if (group[0] != '/')
			return false;
	return true;
}

const char *front_next_group(const struct front_file *file, const char *group)
{
	const char *next = group == NULL ? file->groups : group + strlen(group) + 1;

	return next < file->end ? next : NULL;
}

bool front_allows(const struct front_file *file, const char *verb)
{
	size_t length = strlen(verb);

	for (const char *at = file->verbs; *at != '\0'; at += at[0] == ' ') {
		size_t word = strcspn(at, " ");

		if (word == length && strncmp(at, verb, length) == 0)
			return true;
		at += word;
	}
	return false;
}

/* The number behind `key` at *at, which is moved behind the end of its line. */
static bool number(const char **at, const char *key, uint64_t *value)
{
	size_t length = strlen(key);
	char *end;

	if (strncmp(*at, key, length) != 0 || (*at)[length] < '0' || (*at)[length] > '9')
		return false;
	errno = 0;
	*value = strtoull(*at + length, &end, 10);
	if (errno != 0 || *end != '\n')
		return false;
	*at = end + 1;
	return true;
}

bool front_process(const char *text, pid_t *pid, uint64_t *started)
{
	uint64_t value;

	if (!number(&text, "pid=", &value) || value == 0 || value > INT_MAX || !number(&text, "starttime=", started))
		return false;
	*pid = (pid_t)value;
	return true;
}
