/* appc-keep: the pod's keeper, outside the containers. One thread, one poll loop; every op of its
 * track that waits, waits in that loop, so that logs, exits and signals are served meanwhile. */
#ifndef APPC_KEEP_H
#define APPC_KEEP_H

#include "report.h"
#include "text.h"
#include "wire.h"

#include <sys/types.h>

#define KEEP_MAX_TASKS 1024

enum role { ROLE_NONE, ROLE_INIT, ROLE_APP, ROLE_HANDLER, ROLE_POST_STOP, ROLE_CHECK, ROLE_EXECUTE, ROLE_PROCESS };

enum phase {
	DECLARED, /* not started */
	BUILDING, /* performs its track */
	HELD,     /* an app or container whose root is built waits at `sync` */
	RELEASED, /* goes on towards exec */
	RUNNING,  /* past exec, PID 1 past READY, or a container at `await-start` */
	ENDED,
};

enum post_stop { POST_NONE, POST_PENDING, POST_DONE, POST_SKIPPED };

/* What an app that has ended waits for. */
enum coming { COMES_NOT, COMES_LATER, COMES_PREPARED };

/* A plan in memory, and the descriptor its tracks' performers read it from. */
struct source {
	struct wire_plan plan;
	int fd;
	void *data;
	size_t size;
};

/* Modes of streams, and the log they go to. */
struct stdio {
	const char *mode[3], *log;
};

/* Why an app died. */
struct death {
	bool memory;          /* the kernel killed for want of it */
	bool of_pod;          /* the limit is the pod's */
	uint64_t kills;       /* so far, in its group */
	uint64_t peak, limit; /* bytes, 0 = none */
	uint64_t call, arch;  /* the system call its filter refused; arch 0 = not known */
};

/* A child that performs a track. */
struct task {
	enum role role;
	enum phase phase;
	const char *app; /* the app it is or serves; "" for others */
	const struct source *home;   /* what declared it: all text here is in its memory */
	const struct source *source; /* that of its track */
	const struct wire_track *track;
	struct stdio stdio;  /* an app's; of its handlers, how the app's output is shown */
	const char *cgroup;  /* the cgroup2 directory it is born in, "" for the keeper's own */
	pid_t pid;
	int report;          /* socket, -1 once it said all */
	int mnt;             /* an app's mount namespace, -1 */
	bool tty;            /* its console goes to a terminal */
	const char *console; /* or to this socket, "" for none */
	int start;           /* socket a container awaits its start at, -1 */
	bool syncs;          /* its track has a `sync` */
	bool later;          /* begun after the launch, which it cannot spoil any more */
	bool detached;       /* whoever comes after the keeper collects its status */
	bool left;           /* goes on without the keeper */
	bool made;           /* a runtime made it; what comes of that is reported by who performed the track: */
	pid_t maker;         /* 0 when it is gone */
	bool collected;      /* its status is known, though not yet all of that report */
	bool failed;         /* an op of its track did */
	bool noted;          /* which is on record */
	bool ran;            /* got past exec */
	bool timed_out;
	bool ready;          /* an app has started, or said that it is ready where it was to */
	int status;          /* of waitpid(2) */
	struct death death;
	uint64_t timeout;    /* ms, 0 = none */
	uint64_t deadline;   /* ms of the monotonic clock, 0 = none */
	uint64_t started, ended; /* ns since the epoch */
	enum post_stop post; /* of an app */
	int post_status;
	enum coming coming;  /* of an app */
	bool stopped;        /* an app whose end was asked for: it concerns nobody else */
	struct {
		const struct source *source;
		const struct wire_track *track;
		uint64_t when;                  /* AGAIN_…, 0 = never */
		uint64_t first, longest;        /* ms between an end and the next start */
		uint64_t most;                  /* in a row, 0 = any number */
		uint64_t delay, at;             /* ms: the next one's, and when that is over */
		uint64_t row, count;            /* how often, in a row and in all */
	} again;
};

enum stop { STOP_NO, STOP_TERM, STOP_KILL };

struct keeper {
	int init_fd, pod, lock, report, null;
	int sockets[CHILD_MOST_SOCKETS]; /* the caller's, for apps */
	size_t given;
	int own_pid, own_net, own_mnt;  /* the keeper's namespaces, -1 until needed */
	int ns[CHILD_NAMESPACES];       /* the pod's */
	bool foreground;                /* it has its caller's terminal and session */
	struct source launch;           /* the pod's plan */
	const struct source *source;    /* the plan that is being performed */
	struct task task[KEEP_MAX_TASKS];
	size_t tasks;
	struct task *init;
	bool ready;                     /* what was to be started has been */
	bool told;                      /* the caller read, or could have, what failed */
	enum stop stop;
	int signals, signal; /* how many asked for an end, and the first of them */
	uint64_t kill_at;               /* ms, when stopping turns to killing */
	uint64_t grace;                 /* ms */
	uint64_t log_size, log_files;
	size_t apps;                    /* in the plan */
	int status;                     /* of the first app that failed */
	int finished;                   /* status of the last `finish` */
	struct {
		bool set;
		const char *track;
		uint32_t index;
		int error;
		uint32_t status; /* of the handler that failed */
	} failure;
};

extern struct keeper keep;

/* keep_main.c */
void keep_fail(const char *track, uint32_t index, int error);
void keep_warn(const char *track, uint32_t index, int error);
void perform(const struct wire_track *track); /* until an op fails or the pod is to stop */
void tear_down(const struct source *source, const struct wire_track *track); /* every op, whatever fails */

/* keep_watch.c: the loop. */
typedef void (*watcher)(void *owner, short events);
int watch_add(int fd, short events, watcher call, void *owner); /* 0 or an errno */
void watch_set(int fd, short events);                          /* 0 pauses */
void watch_drop(int fd);
void watch_step(uint64_t deadline); /* one round, at the latest until `deadline` (0 = none) */
int watch_signals(void);

/* keep_time.c */
uint64_t now_ms(void);
uint64_t now_ns(void);                      /* since the epoch */
uint64_t earlier(uint64_t a, uint64_t b);   /* of two deadlines, 0 = none */

/* keep_spawn.c */
int high_fd(int fd); /* moves a descriptor out of the way of a child's numbers; closes `fd` */
int spawn_task(struct task *task, int flags, const int stdio[3]);       /* 0 or an errno */
void place(int fd, int number); /* in a child; ends it when that fails */
/* A program outside the pod; one that is not detached is told of a failed start. -1 and errno. */
pid_t spawn_helper(const struct wire_arg *argv, bool detached);
int open_ns(pid_t pid, const char *kind, int *fd);

/* keep_task.c */
struct task *task_new(enum role role, const char *app, const char *track); /* NULL: errno */
struct task *task_app(const char *name);
void task_forget(struct task *app); /* the app, which has ended, and its handlers */
void task_ready(void *task, short events); /* the watcher of its report socket */
void task_reap(void);
void task_expire(uint64_t now);
uint64_t task_deadline(void);
int task_wait(struct task *task, enum phase phase, uint64_t timeout); /* 0 or an errno */
int task_proceed(const struct task *task); /* gives the child the byte it waits for; 0 or an errno */
int task_exit_status(const struct task *task);
void task_kill(struct task *task, int signal_number);
bool init_lives(void); /* or the pod has none; else no process can be added to the pod */

/* keep_stop.c */
void stop_request(int signal_number);
void stop_expire(uint64_t now);
void stop_all(void);       /* at once */
bool pod_over(void);       /* every app and its post-stop handlers have ended */
void pod_end(void);        /* ends whatever is left, PID 1 last */
void app_ended(struct task *app);
void app_failed(struct task *app); /* nothing more comes of it, and not for want of trying */
void post_stop_ended(struct task *handler);

/* keep_health.c */
bool health_bad(const struct task *app);
const char *health_word(const struct task *app); /* "" for an app that is not checked */
void health_ended(const struct task *check);
void health_expire(uint64_t now);
uint64_t health_deadline(void);
void health_forget(const char *app);

/* keep_change.c: what is to change in a pod that runs comes as a plan of its own, by a socket. */
int change_listen(void); /* 0 or an errno */
void change_perform(void);
void change_tear_down(void); /* what changes have brought and the pod's own plan knows nothing of */

/* keep_again.c: apps that are run again when they have ended. */
bool again_wanted(struct task *app); /* and then the app is to come */
void again_cancel(struct task *app);
void again_expire(uint64_t now);
uint64_t again_deadline(void);
void again_running(const struct task *app);
int again_start(struct task *app); /* in the root it has; 0 or an errno */
void pre_start_ended(struct task *handler);

/* keep_stream.c */
int stdio_open(const struct stdio *stdio, const char *app, int fds[3], bool *tty); /* 0 or an errno */
void stdio_close(int fds[3]);     /* the child's ends, once it has them */
void stream_forget(const char *app, const char *log); /* closes the streams of an app that is removed, and its log */
int stream_add(int fd, const char *app, const char *log, int source, int copy, bool named); /* 0 or an errno */
void stream_catch_up(void);       /* reads what has been written already */
void stream_catch_up_with(const char *app); /* for as long as it takes to read what has been written by now */
void stream_drain(void);          /* likewise, then closes all; waits for slow readers of our output */

/* keep_log.c: files of entries "TIME stdout|stderr F|P TEXT", as the CRI has them. */
struct logfile;
struct logfile *log_open(const char *path); /* below the pod directory; NULL: errno */
struct logfile *log_find(const char *path); /* NULL: not open */
void log_close(struct logfile *log);
void log_write(struct logfile *log, int source, const char *data, size_t size);

/* keep_journal.c */
void journal_write(const char *app, int source, const char *data, size_t size);
void journal_forget(const char *app); /* sends the last line, that has no end */
void journal_end(void);               /* of all apps */

/* keep_attach.c */
void attach_output(const char *app, int source, const char *data, size_t size);
int attach_input(const char *app, int fd, bool tty); /* takes `fd` over, -1 to have none; 0 or an errno */
void attach_over(const char *app);                   /* the app has ended for good */

/* keep_tty.c */
void tty_attach(struct task *task, int master);
void tty_resize(void);
void tty_restore(void);

/* keep_listen.c */
struct sockaddr_storage;
int net_address(const char *text, uint64_t port, struct sockaddr_storage *address, unsigned *size); /* 0 or EINVAL */
void pod_name(struct text *name); /* the UUID, which is the name of the pod's directory, and a newline */
int net_enter_pod(void); /* the pod's network, if it has one of its own; 0 or an errno */
int net_leave_pod(void);
int listen_add(const char *address, uint64_t port, const char *service, const struct wire_arg *argv);
void listen_expire(uint64_t now);
uint64_t listen_deadline(void);
void listen_helper_ended(pid_t pid);

/* keep_socket.c */
void socket_place(const char *app); /* in its child */
void socket_forget(const char *app);

/* keep_notify.c */
#define NOTIFY_SAID 128
/* Binds a new socket below the pod's directory, in `directory`, which is made, or right there (NULL). */
int socket_in_pod(const char *directory, const char *path, int type, mode_t mode, int *fd); /* 0 or an errno */
void notify_started(struct task *app);
void notify_forget(const char *app);
bool notify_all_ready(void);
const char *notify_said(const char *app);     /* its own words, "" for none */
void notify_pod(void);                        /* tells that all are ready, once they are */
void notify_manager_is(void);                 /* takes NOTIFY_SOCKET from the environment */
void notify_manager(const char *message);     /* of the service the keeper is, if it is one */

/* keep_death.c */
void death_note(struct task *app);                           /* finds out, once it has ended */
void death_add(struct text *text, const struct task *app);   /* to its record */

/* keep_status.c */
uint64_t start_time(pid_t pid); /* in ticks since boot, which with the PID names a process for good; 0 when it is gone */
void status_keeper(void);
void status_app(const struct task *app);
void status_process(const struct task *process);
void status_failure(void);
void status_warning(const char *track, uint32_t index, int error);
void tell(const char *word, const char *track, const uint32_t *numbers, size_t count);

/* keep_process.c */
pid_t process_pid(void); /* -1 when there is none, or when it has ended: its number may be another's by then */

/* keep_send.c */
int send_descriptor(const char *path, const char *data, size_t size, int sent); /* to a socket; 0 or an errno */
int console_send(const struct task *task, int master);
int agent_send(const struct task *task, int listener);

/* keep_hook.c */
void hook_reap(void);

/* keep_launch.c */
#define LAUNCH_TIMEOUT 120000 /* ms; a child that takes longer to build its root hangs on something that will not come */
bool track_has(const struct wire_track *track, enum opcode code);
int task_spawn(struct task *task, int flags); /* 0 or an errno */
int task_start_handler(struct task *task); /* 0 or an errno */
int task_run_handler(struct task *task);   /* to its end; 0 or an errno */

/* The ops: each returns 0 or an errno. */
#define INSIDE(id, name, kinds)
#define OUTSIDE(id, name, kinds) int keep_##id(const struct wire_op *op);
#include "ops.def"
#undef INSIDE
#undef OUTSIDE

#endif
