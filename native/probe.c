/* Actions are performed in the order of the arguments, each with its own: `appc-probe report sleep
 * 1 exit 3`. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t trap_status;

static void trapped(int number)
{
	char text[] = "caught 00\n";

	text[7] = (char)('0' + number / 10);
	text[8] = (char)('0' + number % 10);
	if (write(1, text, sizeof text - 1) < 0)
		_exit(1);
	_exit(trap_status);
}

void nap(double seconds)
{
	struct timespec left = {.tv_sec = (time_t)seconds};

	left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static void set_trap(const char *number, const char *status)
{
	trap_status = atoi(status);
	signal(atoi(number), trapped);
}

static void copy_input(void)
{
	char buffer[4096];
	ssize_t n;

	while ((n = read(0, buffer, sizeof buffer)) > 0)
		if (write(1, buffer, (size_t)n) != n)
			return;
}

static void count_input(void)
{
	char buffer[4096];
	long count = 0;
	ssize_t n;

	while ((n = read(0, buffer, sizeof buffer)) > 0)
		count += n;
	printf("counted %ld\n", count);
}

static void write_lines(long count, long size)
{
	for (long i = 0; i < count; i++) {
		char number[32];
		int used = snprintf(number, sizeof number, "%ld ", i);

		fputs(number, stdout);
		for (long column = used; column < size; column++)
			putchar('a' + (int)(column % 26));
		putchar('\n');
	}
}

static void show_window(void)
{
	struct winsize size = {0};

	if (ioctl(0, TIOCGWINSZ, &size) < 0)
		complain("window");
	else
		printf("window %u %u\n", size.ws_row, size.ws_col);
}

static void call(const char *number)
{
	errno = 0;
	printf("syscall %ld\n", syscall(atol(number), 0, 0, 0, 0, 0, 0));
	complain("syscall");
}

static void close_output(void)
{
	fflush(stdout);
	for (int fd = 0; fd <= 2; fd++)
		close(fd);
}

/* Performs one action; how many arguments it took, or -1 for none known. */
static int act(const char *action, char **args, int left)
{
	static const struct {
		const char *name;
		int arguments;
	} actions[] = {
		{"report", 0}, {"mounts", 0}, {"cat", 0}, {"count", 0}, {"wait", 0}, {"window", 0}, {"close", 0},
		{"echo", 1}, {"error", 1}, {"print", 1}, {"sleep", 1}, {"exit", 1}, {"kill", 1}, {"ignore", 1},
		{"read", 1}, {"stat", 1}, {"link", 1}, {"list", 1}, {"memory", 1}, {"forks", 1}, {"orphan", 1},
		{"spin", 1}, {"syscall", 1}, {"await", 1}, {"gone", 1}, {"trap", 2}, {"write", 2}, {"lines", 2}, {"connect", 2},
		{"tell", 2}, {"answer", 2}, {"to", 1}, {"metadata", 3},
	};
	int arguments = -1;

	for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
		if (strcmp(action, actions[i].name) == 0)
			arguments = actions[i].arguments;
	if (arguments < 0 || arguments > left)
		return -1;
#define IS(text) (strcmp(action, text) == 0)
	if (IS("mounts"))
		report_mounts();
	else if (IS("cat"))
		copy_input();
	else if (IS("count"))
		count_input();
	else if (IS("wait"))
		for (;;)
			pause();
	else if (IS("window"))
		show_window();
	else if (IS("close"))
		close_output();
	else if (IS("echo"))
		printf("%s\n", args[0]);
	else if (IS("error"))
		fprintf(stderr, "%s\n", args[0]);
	else if (IS("print"))
		fputs(args[0], stdout);
	else if (IS("sleep"))
		nap(atof(args[0]));
	else if (IS("exit"))
		exit(atoi(args[0]));
	else if (IS("kill"))
		kill(getpid(), atoi(args[0]));
	else if (IS("ignore"))
		signal(atoi(args[0]), SIG_IGN);
	else if (IS("read"))
		show_file(args[0]);
	else if (IS("stat"))
		show_status(args[0]);
	else if (IS("link"))
		show_link(args[0]);
	else if (IS("list"))
		list_directory(args[0]);
	else if (IS("memory"))
		use_memory(atol(args[0]));
	else if (IS("forks"))
		fork_many(atol(args[0]));
	else if (IS("orphan"))
		leave_orphan(atof(args[0]));
	else if (IS("spin"))
		spin(atof(args[0]));
	else if (IS("syscall"))
		call(args[0]);
	else if (IS("trap"))
		set_trap(args[0], args[1]);
	else if (IS("write"))
		write_file(args[0], args[1]);
	else if (IS("lines"))
		write_lines(atol(args[0]), atol(args[1]));
	else if (IS("await") || IS("gone"))
		await_file(args[0], IS("await"));
	else if (IS("connect"))
		talk_to(args[0], args[1]);
	else if (IS("tell"))
		tell_socket(args[0], args[1]);
	else if (IS("answer"))
		answer_once(args[0], args[1]);
	else if (IS("metadata"))
		ask_metadata(args[0], args[1], args[2]);
	else if (IS("to") && freopen(args[0], "we", stdout) == NULL)
		_exit(74);
#undef IS
	fflush(stdout);
	return arguments;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int taken;

		if (strcmp(argv[i], "report") == 0)
			report(argc, argv);
		taken = act(argv[i], argv + i + 1, argc - i - 1);
		if (taken < 0) {
			fprintf(stderr, "appc-probe: %s: no such action\n", argv[i]);
			return 64;
		}
		i += taken;
	}
	return 0;
}
