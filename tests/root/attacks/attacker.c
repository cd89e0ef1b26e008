/* What a hostile app tries. Each action prints one line: its name and the errno it met, 0 when it got through. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *name, long result)
{
	printf("%s %d\n", name, result < 0 ? errno : 0);
	fflush(stdout);
}

/* System calls by number, where headers of old C libraries have none. */
enum { IO_URING_SETUP = 425, OPEN_TREE = 428, FSOPEN = 430, CLONE3 = 435 };

#ifdef __x86_64__
/* The same system calls by the doors of other architectures, which filters easily forget. */
static long old_door(long number, long first, long second)
{
	long result;

	__asm__ volatile("int $0x80"
	                 : "=a"(result)
	                 : "a"(number), "b"(first), "c"(second), "d"(0L)
	                 : "memory", "r8", "r9", "r10", "r11");
	if (result >= 0 || result < -4095)
		return result;
	errno = (int)-result;
	return -1;
}

static long narrow_door(long number, long first)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(syscall(0x40000000L | number, first) < 0 ? 1 : 0);
	waitpid(child, &status, 0);
	errno = ENOSYS;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}
#endif

static void calls(void)
{
	struct {
		unsigned long field[11];
	} clone_args = {{CLONE_NEWUSER, 0, 0, 0, SIGCHLD}};

	tell("unshare-user", unshare(CLONE_NEWUSER));
	tell("unshare-mount", unshare(CLONE_NEWNS));
	tell("clone-user", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	tell("clone3-user", syscall(CLONE3, &clone_args, sizeof clone_args));
	tell("mount", syscall(SYS_mount, "x", "/", "tmpfs", 0UL, NULL));
	tell("umount", syscall(SYS_umount2, "/proc/sys", 2));
	tell("fsopen", syscall(FSOPEN, "tmpfs", 0));
	tell("open_tree", syscall(OPEN_TREE, AT_FDCWD, "/", 1));
	tell("pivot_root", syscall(SYS_pivot_root, "/", "/"));
	tell("open_by_handle_at", syscall(SYS_open_by_handle_at, 0, NULL, 0));
	tell("keyctl", syscall(SYS_keyctl, 0, -3, 0));
	tell("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -2));
	tell("request_key", syscall(SYS_request_key, "user", "x", NULL, -2));
	tell("bpf", syscall(SYS_bpf, 0, NULL, 0));
	tell("perf_event_open", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
	tell("userfaultfd", syscall(SYS_userfaultfd, 1));
	tell("io_uring", syscall(IO_URING_SETUP, 8, NULL));
	tell("syslog", syscall(SYS_syslog, 3, NULL, 0));
	tell("swapon", syscall(SYS_swapon, "/x", 0));
	tell("kexec", syscall(SYS_kexec_load, 0, 0, NULL, 0));
	tell("socket-alg", socket(38, SOCK_SEQPACKET, 0));
	tell("socket-vsock", socket(40, SOCK_STREAM, 0));
	tell("steal-input", ioctl(0, TIOCSTI, "x"));
#ifdef __x86_64__
	tell("i386-unshare-user", old_door(310, CLONE_NEWUSER, 0));
	tell("i386-socket-alg", old_door(359, 38, SOCK_SEQPACKET));
	tell("i386-keyctl", old_door(288, 0, -3));
	tell("x32-unshare-user", narrow_door(SYS_unshare, CLONE_NEWUSER));
#endif
}

static void device(char kind, unsigned major, unsigned minor)
{
	mode_t type = kind == 'b' ? S_IFBLK : S_IFCHR;

	unlink("/device");
	if (mknod("/device", type | 0600, makedev(major, minor)) < 0) {
		tell("mknod", -1);
		return;
	}
	tell("read", open("/device", O_RDONLY));
	tell("write", open("/device", O_WRONLY));
}

/* FS_IOC_SETFLAGS with FS_IMMUTABLE_FL */
static long make_immutable(const char *path)
{
	int fd = open(path, O_RDONLY), flags = 0x10;

	return fd < 0 ? -1 : ioctl(fd, _IOW('f', 2, long), &flags);
}

int main(int argc, char **argv)
{
	const char *action = argc > 1 ? argv[1] : "";

	if (strcmp(action, "calls") == 0)
		calls();
	else if (strcmp(action, "device") == 0 && argc == 5)
		device(argv[2][0], (unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]));
	else if (strcmp(action, "immutable") == 0 && argc == 3)
		tell(argv[2], make_immutable(argv[2]));
	else if (strcmp(action, "read") == 0 || strcmp(action, "write") == 0)
		for (int i = 2; i < argc; i++)
			tell(argv[i], open(argv[i], action[0] == 'r' ? O_RDONLY : O_WRONLY));
	else if (strcmp(action, "signal-init") == 0)
		for (int number = 1; number <= 64; number++)
			kill(1, number);
	else
		return 2;
	return 0;
}
