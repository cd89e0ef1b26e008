#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int k_openat2(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
	struct k_open_how how = {.flags = flags | O_CLOEXEC, .mode = 0, .resolve = resolve};

	return (int)syscall(K_NR_OPENAT2, dir, path, &how, sizeof how);
}

int k_open_tree(int dir, const char *path, unsigned flags)
{
	return (int)syscall(K_NR_OPEN_TREE, dir, path, flags | K_OPEN_TREE_CLOEXEC);
}

int k_move_mount(int from, int to)
{
	return (int)syscall(K_NR_MOVE_MOUNT, from, "", to, "", K_MOVE_MOUNT_F_EMPTY_PATH | K_MOVE_MOUNT_T_EMPTY_PATH);
}

int k_fsopen(const char *fstype)
{
	return (int)syscall(K_NR_FSOPEN, fstype, K_FSOPEN_CLOEXEC);
}

int k_fsconfig(int fs, unsigned command, const char *key, const char *value, int aux)
{
	return (int)syscall(K_NR_FSCONFIG, fs, command, key, value, aux);
}

int k_fsmount(int fs, unsigned attributes)
{
	return (int)syscall(K_NR_FSMOUNT, fs, K_FSMOUNT_CLOEXEC, attributes);
}

int k_mount_setattr(int fd, unsigned flags, const struct k_mount_attr *attr)
{
	return (int)syscall(K_NR_MOUNT_SETATTR, fd, "", flags | K_AT_EMPTY_PATH, attr, sizeof *attr);
}

int k_close_range(unsigned first, unsigned last, unsigned flags)
{
	return (int)syscall(K_NR_CLOSE_RANGE, first, last, flags);
}

long k_getdents(int fd, void *buffer, size_t size)
{
	return syscall(SYS_getdents64, fd, buffer, size);
}

int k_write_once(int fd, const void *data, size_t size)
{
	ssize_t n = write(fd, data, size);

	return n == (ssize_t)size ? 0 : n < 0 ? errno : EIO;
}

int k_exchange(int dir, const char *one, const char *other)
{
	return (int)syscall(SYS_renameat2, dir, one, dir, other, K_RENAME_EXCHANGE);
}

void k_reset_signals(void)
{
	/* The kernel's struct sigaction: SIG_DFL is 0, as is everything else. */
	static const unsigned long action[8];
	static const uint64_t mask;

	for (int number = 1; number <= 64; number++)
		syscall(SYS_rt_sigaction, number, action, NULL, sizeof mask);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
}

void k_small_pages(void)
{
	extern char __bss_start[], _end[];
	uintptr_t mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	uintptr_t start = ((uintptr_t)__bss_start + mask) & ~mask, end = (uintptr_t)_end & ~mask;

	/* A kernel without huge pages refuses, and gives none. */
	if (end > start)
		madvise((void *)start, end - start, MADV_NOHUGEPAGE);
}
