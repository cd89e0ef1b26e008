/* The command line of `appc-oci`, as far as engines use it for what is done here (appc/oci/options.py has all of it). */
#define _GNU_SOURCE
#include "front.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LONGEST_ID 255
#define MOST_SIGNAL 64

static const char *const verbs[FRONT_VERBS] = {"state", "start", "kill", "delete"};

static const struct {
	const char *name;
	int number;
} signals[] = {
	{"HUP", SIGHUP}, {"INT", SIGINT}, {"QUIT", SIGQUIT}, {"KILL", SIGKILL}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2},
	{"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"CHLD", SIGCHLD}, {"CONT", SIGCONT}, {"STOP", SIGSTOP},
	{"TSTP", SIGTSTP}, {"WINCH", SIGWINCH},
};

/* The word of a long option without its dashes, one or two, NULL for any other word. */
static const char *long_option(const char *word)
{
	size_t dashes = strspn(word, "-");

	return dashes >= 1 && dashes <= 2 && strlen(word + dashes) > 1 ? word + dashes : NULL;
}

/* Whether `option` is `name`, alone or with a value behind "=". */
static bool is_option(const char *option, const char *name, const char **value)
{
	size_t length = strlen(name);

	if (strncmp(option, name, length) != 0 || (option[length] != '\0' && option[length] != '='))
		return false;
	*value = option[length] == '=' ? option + length + 1 : NULL;
	return true;
}

/* Takes the option at argv[*at], and its value; moves on behind both. */
static bool take_global(struct front_call *call, int argc, char **argv, int *at)
{
	const char *option = long_option(argv[*at]), *value = NULL;
	bool root, format;

	if (option == NULL)
		return false;
	*at += 1;
	/* Who makes control groups matters when they are made, which is not done here. */
	if (is_option(option, "debug", &value) || is_option(option, "systemd-cgroup", &value))
		return value == NULL;
	root = is_option(option, "root", &value);
	format = !root && is_option(option, "log-format", &value);
	if (!root && !format && !is_option(option, "log", &value))
		return false;
	if (value == NULL && *at == argc)
		return false;
	if (value == NULL)
		value = argv[(*at)++];
	if (root)
		call->root = value;
	return !format || strcmp(value, "text") == 0 || strcmp(value, "json") == 0;
}

static bool take_flag(struct front_call *call, const char *word)
{
	const char *option = strcmp(word, "-a") == 0 ? "all" : strcmp(word, "-f") == 0 ? "force" : long_option(word);

	if (option == NULL)
		return false;
	if (call->verb == FRONT_KILL && strcmp(option, "all") == 0)
		return call->all = true;
	if (call->verb == FRONT_DELETE && strcmp(option, "force") == 0)
		return call->force = true;
	return false;
}

static bool take_verb(struct front_call *call, const char *word)
{
	for (int verb = 0; verb < FRONT_VERBS; verb++)
		if (strcmp(word, verbs[verb]) == 0) {
			call->verb = (enum front_verb)verb;
			return true;
		}
	return false;
}

/* As appc/oci/container.py has it: a plain name. */
static bool is_id(const char *word)
{
	size_t length = strlen(word);

	if (length == 0 || length > LONGEST_ID || strcmp(word, ".") == 0 || strcmp(word, "..") == 0)
		return false;
	return strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.") == length;
}

/* A path that means the same after ".." were taken out of it, as Python does. */
static bool is_plain_path(const char *path)
{
	return path[0] == '/' && strstr(path, "/../") == NULL &&
	       (strlen(path) < 3 || strcmp(path + strlen(path) - 3, "/..") != 0);
}

/* A number or a name, with or without SIG, in any case; 0 for any other word. */
static int signal_number(const char *word)
{
	if (strncasecmp(word, "SIG", 3) == 0)
		word += 3;
	else if (strlen(word) <= 2 && isdigit((unsigned char)word[0]) && word[strspn(word, "0123456789")] == '\0')
		return atoi(word) <= MOST_SIGNAL ? atoi(word) : 0;
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		if (strcasecmp(word, signals[i].name) == 0)
			return signals[i].number;
	return 0;
}

bool front_call(struct front_call *call, int argc, char **argv, const char *default_root)
{
	int at = 1;

	*call = (struct front_call){.signal = SIGTERM};
	while (at < argc && argv[at][0] == '-')
		if (!take_global(call, argc, argv, &at))
			return false;
	if (at == argc || !take_verb(call, argv[at++]))
		return false;
	while (at < argc && argv[at][0] == '-')
		if (!take_flag(call, argv[at++]))
			return false;
	if (at == argc || !is_id(argv[at]))
		return false;
	call->id = argv[at++];
	if (call->verb == FRONT_KILL && at < argc)
		call->signal = signal_number(argv[at++]);
	if (call->root == NULL || call->root[0] == '\0')
		call->root = default_root;
	return at == argc && call->signal != 0 && call->root != NULL && is_plain_path(call->root);
}
