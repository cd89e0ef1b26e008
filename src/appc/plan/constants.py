"""Numbers of the Linux ABI that plans carry, with the names a reader knows them by."""

from __future__ import annotations

# clone(2), setns(2), unshare(2)
CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# In place of a namespace: a process's root.
ROOT = 0

# OCI name → (flag, name below /proc/PID/ns)
NAMESPACES = {
    "cgroup": (CLONE_NEWCGROUP, "cgroup"),
    "ipc": (CLONE_NEWIPC, "ipc"),
    "mount": (CLONE_NEWNS, "mnt"),
    "network": (CLONE_NEWNET, "net"),
    "pid": (CLONE_NEWPID, "pid"),
    "time": (CLONE_NEWTIME, "time"),
    "user": (CLONE_NEWUSER, "user"),
    "uts": (CLONE_NEWUTS, "uts"),
}

# mount(2) propagation
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
PROPAGATION = {"unbindable": MS_UNBINDABLE, "private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED}

# mount_setattr(2)
ATTR_RDONLY = 0x1
ATTR_NOSUID = 0x2
ATTR_NODEV = 0x4
ATTR_NOEXEC = 0x8
ATTR_ATIME = 0x70  # the field, not a flag; 0 is relatime
ATTR_NOATIME = 0x10
ATTR_STRICTATIME = 0x20
ATTR_NODIRATIME = 0x80
ATTR_NOSYMFOLLOW = 0x200000
ATTRIBUTES = {
    "ro": ATTR_RDONLY,
    "nosuid": ATTR_NOSUID,
    "nodev": ATTR_NODEV,
    "noexec": ATTR_NOEXEC,
    "noatime": ATTR_NOATIME,
    "strictatime": ATTR_STRICTATIME,
    "nodiratime": ATTR_NODIRATIME,
    "nosymfollow": ATTR_NOSYMFOLLOW,
}

# mknod(2)
S_IFIFO = 0o10000
S_IFCHR = 0o20000
S_IFBLK = 0o60000
NODE_TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}

# getrlimit(2), as most architectures number them; the position is the number
RLIMITS = (
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
)

# seccomp(2)
SECCOMP_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0x1,
    "SECCOMP_FILTER_FLAG_LOG": 0x2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 0x4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0x20,
}
SECCOMP_NEW_LISTENER = 0x8

SIGKILL = 9

EPERM = 1
ENOENT = 2
EACCES = 13
EEXIST = 17
ENOTDIR = 20
EROFS = 30
ENOSYS = 38
ELOOP = 40
