/* Kernel interface that musl's headers lack or that differs between C libraries: names of ours
 * (K_…), values of the kernel's. System call numbers above 423 are the same on every
 * architecture built here (x86_64, aarch64). */
#ifndef APPC_KERNEL_H
#define APPC_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define K_NR_PIDFD_OPEN 434
#define K_NR_OPEN_TREE 428
#define K_NR_MOVE_MOUNT 429
#define K_NR_FSOPEN 430
#define K_NR_FSCONFIG 431
#define K_NR_FSMOUNT 432
#define K_NR_CLONE3 435
#define K_NR_CLOSE_RANGE 436
#define K_NR_OPENAT2 437
#define K_NR_MOUNT_SETATTR 442

#define K_AT_EMPTY_PATH 0x1000
#define K_AT_RECURSIVE 0x8000
#define K_OPEN_TREE_CLONE 1U
#define K_OPEN_TREE_CLOEXEC 02000000U
#define K_MOVE_MOUNT_F_EMPTY_PATH 0x04U
#define K_MOVE_MOUNT_T_EMPTY_PATH 0x40U
#define K_FSOPEN_CLOEXEC 1U
#define K_FSMOUNT_CLOEXEC 1U
#define K_FSCONFIG_SET_FLAG 0U
#define K_FSCONFIG_SET_STRING 1U
#define K_FSCONFIG_SET_FD 5U
#define K_FSCONFIG_CMD_CREATE 6U
#define K_MOUNT_ATTR_RDONLY 0x01U
#define K_MOUNT_ATTR_NOSUID 0x02U
#define K_MOUNT_ATTR_NODEV 0x04U
#define K_MOUNT_ATTR_NOEXEC 0x08U
#define K_MOUNT_ATTR_ATIME 0x70U
#define K_MOUNT_ATTR_IDMAP 0x00100000U
#define K_CLONE_NEWTIME 0x80
#define K_CLONE_INTO_CGROUP 0x200000000ULL
#define K_CLOSE_RANGE_CLOEXEC 4U
#define K_RENAME_EXCHANGE 2U

#define K_RESOLVE_NO_XDEV 0x01U
#define K_RESOLVE_NO_MAGICLINKS 0x02U
#define K_RESOLVE_NO_SYMLINKS 0x04U
#define K_RESOLVE_BENEATH 0x08U
#define K_RESOLVE_IN_ROOT 0x10U

struct k_open_how {
	uint64_t flags, mode, resolve;
};

struct k_clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

struct k_mount_attr {
	uint64_t set, clear, propagation, userns_fd;
};

#define K_PROC_MAGIC 0x9fa0
#define K_DEVPTS_MAGIC 0x1cd1
#define K_PIPEFS_MAGIC 0x50495045
#define K_PROC_ROOT_INO 1

#define K_TIOCGPTPEER 0x5441
#define K_NS_GET_USERNS 0xb701
#define K_NS_GET_NSTYPE 0xb703

#define K_SECCOMP_SET_MODE_FILTER 1U
#define K_SECCOMP_NEW_LISTENER 8U
#define K_KEYCTL_JOIN_SESSION_KEYRING 1

struct k_sock_fprog {
	unsigned short len;
	const void *filter;
};

#define K_BPF_PROG_LOAD 5
#define K_BPF_PROG_ATTACH 8
#define K_BPF_PROG_TYPE_CGROUP_DEVICE 15
#define K_BPF_CGROUP_DEVICE 6
#define K_BPF_F_ALLOW_MULTI 2U

struct k_bpf_load {
	uint32_t type, count;
	uint64_t instructions, licence, log[3];
};

struct k_bpf_attach {
	uint32_t group, program, type, flags;
};

#define K_CAPABILITY_VERSION_3 0x20080522U

struct k_cap_header {
	uint32_t version;
	int pid;
};

struct k_cap_data {
	uint32_t effective, permitted, inheritable;
};

/* rtnetlink, as far as adding an address needs it */
#define K_NETLINK_ROUTE 0
#define K_NLM_F_REQUEST 1U
#define K_NLM_F_ACK 4U
#define K_NLM_F_EXCL 0x200U
#define K_NLM_F_CREATE 0x400U
#define K_NLMSG_ERROR 2U
#define K_RTM_NEWLINK 16U
#define K_RTM_NEWADDR 20U
#define K_IFLA_IFNAME 3U
#define K_IFLA_NET_NS_FD 28U
#define K_IFA_ADDRESS 1U
#define K_IFA_LOCAL 2U

struct k_sockaddr_nl {
	uint16_t family, pad;
	uint32_t pid, groups;
};

struct k_nlmsghdr {
	uint32_t len;
	uint16_t type, flags;
	uint32_t seq, pid;
};

struct k_ifinfomsg {
	uint8_t family, pad;
	uint16_t type;
	int32_t index;
	uint32_t flags, change;
};

struct k_ifaddrmsg {
	uint8_t family, prefix, flags, scope;
	uint32_t index;
};

struct k_rtattr {
	uint16_t len, type;
};

struct k_dirent64 {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* Thin wrappers; -1 and errno as usual, where nothing else is said. */
int k_openat2(int dir, const char *path, uint64_t flags, uint64_t resolve);
int k_open_tree(int dir, const char *path, unsigned flags);
int k_move_mount(int from, int to);
int k_fsopen(const char *fstype);
int k_fsconfig(int fs, unsigned command, const char *key, const char *value, int aux);
int k_fsmount(int fs, unsigned attributes);
int k_mount_setattr(int fd, unsigned flags, const struct k_mount_attr *attr);
int k_close_range(unsigned first, unsigned last, unsigned flags); /* both ends included */
long k_getdents(int fd, void *buffer, size_t size);
int k_write_once(int fd, const void *data, size_t size); /* all of it in one write, or none; 0 or an errno */
int k_exchange(int dir, const char *one, const char *other); /* each gets the other's name, at one moment */

/* Default dispositions and an empty mask, for all signals: C libraries hide some of them. */
void k_reset_signals(void);

/* Has the kernel give the large static arrays (plans, tracks) small pages: of most of them a page or two is used, and a
 * huge one would weigh more than all else. */
void k_small_pages(void);

#endif
