/* appc-probe: runs inside containers, in tests and for `appc conformance`, and tells what it finds there. */
#ifndef APPC_PROBE_H
#define APPC_PROBE_H

/* probe_report.c: lines "key=value" about the process and its surroundings. */
void report(int argc, char **argv);
void report_mounts(void);

/* probe_load.c */
void use_memory(long mib);
void fork_many(long count);
void leave_orphan(double seconds);
void spin(double seconds);

/* probe_files.c: each prints its result, or "NAME: errno N (text)". */
void show_file(const char *path);
void show_status(const char *path);
void show_link(const char *path);
void list_directory(const char *path);
void write_file(const char *path, const char *text);
void await_file(const char *path, int there); /* until it is there, or is gone; prints nothing */
void complain(const char *name);
void talk_to(const char *host, const char *port);

/* probe_sockets.c */
void tell_socket(const char *path, const char *text);     /* as a datagram */
void answer_once(const char *number, const char *text);   /* a connection to the listening descriptor */
void ask_metadata(const char *method, const char *path, const char *form);

void nap(double seconds);

#endif
