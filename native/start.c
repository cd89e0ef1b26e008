/* appc-start: the commands `appc` and `appc-oci`. Starts Python without `site`, whose work most verbs never need:
 * the interpreter of the directory appc was installed to, with that one directory added to its
 * path. A layout it does not know is left to `python3 -m appc`. As `appc-oci` it does what needs no
 * Python itself: the front. */
#define _GNU_SOURCE
#include "front.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* startup.py is run by its path, through Python's cache of compiled files, before anything is
 * searched for. */
#define RUN(module) \
	"import sys;from _frozen_importlib_external import SourceFileLoader as F;" \
	"p=sys.argv.pop(1);sys.path.append(p);sys.argv[0]=sys.argv.pop(1);" \
	"n='appc.startup';g={'__name__':n};exec(F(n,p+'/appc/startup.py').get_code(n),g);g['hasten'](p);" \
	"from " module " import main;sys.exit(main())"

struct place {
	char prefix[PATH_MAX];   /* of the installation: holds bin and lib */
	char packages[PATH_MAX]; /* the directory that holds the package appc */
	char python[NAME_MAX + 1];
	bool environment;        /* a virtual environment: its python3 is the right one */
};

/* The directory above the one of this program's file. */
static bool find_prefix(char *prefix)
{
	ssize_t n = readlink("/proc/self/exe", prefix, PATH_MAX - 1);

	if (n <= 0)
		return false;
	prefix[n] = '\0';
	for (int level = 0; level < 2; level++) {
		char *slash = strrchr(prefix, '/');

		if (slash == NULL)
			return false;
		*slash = '\0';
	}
	return true;
}

static bool join(char *into, const char *directory, const char *name)
{
	return snprintf(into, PATH_MAX, "%s/%s", directory, name) < PATH_MAX;
}

static bool holds(const char *directory, const char *name)
{
	char path[PATH_MAX];

	return join(path, directory, name) && access(path, R_OK) == 0;
}

static bool try_packages(struct place *place, const char *lib, const char *python)
{
	static const char *const names[] = {"site-packages", "dist-packages"};

	for (int i = 0; i < 2; i++) {
		int n = snprintf(place->packages, PATH_MAX, "%s/%s/%s", lib, python, names[i]);

		if (n < PATH_MAX && holds(place->packages, "appc/__init__.py")) {
			memcpy(place->python, python, strlen(python) + 1);
			return true;
		}
	}
	return false;
}

static bool find_packages(struct place *place)
{
	static const char *const libs[] = {"lib", "lib64"};
	bool found = false;

	for (int i = 0; i < 2 && !found; i++) {
		char lib[PATH_MAX];
		struct dirent *entry;
		DIR *dir = join(lib, place->prefix, libs[i]) ? opendir(lib) : NULL;

		while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
			found = strncmp(entry->d_name, "python3", 7) == 0 && try_packages(place, lib, entry->d_name);
		if (dir != NULL)
			closedir(dir);
	}
	place->environment = holds(place->prefix, "pyvenv.cfg");
	return found;
}

/* Runs `name` of `directory`; returns when there is none. */
static void try_exec(const char *directory, const char *name, char **argv)
{
	char path[PATH_MAX];

	if (directory[0] == '\0' || !join(path, directory, name))
		return;
	/* The interpreter finds its own library, and a virtual environment, by this name. */
	argv[0] = path;
	execv(path, argv);
}

static void try_everywhere(const struct place *place, const char *name, char **argv)
{
	const char *path = getenv("PATH");
	char bin[PATH_MAX];

	if (join(bin, place->prefix, "bin")) {
		try_exec(bin, name, argv);
		if (place->environment)
			try_exec(bin, "python3", argv);
	}
	/* The system's own before PATH, which may lead to slow wrappers. */
	try_exec("/usr/bin", name, argv);
	while (path != NULL && *path != '\0') {
		char directory[PATH_MAX];
		size_t length = strcspn(path, ":");

		if (length < sizeof directory) {
			memcpy(directory, path, length);
			directory[length] = '\0';
			try_exec(directory, name, argv);
		}
		path += length + (path[length] == ':');
	}
}

int main(int argc, char **argv)
{
	static struct place place;
	const char *called = argc > 0 ? strrchr(argv[0], '/') : NULL;
	char **command = calloc((size_t)argc + 16, sizeof *command);
	bool runtime;
	int used = 1, status;

	called = called != NULL ? called + 1 : argc > 0 ? argv[0] : "appc";
	runtime = strcmp(called, "appc-oci") == 0;
	status = runtime ? front(argc, argv) : FRONT_PYTHON;
	if (status != FRONT_PYTHON)
		return status;
	/* What programs read is in no language; loading a locale's tables would only take time. Text is UTF-8 then. */
	if (runtime)
		setenv("LC_ALL", "C", 1);
	if (command == NULL || !find_prefix(place.prefix)) {
		fprintf(stderr, "appc: cannot find its own program: %s\n", strerror(errno));
		return 125;
	}
	if (find_packages(&place)) {
		char *fast[] = {"-I", "-S", "-X", "frozen_modules=on", "-c",
		                runtime ? RUN("appc.oci.main") : RUN("appc.cli.main"),
		                place.packages, argc > 0 ? argv[0] : "appc"};

		memcpy(command + used, fast, sizeof fast);
		used += (int)(sizeof fast / sizeof fast[0]);
	} else {
		command[used++] = "-m";
		command[used++] = runtime ? "appc.oci" : "appc";
		memcpy(place.python, "python3", sizeof "python3");
	}
	for (int i = 1; i < argc; i++)
		command[used++] = argv[i];
	try_everywhere(&place, place.python, command);
	fprintf(stderr, "appc: cannot run %s: %s\n", place.python, strerror(errno));
	return 125;
}
