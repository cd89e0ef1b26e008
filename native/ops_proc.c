/* Becoming the app: limits, identity, privileges. */
#define _GNU_SOURCE
#include "kernel.h"
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

int op_rlimit(struct context *c, const struct wire_op *op)
{
	uint64_t limit[2] = {op->args[1].n, op->args[2].n};

	(void)c;
	if (op->args[0].n > INT32_MAX)
		return EINVAL;
	return syscall(SYS_prlimit64, 0, (int)op->args[0].n, limit, NULL) < 0 ? errno : 0;
}

int op_oom_score_adj(struct context *c, const struct wire_op *op)
{
	return procfs_write(c, "thread-self/oom_score_adj", op->args[0].p);
}

int op_umask(struct context *c, const struct wire_op *op)
{
	if (op->args[0].n > 0777)
		return EINVAL;
	umask((mode_t)op->args[0].n);
	c->umask_set = true;
	return 0;
}

int op_keyring(struct context *c, const struct wire_op *op)
{
	(void)c;
	return syscall(SYS_keyctl, K_KEYCTL_JOIN_SESSION_KEYRING, op->args[0].p) < 0 ? errno : 0;
}

int op_label(struct context *c, const struct wire_op *op)
{
	static const char exec[] = "exec ";
	char text[PATH_MAX];

	if (strcmp(op->args[0].p, "selinux") == 0)
		return procfs_write(c, "thread-self/attr/exec", op->args[1].p);
	if (strcmp(op->args[0].p, "apparmor") != 0)
		return EINVAL;
	if (op->args[1].n + sizeof exec > sizeof text)
		return ENAMETOOLONG;
	memcpy(text, exec, sizeof exec);
	memcpy(text + sizeof exec - 1, op->args[1].p, op->args[1].n + 1);
	return procfs_write(c, "thread-self/attr/apparmor/exec", text);
}

int op_bounding(struct context *c, const struct wire_op *op)
{
	(void)c;
	for (unsigned cap = 0; cap < 64; cap++) {
		if ((op->args[0].n >> cap & 1) != 0)
			continue;
		if (prctl(PR_CAPBSET_DROP, (unsigned long)cap, 0UL, 0UL, 0UL) < 0) {
			/* Past the last capability that this kernel knows. */
			if (errno == EINVAL && prctl(PR_CAPBSET_READ, (unsigned long)cap, 0UL, 0UL, 0UL) < 0)
				return 0;
			return errno;
		}
	}
	return 0;
}

int id_from_number(uint64_t n, uid_t *id)
{
	/* The highest value means "no change" to the kernel. */
	if (n >= UINT32_MAX)
		return EINVAL;
	*id = (uid_t)n;
	return 0;
}

static int parse_id(const char *text, uid_t *id)
{
	uint64_t n = 0;

	if (*text == '\0')
		return EINVAL;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9' || n > UINT32_MAX)
			return EINVAL;
		n = 10 * n + (uint64_t)(*text - '0');
	}
	return id_from_number(n, id);
}

/* The app can reopen its output by name (/dev/stdout) only when it owns it. Only what was made for
 * this app changes hands: anonymous pipes and its own console. */
int own_output(const struct context *c, uid_t uid)
{
	for (int fd = 0; fd <= 2; fd++) {
		struct statfs fs;
		bool ours;

		if (fstatfs(fd, &fs) < 0)
			continue;
		ours = fs.f_type == K_PIPEFS_MAGIC || (c->own_console && fs.f_type == K_DEVPTS_MAGIC);
		/* In a user namespace, pipes of the host were handed over before it was joined. */
		if (ours && fchown(fd, uid, (gid_t)-1) < 0 && errno != EPERM)
			return errno;
	}
	return 0;
}

int op_ids(struct context *c, const struct wire_op *op)
{
	static gid_t groups[NGROUPS_MAX];
	const char *at = op->args[2].p, *first;
	uid_t uid, gid;
	bool keep;
	int error;

	if (id_from_number(op->args[0].n, &uid) != 0 || id_from_number(op->args[1].n, &gid) != 0)
		return EINVAL;
	if (op->args[2].n > NGROUPS_MAX)
		return EINVAL;
	/* Where nobody may change them, they are those of who called. */
	first = at;
	keep = op->args[2].n == 1 && strcmp(wire_item(&first), "keep") == 0;
	for (uint64_t i = 0; i < op->args[2].n && !keep; i++)
		if (parse_id(wire_item(&at), &groups[i]) != 0)
			return EINVAL;
	error = own_output(c, uid);
	if (error != 0)
		return error;
	if (prctl(PR_SET_KEEPCAPS, 1UL, 0UL, 0UL, 0UL) < 0)
		return errno;
	if (!keep && syscall(SYS_setgroups, (size_t)op->args[2].n, groups) < 0)
		return errno;
	if (syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
		return errno;
	/* The change of ids may have made the process readable again. */
	return prctl(PR_SET_DUMPABLE, 0UL, 0UL, 0UL, 0UL) < 0 ? errno : 0;
}

int op_caps(struct context *c, const struct wire_op *op)
{
	struct k_cap_header header = {.version = K_CAPABILITY_VERSION_3};
	struct k_cap_data data[2];

	(void)c;
	for (unsigned half = 0; half < 2; half++) {
		data[half].effective = (uint32_t)(op->args[0].n >> (32 * half));
		data[half].permitted = (uint32_t)(op->args[1].n >> (32 * half));
		data[half].inheritable = (uint32_t)(op->args[2].n >> (32 * half));
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return errno;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL) < 0)
		return errno;
	for (unsigned long cap = 0; cap < 64; cap++)
		if ((op->args[3].n >> cap & 1) != 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0UL, 0UL) < 0)
			return errno;
	return 0;
}

int op_chdir(struct context *c, const struct wire_op *op)
{
	char path[PATH_MAX];
	/* Not by way of /proc/self/fd: our descriptors are not the app's to stand on. */
	int fd = k_openat2(AT_FDCWD, op->args[0].p, O_PATH | O_DIRECTORY, K_RESOLVE_NO_MAGICLINKS);
	int error = 0;

	(void)c;
	if (fd < 0)
		return errno;
	if (fchdir(fd) < 0)
		error = errno;
	close(fd);
	if (error != 0)
		return error;
	/* A directory outside the root is reported without a leading slash. */
	if (syscall(SYS_getcwd, path, sizeof path) < 0)
		return errno;
	return path[0] == '/' ? 0 : ENOENT;
}

int op_death_signal(struct context *c, const struct wire_op *op)
{
	struct pollfd keeper = {.fd = report_socket()};

	(void)c;
	if (prctl(PR_SET_PDEATHSIG, (unsigned long)op->args[0].n) < 0)
		return errno;
	/* A keeper that died before sends no signal any more. */
	if (poll(&keeper, 1, 0) > 0 && (keeper.revents & (POLLHUP | POLLERR)) != 0)
		_exit(127);
	return 0;
}

int op_no_new_privs(struct context *c, const struct wire_op *op)
{
	(void)c;
	(void)op;
	return prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0 ? errno : 0;
}

int op_seccomp(struct context *c, const struct wire_op *op)
{
	struct k_sock_fprog program = {.len = (unsigned short)(op->args[1].n / 8), .filter = op->args[1].p};
	unsigned flags = (unsigned)op->args[0].n;
	long listener;
	int error;

	if (op->args[1].n == 0 || op->args[1].n % 8 != 0 || op->args[1].n / 8 > USHRT_MAX)
		return EINVAL;
	/* The filter may forbid what is left to tidy. */
	error = prepare_exec(c);
	if (error != 0)
		return error;
	listener = syscall(SYS_seccomp, K_SECCOMP_SET_MODE_FILTER, flags, &program);
	if (listener < 0)
		return errno;
	/* It stays open here until exec closes it: a call more could be one that waits for its reader. */
	if ((flags & K_SECCOMP_NEW_LISTENER) != 0)
		report_send(REPORT_LISTENER, c->index, 0, (int)listener);
	return 0;
}
