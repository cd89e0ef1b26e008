/* The front of `appc-oci`: what engines ask most often of containers that exist, done without Python.
 *
 * Python decides when it makes a container: it writes the file `front` into the container's directory (appc/oci/front.py),
 * which names the verbs that may be done here and holds all they need. Whatever is unusual – an option, a state, an
 * error – is left to Python, which is then run as if nothing had been tried: so there is one source of messages. */
#ifndef APPC_FRONT_H
#define APPC_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FRONT_MAGIC "appc-oci front 1"
#define FRONT_SIZE (64U << 10)
/* What `front` returns, and all functions that do a verb, when Python has to. */
#define FRONT_PYTHON (-1)

enum front_verb { FRONT_STATE, FRONT_START, FRONT_KILL, FRONT_DELETE, FRONT_VERBS };

/* A command line. */
struct front_call {
	enum front_verb verb;
	const char *root, *id;
	int signal;
	bool all, force;
};

/* The file `front`: strings that each end with a zero byte. */
struct front_file {
	const char *boot;  /* the boot ID of the host as the container was made */
	const char *verbs; /* that may be done here, separated by spaces */
	const char *head, *middle, *tail; /* of what `state` prints: pid and status go between */
	const char *groups, *end;         /* the rest: directories of its control groups */
};

enum front_status { FRONT_UNKNOWN, FRONT_STOPPED, FRONT_CREATED, FRONT_RUNNING, FRONT_PAUSED };

/* A container that exists. */
struct front_container {
	int directory;
	struct front_file file;
	pid_t pid;
	uint64_t started; /* in clock ticks since boot */
};

/* front_root.c: the directory of states, perhaps in `buffer`; NULL when it does not fit there. */
const char *front_root(char *buffer, size_t size);

/* front_call.c: false for what Python has to look at. `default_root` may be NULL. */
bool front_call(struct front_call *call, int argc, char **argv, const char *default_root);

/* front_file.c: both false for what is not in the right form. The file points into `data`. */
bool front_file(struct front_file *file, const char *data, size_t size);
bool front_process(const char *text, pid_t *pid, uint64_t *started);
bool front_allows(const struct front_file *file, const char *verb);
const char *front_next_group(const struct front_file *file, const char *group); /* NULL for the first; NULL at the end */

/* front_container.c */
ssize_t front_read_file(int directory, const char *name, char *buffer, size_t size); /* ends with a zero byte; -1 */
bool front_open(struct front_container *container, int directory);
enum front_status front_status(const struct front_container *container);
int front_pidfd(const struct front_container *container); /* of exactly its process, -1 */

/* front_group.c */
bool front_frozen(const struct front_file *file);
bool front_signal_groups(const struct front_file *file, int signal); /* all of the first that has processes */
bool front_kill_group(const struct front_file *file); /* all of the first and below, by the kernel; false when it cannot */
bool front_remove_groups(const struct front_file *file); /* ends what is in them */

/* front_delete.c */
int front_delete(const char *path, bool force);

/* front_main.c: the exit status, or FRONT_PYTHON. */
int front(int argc, char **argv);

#endif
