"""The kernel takes the programs and real processes feel them."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appc.host import libc
from appc.host.probe import facts
from appc.host.seccomp import filter_bytes
from capabilities import need

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def status_under(section: dict[str, Any], cache: Path, body: Callable[[], int]) -> int:
    """Run `body` in a process under the filter; return its exit status, negative for a signal."""
    need("seccomp", "libseccomp")
    code = filter_bytes(section, str(cache), facts().machine)
    program = Program(len(code) // 8, code)
    pid = os.fork()
    if pid == 0:
        try:
            libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
            libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))
            os._exit(body())
        except OSError as error:
            os._exit(error.errno or 255)
        except BaseException:
            os._exit(254)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def use_socket() -> int:
    socket.socket(socket.AF_UNIX).close()
    return 0


def test_a_refused_call_fails_with_its_errno(sandbox: Path) -> None:
    rule = {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}
    assert status_under({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, sandbox, use_socket) == errno.EXDEV


def test_a_deadly_call_kills(sandbox: Path) -> None:
    rule = {"names": ["socket"], "action": "SCMP_ACT_KILL_PROCESS"}
    assert status_under({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, sandbox, use_socket) == -signal.SIGSYS


def test_arguments_decide(sandbox: Path) -> None:
    """Only AF_UNIX sockets, by the first argument."""
    unix = {"index": 0, "op": "SCMP_CMP_EQ", "value": socket.AF_UNIX}
    rules = [
        {
            "names": ["socket"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": errno.EXDEV,
            "args": [{**unix, "op": "SCMP_CMP_NE"}],
        }
    ]
    section = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    assert status_under(section, sandbox, use_socket) == 0

    def use_internet() -> int:
        socket.socket(socket.AF_INET).close()
        return 0

    assert status_under(section, sandbox, use_internet) == errno.EXDEV
