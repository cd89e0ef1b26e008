"""Hooks that run when a container has been started or deleted; those that run while it is made are the keeper's."""

from __future__ import annotations

import os

from appc.errors import HostError
from appc.launch.spawn import SIGNALS
from appc.schema.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KILL = 9
_LAST_STREAM = 2


def run(kind: str, config: dict[str, Any], state: dict[str, Any]) -> None:
    """Run the hooks of `kind` in their order, with `state` on stdin. HostError for the first that fails."""
    for index, hook in enumerate((config.get("hooks") or {}).get(kind) or ()):
        _run(hook, dumps(state).encode(), f"hooks.{kind}[{index}]")


def run_all(kind: str, config: dict[str, Any], state: dict[str, Any]) -> list[HostError]:
    """Run the hooks of `kind` as `run` does, but each whatever becomes of those before it; return their failures."""
    failures = []
    for index, hook in enumerate((config.get("hooks") or {}).get(kind) or ()):
        try:
            _run(hook, dumps(state).encode(), f"hooks.{kind}[{index}]")
        except HostError as error:
            failures.append(error)
    return failures


def _run(hook: dict[str, Any], state: bytes, where: str) -> None:
    environment = dict(variable.split("=", 1) for variable in hook.get("env") or ())
    _keep_descriptors()
    # A file in memory, so that a hook that reads nothing holds up nobody.
    fd = os.memfd_create("state", os.MFD_CLOEXEC)
    try:
        os.write(fd, state)
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            pid = os.posix_spawn(
                hook["path"],
                list(hook.get("args") or [hook["path"]]),
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, 0), (os.POSIX_SPAWN_DUP2, 2, 1)],
                setsid=True,
                setsigmask=(),
                # Python ignores some of them, and whoever called may, as nohup does.
                setsigdef=SIGNALS,
            )
        except OSError as error:
            raise HostError(f"the hook {hook['path']} cannot be run: {error.strerror}", where) from error
    finally:
        os.close(fd)
    timeout = hook.get("timeout") or 0
    if timeout and not _ended(pid, timeout):
        os.killpg(pid, _KILL)
        os.waitpid(pid, 0)
        raise HostError(f"the hook {hook['path']} did not end in {timeout} s", where)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise HostError(f"the hook {hook['path']} failed: exit status {status}", where)


def _keep_descriptors() -> None:
    """Have what is executed get the standard streams alone: the caller waits for the end of some that it left open."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > _LAST_STREAM:
                os.set_inheritable(int(name), False)
        except OSError:
            continue  # the directory's own, which is closed by now


def _ended(pid: int, timeout: int) -> bool:
    """Wait for the end of a child; False when it takes longer than `timeout` seconds."""
    from select import POLLIN, poll

    fd = os.pidfd_open(pid)
    try:
        waiter = poll()
        waiter.register(fd, POLLIN)
        return bool(waiter.poll(min(timeout * 1000, 0x7FFFFFFF)))
    finally:
        os.close(fd)
