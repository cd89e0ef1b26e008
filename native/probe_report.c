#define _GNU_SOURCE
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

/* Copies the lines of a file, each after "PREFIX". */
static void copy_lines(const char *path, const char *prefix)
{
	FILE *file = fopen(path, "re");
	static char line[65536];

	if (file == NULL) {
		complain(path);
		return;
	}
	while (fgets(line, sizeof line, file) != NULL)
		printf("%s%s", prefix, line);
	fclose(file);
}

static void report_process(int argc, char **argv)
{
	char path[PATH_MAX];
	mode_t mask = umask(0);

	umask(mask);
	for (int i = 0; i < argc; i++)
		printf("argv.%d=%s\n", i, argv[i]);
	for (char **entry = environ; *entry != NULL; entry++)
		printf("env.%s\n", *entry);
	printf("cwd=%s\n", getcwd(path, sizeof path) != NULL ? path : "");
	printf("umask=%04o\n", (unsigned)mask);
	printf("pid=%d\nppid=%d\nsid=%d\npgid=%d\n", getpid(), getppid(), getsid(0), getpgid(0));
}

static void report_ids(void)
{
	uid_t uid[3];
	gid_t gid[3], groups[NGROUPS_MAX];
	int count = getgroups(NGROUPS_MAX, groups);

	getresuid(&uid[0], &uid[1], &uid[2]);
	getresgid(&gid[0], &gid[1], &gid[2]);
	printf("uid=%u %u %u\ngid=%u %u %u\ngroups=", uid[0], uid[1], uid[2], gid[0], gid[1], gid[2]);
	for (int i = 0; i < count; i++)
		printf(i == 0 ? "%u" : " %u", groups[i]);
	printf("\n");
}

/* What the kernel says of capabilities, no_new_privs, seccomp and signals: "status.CapEff=…". */
static void report_status(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[512];

	if (file == NULL) {
		complain("status");
		return;
	}
	while (fgets(line, sizeof line, file) != NULL) {
		char *colon = strchr(line, ':');

		if (colon == NULL || (strncmp(line, "Cap", 3) != 0 && strncmp(line, "Sig", 3) != 0 &&
		                      strncmp(line, "NoNewPrivs", 10) != 0 && strncmp(line, "Seccomp", 7) != 0))
			continue;
		*colon = '\0';
		printf("status.%s=%s", line, colon + 1 + strspn(colon + 1, " \t"));
	}
	fclose(file);
}

static void report_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	if (dir == NULL) {
		complain("fd");
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		char target[PATH_MAX];
		ssize_t n;

		if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir))
			continue;
		n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
		target[n < 0 ? 0 : n] = '\0';
		printf("fd.%s=%s\n", entry->d_name, target);
	}
	closedir(dir);
}

static void report_limits(void)
{
	for (int i = 0; i < 16; i++) {
		struct rlimit limit;

		if (getrlimit(i, &limit) == 0)
			printf("rlimit.%d=%llu %llu\n", i, (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
	}
}

static void report_pod(void)
{
	struct utsname names;

	uname(&names);
	printf("hostname=%s\ndomainname=%s\n", names.nodename, names.domainname);
	printf("init.exe=");
	fflush(stdout);
	show_link("/proc/1/exe");
	copy_lines("/proc/1/comm", "init.comm=");
	copy_lines("/proc/self/cgroup", "cgroup=");
	copy_lines("/proc/self/oom_score_adj", "oom-score-adj=");
}

void report(int argc, char **argv)
{
	report_process(argc, argv);
	report_ids();
	report_status();
	report_descriptors();
	report_limits();
	report_pod();
}

void report_mounts(void)
{
	copy_lines("/proc/self/mountinfo", "mount=");
}
