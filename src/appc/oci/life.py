"""`start`, `kill`, `delete`, `pause`, `resume`: what happens to a container after it was made."""

from __future__ import annotations

import os

from appc.errors import AppcError, HostError, PodNotFound, PodStateError
from appc.host import cgroup_container, cgroupfs
from appc.oci import container as containers
from appc.oci.container import CREATED, CREATING, PAUSED, RUNNING, START, STOPPED, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.oci.container import Container
    from appc.oci.main import Context
    from appc.oci.options import Args

_PATIENCE = 10.0  # seconds a killed process gets to be gone
# linux/un.h
_SOCK_SEQPACKET = 5
# native/report.h: kinds of packets, and four numbers in each
_FAIL, _PACKET = 1, 16


def start(args: Args, context: Context) -> int:
    """Let the process of a created container go on to its program."""
    container = find(context.root, args.words[0])
    status = container.status()
    if status != CREATED:
        raise PodStateError(f"cannot start a container that is {status}", container.name)
    failure = _release(container)
    if failure is not None:
        from appc.oci.failure import failed
        from appc.plan import wire
        from appc.plan.compile_container import CONTAINER

        raise failed(wire.decode(container.read("plan")), CONTAINER, *failure, container.name)
    config = container.config()
    if (config.get("hooks") or {}).get("poststart"):
        from appc.oci import hooks

        try:
            hooks.run("poststart", config, container.state(RUNNING))
        except HostError:
            # runtime.md, Lifecycle: an error, and the container is stopped.
            cgroupfs.kill(container.cgroups)
            raise
    return 0


def _release(container: Container) -> tuple[int, int] | None:
    """Say the word; return (op, errno) of what failed after it, None when the program runs."""
    import _socket

    directory = os.open(container.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = _socket.socket(_socket.AF_UNIX, _SOCK_SEQPACKET)
    try:
        try:
            # By the descriptor, since an address holds a path of a hundred bytes.
            connection.connect(f"/proc/self/fd/{directory}/{START}")
            connection.send(b"\1")
        except (ConnectionRefusedError, FileNotFoundError, BrokenPipeError):
            raise PodStateError("cannot start a container twice", container.name) from None
        while True:
            try:
                packet = connection.recv(_PACKET)
            except ConnectionResetError:
                packet = b""
            kind, index, number = (int.from_bytes(packet[at : at + 4], "little") for at in (0, 4, 8))
            if not packet or kind == _FAIL:
                break
    finally:
        connection.close()
        os.close(directory)
    try:
        os.unlink(container.file(START))
    except FileNotFoundError:
        pass  # deleted as soon as it ran
    return (index, number) if packet else None


def kill(args: Args, context: Context) -> int:
    """Send a signal to a container's process, or to all it has."""
    container = find(context.root, args.words[0])
    number = signal_number(args.words[1] if len(args.words) > 1 else "SIGTERM")
    if args.flag("all"):
        # What is left of a container whose first process has ended, too; nothing left is no fault.
        for path in container.cgroups:
            found = [pid for group in cgroupfs.tree(path) for pid in cgroupfs.processes(group)]
            for pid in found:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            if found:
                break
        return 0
    if not _send(container, number):
        raise PodStateError("container not running", container.name)
    if number == _signal_table()["KILL"] and container.status() == PAUSED:
        # A frozen process of cgroup v1 dies when it is thawed.
        cgroup_container.freeze(container.cgroups, False)
    return 0


def _send(container: Container, number: int) -> bool:
    """Signal the first process; False when it has ended. The descriptor makes sure that it is that one."""
    import _signal

    pid, _ = container.process()
    if not pid:
        return False
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not container.pid():
            return False
        _signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def signal_number(text: str) -> int:
    """Return the number of a signal given as 9, KILL, SIGKILL or sigkill; AppcError for what is none."""
    if text.isascii() and text.isdecimal():
        if 0 < int(text) <= 64:
            return int(text)
    else:
        name = text.upper().removeprefix("SIG")
        base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
        table = _signal_table()
        if base in table and not offset:
            return table[base]
        if base in ("RTMIN", "RTMAX") and offset.isdecimal():
            number = table[base] + (int(offset) if sign == "+" else -int(offset))
            if table["RTMIN"] <= number <= table["RTMAX"]:
                return number
    raise AppcError(f"unknown signal {text!r}", "kill")


def _signal_table() -> dict[str, int]:
    import _signal

    found = {name[3:]: value for name, value in vars(_signal).items() if name[:3] == "SIG" and name[3:4] != "_"}
    return {name: int(value) for name, value in found.items() if isinstance(value, int)}


def delete(args: Args, context: Context) -> int:
    """Remove a container that has stopped or was never started; with --force any, as if it had never been."""
    force = args.flag("force")
    try:
        container = find(context.root, args.words[0])
        container.lock(wait=not force)
    except (PodNotFound, FileNotFoundError):
        if force:
            return 0
        raise PodNotFound("container does not exist", args.words[0]) from None
    status = container.status()
    # One that was created and not started goes, too: engines count on it.
    if status not in (STOPPED, CREATED, CREATING) and not force:
        container.unlock()
        raise PodStateError(f"cannot delete container that is not stopped: {status}", container.name)
    take_away(container)
    return 0


def take_away(container: Container) -> None:
    """End what runs, remove the control groups, run the poststop hooks, forget the container, which is locked."""
    if container.status() == PAUSED:
        cgroup_container.freeze(container.cgroups, False)
    pid = container.pid()
    if pid:
        _kill_and_wait(container, pid)
    cgroupfs.kill(container.cgroups)
    if not cgroupfs.remove(group for path in container.cgroups for group in cgroupfs.tree(path)):
        raise HostError("its control groups cannot be removed: processes do not end", container.name)
    try:
        config = container.config()
    except FileNotFoundError:
        config = {}
    state = container.state(STOPPED)
    container.remove()
    container.unlock()
    if (config.get("hooks") or {}).get("poststop"):
        import sys

        from appc.oci import hooks

        try:
            hooks.run("poststop", config, state)
        except HostError as error:
            # runtime.md, Lifecycle: a warning, and the removal goes on.
            sys.stderr.write(f"appc-oci: warning: {error}\n")


def _kill_and_wait(container: Container, pid: int) -> None:
    from select import POLLIN, poll

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        _send(container, _signal_table()["KILL"])
        waiter = poll()
        waiter.register(fd, POLLIN)
        if not waiter.poll(_PATIENCE * 1000):
            raise HostError(f"its process {pid} does not end", container.name)
    finally:
        os.close(fd)


def pause(args: Args, context: Context) -> int:
    """Freeze a container."""
    container = find(context.root, args.words[0])
    status = container.status()
    if status not in (RUNNING, CREATED):
        raise PodStateError(f"cannot pause a container that is {status}", container.name)
    cgroup_container.freeze(container.cgroups, True)
    return 0


def resume(args: Args, context: Context) -> int:
    """Thaw a container."""
    container = find(context.root, args.words[0])
    if container.status() != PAUSED:
        raise PodStateError("container not paused", container.name)
    cgroup_container.freeze(container.cgroups, False)
    return 0


__all__ = ["containers", "delete", "kill", "pause", "resume", "signal_number", "start", "take_away"]
