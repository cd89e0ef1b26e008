"""System calls Python does not offer, through ctypes; every failure is an OSError.

Importing this module costs some milliseconds (ctypes), so callers import it inside the function that
needs it. Never call it between fork and exec, nor inside a container.
"""

from __future__ import annotations

import ctypes
import os

from appc.errors import HostError

# sys/mount.h
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

# sched.h
CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# sys/prctl.h
PR_SET_PDEATHSIG = 1
PR_CAPBSET_READ = 23
PR_SET_NO_NEW_PRIVS = 38

# fcntl.h
AT_FDCWD = -100
_MAX_HANDLE_SZ = 128

# linux/fs.h
SYNC_FILE_RANGE_WRITE = 2

# linux/openat2.h
RESOLVE_NO_SYMLINKS = 0x4
RESOLVE_BENEATH = 0x8
RESOLVE_IN_ROOT = 0x10

# Since Linux 5.1 a new system call has the same number everywhere.
_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_OPENAT2 = 437
_NR_PIDFD_GETFD = 438
_NR_MOUNT_SETATTR = 442
_NR_BPF = {
    "x86_64": 321,
    "i386": 357,
    "i686": 357,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "armv7l": 386,
    "armv6l": 386,
    "ppc64le": 361,
    "ppc64": 361,
    "s390x": 351,
}

_NR_KEYCTL = {
    "x86_64": 250,
    "i386": 288,
    "i686": 288,
    "aarch64": 219,
    "riscv64": 219,
    "loongarch64": 219,
    "armv7l": 311,
    "armv6l": 311,
    "ppc64le": 271,
    "ppc64": 271,
    "s390x": 280,
}
_KEYCTL_JOIN_SESSION_KEYRING = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, *names: str | int) -> int:
    """Return `result`, or raise the OSError of errno, naming up to two files."""
    if result >= 0:
        return result
    number = ctypes.get_errno()
    text = os.strerror(number)
    first = names[0] if names else None
    if len(names) > 1:
        raise OSError(number, text, first, None, names[1])
    raise OSError(number, text, first)


def _bytes(path: str | bytes | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def mount(source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    words = (_bytes(source), _bytes(target), _bytes(fstype), ctypes.c_ulong(flags), _bytes(data))
    _check(_libc.mount(*words), target)


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2) with `flags` of MNT_* and UMOUNT_*."""
    _check(_libc.umount2(_bytes(target), flags), target)


def setns(fd: int, kind: int = 0) -> None:
    """setns(2): move this thread into the namespace behind `fd`; `kind` is a CLONE_NEW* to insist on."""
    _check(_libc.setns(fd, kind), fd)


def unshare(flags: int) -> None:
    """unshare(2) with CLONE_NEW* flags."""
    _check(_libc.unshare(flags))


def prctl(option: int, *arguments: int) -> int:
    """prctl(2) with whole-number arguments."""
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return _check(_libc.prctl(option, *padded))


def _syscall(number: int, *arguments: object) -> int:
    return int(_libc.syscall(ctypes.c_long(number), *arguments))


def open_tree(directory: int, path: str, flags: int) -> int:
    """open_tree(2): return an fd of the mount at `path`, a detached copy of it with OPEN_TREE_CLONE."""
    return _check(_syscall(_NR_OPEN_TREE, directory, _bytes(path), ctypes.c_uint(flags)), path)


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int) -> None:
    """move_mount(2): attach a detached mount, or move an attached one."""
    arguments = (from_fd, _bytes(from_path), to_fd, _bytes(to_path), ctypes.c_uint(flags))
    _check(_syscall(_NR_MOVE_MOUNT, *arguments), to_path)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_setattr(
    directory: int,
    path: str,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clear: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """mount_setattr(2): change MOUNT_ATTR_* of a mount, of all below it with AT_RECURSIVE."""
    attr = _MountAttr(attr_set, attr_clear, propagation, userns_fd)
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    arguments = (directory, _bytes(path), ctypes.c_uint(flags), ctypes.byref(attr), size)
    _check(_syscall(_NR_MOUNT_SETATTR, *arguments), path)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(directory: int, path: str, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): open with RESOLVE_* restrictions on how the path is walked."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    return _check(_syscall(_NR_OPENAT2, directory, _bytes(path), ctypes.byref(how), size), path)


def sync_file_range(fd: int, offset: int, size: int, flags: int) -> None:
    """sync_file_range(2) with SYNC_FILE_RANGE_*."""
    _check(_libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size), ctypes.c_uint(flags)), fd)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2): return a duplicate of a descriptor of another process."""
    return _check(_syscall(_NR_PIDFD_GETFD, pidfd, fd, ctypes.c_uint(0)))


class _FileHandle(ctypes.Structure):
    _fields_ = (
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_ubyte * _MAX_HANDLE_SZ),
    )


def name_to_handle_at(path: str) -> bytes:
    """name_to_handle_at(2): return what the file at `path` is known by in its file system."""
    handle = _FileHandle(_MAX_HANDLE_SZ)
    mount = ctypes.c_int()
    _check(_libc.name_to_handle_at(AT_FDCWD, _bytes(path), ctypes.byref(handle), ctypes.byref(mount), 0), path)
    return bytes(handle.f_handle[: handle.handle_bytes])


def bpf(command: int, attributes: bytes) -> int:
    """bpf(2): `attributes` is the packed union bpf_attr; any pointer in it must outlive the call."""
    machine = os.uname().machine
    number = _NR_BPF.get(machine)
    if number is None:
        raise HostError(f"the number of bpf(2) on {machine} is not known")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _check(_syscall(number, command, buffer, ctypes.c_uint(len(attributes))))


def join_session_keyring(name: str) -> None:
    """Take a new session keyring with that name in place of the one inherited (keyctl(2))."""
    machine = os.uname().machine
    number = _NR_KEYCTL.get(machine)
    if number is None:
        raise HostError(f"the number of keyctl(2) on {machine} is not known")
    _check(_syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, _bytes(name)), name)


def address_of(buffer: ctypes.Array[ctypes.c_char]) -> int:
    """Return the address of a buffer made by `buffer_of`, for a pointer field of `bpf`."""
    return ctypes.addressof(buffer)


def buffer_of(content: bytes) -> ctypes.Array[ctypes.c_char]:
    """Copy `content` to memory that the kernel may read or write."""
    return ctypes.create_string_buffer(content, len(content))
