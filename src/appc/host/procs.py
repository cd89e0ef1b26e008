"""Processes named so that a reused number is never mistaken for the old process."""

from __future__ import annotations

import errno
import os

from appc.errors import HostError


def start_time(pid: int, proc: str = "/proc") -> int:
    """Return when `pid` started, in clock ticks since boot (field 22 of proc_pid_stat(5)), 0 when it does not run.

    A zombie counts as gone: nothing runs any more.
    """
    try:
        fd = os.open(f"{proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        text = os.read(fd, 4096)
    except OSError:
        return 0
    finally:
        os.close(fd)
    # The name, in parentheses, may itself hold spaces and parentheses.
    fields = text[text.rfind(b")") + 2 :].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Tell whether the process that had `pid` and began at `started` still runs."""
    return started > 0 and start_time(pid) == started


def open_pidfd(pid: int, started: int) -> int:
    """Return a pidfd of exactly that process, -1 when it has ended."""
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return -1
        raise HostError(f"process {pid} cannot be opened: {error.strerror}") from error
    # The fd holds on to whoever has the number now; that it is the right one can be asked only afterwards.
    if not is_alive(pid, started):
        os.close(fd)
        return -1
    return fd


def send_signal(pid: int, started: int, signal: int) -> bool:
    """Send a signal to exactly that process; False when it has ended."""
    from _signal import pidfd_send_signal  # type: ignore[import-not-found]  # the module signal costs 3 ms

    fd = open_pidfd(pid, started)
    if fd < 0:
        return False
    try:
        pidfd_send_signal(fd, signal)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise HostError(f"process {pid} cannot be signalled: {error.strerror}") from error
    finally:
        os.close(fd)
    return True


def pss(pid: int, proc: str = "/proc") -> int:
    """Return the memory that `pid` takes, in bytes, shared pages counted in proportion; 0 when it has ended."""
    try:
        with open(f"{proc}/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    except OSError as error:
        raise HostError(f"the memory of process {pid} cannot be read: {error.strerror}") from error
    return 0


def mount_namespace(pid: int) -> str:
    """Return what tells the mount namespace of a process, one for each app; "" when the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""
