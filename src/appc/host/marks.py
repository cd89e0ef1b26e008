"""Marks of sockets, by which what is received for an app is known (SO_MARK, socket(7)).

The sockets that are opened in a control group get its mark by a program there, and those that they accept have it from
them. Another program keeps the mark as it is: whoever has CAP_NET_RAW could set it. Both go with the group.
"""

from __future__ import annotations

import _socket
import errno
import os
import sys

from appc.host import cgroupfs
from appc.host.ebpf import (
    FIRST,
    JUMP_EQUAL_NUMBER,
    JUMP_NOT_ABOVE_NUMBER,
    JUMP_UNEQUAL_NUMBER,
    LOAD_WORD,
    MOVE_NUMBER,
    STORE_WORD,
    Program,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/bpf.h
_BPF_PROG_ATTACH = 8
_BPF_PROG_QUERY = 16
_BPF_PROG_TYPE_CGROUP_SOCK = 9
_BPF_PROG_TYPE_CGROUP_SOCKOPT = 25
_BPF_CGROUP_INET_SOCK_CREATE = 2
_BPF_CGROUP_SETSOCKOPT = 22
_BPF_F_ALLOW_MULTI = 2
# Where struct bpf_sock and struct bpf_sockopt have them.
_SOCK_PROTOCOL, _SOCK_MARK = 12, 16
_LEVEL, _NAME, _LENGTH = 24, 28, 32

# Its connections have sockets of the kernel's own, which have no mark.
_IPPROTO_MPTCP = 262
# Of longer values a program sees the beginning alone, and has to say that all of it counts.
_PAGE = 4096
_REFUSE, _ALLOW = 0, 1


def keep(group: str, mark: int) -> None:
    """Have all IP sockets of a group, a directory of the unified hierarchy, marked, and see that it stays so.

    Raises OSError. What was done before is not done again.
    """
    fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _is_attached(fd):
            return
        marker, guard = programs(mark)
        try:
            _attach(fd, marker, _BPF_CGROUP_INET_SOCK_CREATE)
            for one in _open_sockets(group):
                one.setsockopt(_socket.SOL_SOCKET, _socket.SO_MARK, mark)
            # The last, since it tells that all is done, and would be in the way.
            _attach(fd, guard, _BPF_CGROUP_SETSOCKOPT)
        finally:
            os.close(marker)
            os.close(guard)
    finally:
        os.close(fd)


def programs(mark: int) -> tuple[int, int]:
    """Load the programs that give sockets a mark and that keep it; return their descriptors. Raises OSError."""
    marker = Program()
    marker.put(LOAD_WORD, 2, FIRST, _SOCK_PROTOCOL)
    marker.put(JUMP_EQUAL_NUMBER, 2, offset="refuse", number=_IPPROTO_MPTCP)
    marker.put(MOVE_NUMBER, 2, number=mark)
    marker.put(STORE_WORD, FIRST, 2, _SOCK_MARK)
    _finish(marker)
    guard = Program()
    guard.put(LOAD_WORD, 2, FIRST, _LENGTH)
    guard.put(JUMP_NOT_ABOVE_NUMBER, 2, offset="short", number=_PAGE)
    guard.put(MOVE_NUMBER, 2, number=0)
    guard.put(STORE_WORD, FIRST, 2, _LENGTH)
    guard.place("short")
    guard.put(LOAD_WORD, 2, FIRST, _LEVEL)
    guard.put(JUMP_UNEQUAL_NUMBER, 2, offset="allow", number=_socket.SOL_SOCKET)
    guard.put(LOAD_WORD, 2, FIRST, _NAME)
    guard.put(JUMP_EQUAL_NUMBER, 2, offset="refuse", number=_socket.SO_MARK)
    _finish(guard)
    first = marker.load(_BPF_PROG_TYPE_CGROUP_SOCK, _BPF_CGROUP_INET_SOCK_CREATE)
    try:
        return first, guard.load(_BPF_PROG_TYPE_CGROUP_SOCKOPT, _BPF_CGROUP_SETSOCKOPT)
    except OSError:
        os.close(first)
        raise


def _finish(program: Program) -> None:
    program.place("allow")
    program.answer(_ALLOW)
    program.place("refuse")
    program.answer(_REFUSE)


def _attach(group: int, program: int, attachment: int) -> None:
    from appc.host import libc

    libc.bpf(_BPF_PROG_ATTACH, b"".join(map(_u32, (group, program, attachment, _BPF_F_ALLOW_MULTI))))


def _is_attached(group: int) -> bool:
    """Whether the group has its guard."""
    from appc.host import libc

    found = libc.buffer_of(bytes(4))
    places = libc.address_of(found).to_bytes(8, sys.byteorder)
    libc.bpf(_BPF_PROG_QUERY, b"".join(map(_u32, (group, _BPF_CGROUP_SETSOCKOPT, 0, 0))) + places + _u32(1) + bytes(4))
    return any(found.raw)


def _open_sockets(group: str) -> Iterator[_socket.socket]:
    """Yield duplicates of the IP sockets that processes in a group and below have open, each until the next one."""
    for path in cgroupfs.tree(group):
        for pid in cgroupfs.processes(path):
            try:
                process = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                for one in _sockets_of(pid, process):
                    try:
                        if one.family in (_socket.AF_INET, _socket.AF_INET6):
                            yield one
                    finally:
                        one.close()
            finally:
                os.close(process)


def _sockets_of(pid: int, process: int) -> Iterator[_socket.socket]:
    from appc.host import libc

    directory = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(directory):
            try:
                if os.readlink(f"{directory}/{name}").startswith("socket:"):
                    yield _socket.socket(fileno=libc.pidfd_getfd(process, int(name)))
            except OSError as error:
                # Closed meanwhile, or all of them by the end of the process.
                if error.errno not in (errno.ENOENT, errno.EBADF, errno.ESRCH):
                    raise
    except FileNotFoundError:
        return


def _u32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)
