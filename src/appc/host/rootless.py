"""An ordinary user's user namespace: there this process is root, over what the user may have on this machine.

Users of the namespace are, from 0: the user, then those that /etc/subuid and /etc/subgid give the user, which
newuidmap(1) and newgidmap(1) let it have. Without these there is the user alone.
"""

from __future__ import annotations

import os

from appc.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_HELPERS = ("newuidmap", "newgidmap")
_FILES = ("/etc/subuid", "/etc/subgid")
_PATH = ("/usr/bin", "/bin", "/usr/local/bin")
_HINT = "run it as root, or allow user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone"


def enter() -> bool:
    """Move this process into a new user namespace, and its mounts into a namespace there, as root.

    Returns whether it has other users than its own. HostError when it cannot be had. The process must have one thread.
    """
    from appc.host import libc

    uid, gid = os.geteuid(), os.getegid()
    helpers = [_helper(name) for name in _HELPERS]
    ranges = [_ranges(file, uid) for file in _FILES]
    several = all(helpers) and all(ranges)
    if several:
        commands = [_command(*one) for one in zip(helpers, (uid, gid), ranges, strict=True)]
    else:
        commands = []
    mapper, done = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(done)
        _map(mapper, parent, uid, gid, commands)
    os.close(mapper)
    try:
        libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS)
        os.write(done, b"x")
    except OSError as error:
        raise HostError(f"no user namespace can be made: {error.strerror}", "as an ordinary user", _HINT) from None
    finally:
        os.close(done)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        what = "newuidmap or newgidmap failed" if several else "the kernel refused the map of users"
        raise HostError(what, "as an ordinary user", "see /etc/subuid and /etc/subgid")
    _become_root(several)
    return several


def possible() -> bool:
    """Whether a user namespace can be made here."""
    from appc.host import libc

    child = os.fork()
    if child == 0:
        status = 1
        try:
            libc.unshare(libc.CLONE_NEWUSER)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def several() -> bool:
    """Whether this user's namespaces can have other users than its own."""
    return all(_helper(name) for name in _HELPERS) and all(_ranges(file, os.geteuid()) for file in _FILES)


def join(pid: int) -> None:
    """Move this process into the user namespace of another of the user's, as root, with mounts of its own.

    HostError when that is gone or somebody else's.
    """
    from appc.host import libc

    try:
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc.setns(fd, libc.CLONE_NEWUSER)
        finally:
            os.close(fd)
        libc.unshare(libc.CLONE_NEWNS)
    except OSError as error:
        raise HostError(f"its user namespace cannot be joined: {error.strerror}", f"process {pid}") from None
    with open("/proc/self/setgroups", encoding="ascii") as file:
        _become_root(file.read().strip() == "allow")


def _become_root(groups: bool) -> None:
    if groups:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _map(started: int, pid: int, uid: int, gid: int, commands: list[list[str]]) -> NoReturn:
    """Write the maps of `pid`, which has its namespace when `started` says so: who is outside may have them written."""
    status = 1
    try:
        if os.read(started, 1):
            if commands:
                status = max(os.spawnv(os.P_WAIT, words[0], [*words[:1], str(pid), *words[1:]]) for words in commands)
            else:
                for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                    with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
                        file.write(text)
                status = 0
    except OSError:
        pass
    finally:
        os._exit(1 if status else 0)


def _helper(name: str) -> str:
    return next((f"{place}/{name}" for place in _PATH if os.access(f"{place}/{name}", os.X_OK)), "")


def _command(helper: str, own: int, ranges: list[tuple[int, int]]) -> list[str]:
    """Return the command that maps 0 to the user's own ID and the following to its `ranges`, but for its PID."""
    words = [helper, "0", str(own), "1"]
    inside = 1
    for start, count in ranges:
        words += [str(inside), str(start), str(count)]
        inside += count
    return words


def _ranges(path: str, uid: int) -> list[tuple[int, int]]:
    """Return what a file gives to a user, who is named there or numbered (subuid(5))."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return []
    names = {str(uid)}
    try:
        import pwd

        names.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass
    return [
        (int(start), int(count))
        for owner, start, count in (fields for fields in lines if len(fields) == 3)
        if owner in names and start.isdecimal() and count.isdecimal() and int(count)
    ]
