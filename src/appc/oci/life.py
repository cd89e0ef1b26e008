"""`start`, `kill`, `delete`, `pause`, `resume`: what happens to a container after it was made."""

from __future__ import annotations

import os
from sys import byteorder

from appc.abi import signal_number
from appc.errors import HostError, PodNotFound, PodStateError, UsageError
from appc.host import cgroupfs, procs
from appc.oci.container import CREATED, CREATING, PAUSED, RUNNING, START, STOPPED, claim, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.oci.agent import Agent
    from appc.oci.container import Container
    from appc.oci.main import Context
    from appc.oci.options import Args

# native/front_main.c sets it for the Python that is to explain: index and errno of the op that failed after the start.
START_FAILED = "APPC_OCI_START_FAILED"
_SIGKILL = 9
_PATIENCE = 10.0  # seconds a killed process gets to be gone
# linux/un.h
_SOCK_SEQPACKET = 5
# native/report.h: kinds of packets, and four numbers in each
_FAIL, _PACKET = 1, 16
# A control message that carries one descriptor
_ONE_DESCRIPTOR, _MSG_CMSG_CLOEXEC = 24, 0x40000000


def start(args: Args, context: Context) -> int:
    """Let the process of a created container go on to its program."""
    container = find(context.root, args.words[0])
    config = container.config()
    failure = _failed_before()
    if failure is None:
        status = container.status()
        if status != CREATED:
            raise PodStateError(f"cannot start a container that is {status}", container.name)
        if not config.get("process"):
            raise PodStateError("cannot start a container without process", container.name)
        failure = _release(container, config)
    if failure is not None:
        from appc.oci.failure import failed
        from appc.plan import wire_read
        from appc.plan.compile_container import CONTAINER

        raise failed(wire_read.decode(container.read("plan")), CONTAINER, *failure, container.name)
    if (config.get("hooks") or {}).get("poststart"):
        from appc.oci import hooks

        try:
            hooks.run("poststart", config, container.state(RUNNING))
        except HostError:
            # runtime.md, Lifecycle: an error, and the container is stopped.
            cgroupfs.kill(container.cgroups)
            raise
    return 0


def _failed_before() -> tuple[int, int] | None:
    """Return (op, errno) of what failed when the native front started the container, None when it did not."""
    index, _, number = os.environ.pop(START_FAILED, "").partition(" ")
    return (int(index), int(number)) if index.isdecimal() and number.isdecimal() else None


def _release(container: Container, config: dict[str, Any]) -> tuple[int, int] | None:
    """Say the word; return (op, errno) of what failed after it, None when the program runs."""
    import _socket

    agent = _agent(config)
    directory = os.open(container.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = _socket.socket(_socket.AF_UNIX, _SOCK_SEQPACKET)
    try:
        try:
            # By the descriptor, since an address holds a path of a hundred bytes.
            connection.connect(f"/proc/self/fd/{directory}/{START}")
            connection.send(b"\1")
        except (ConnectionRefusedError, FileNotFoundError, BrokenPipeError):
            raise PodStateError("cannot start a container twice", container.name) from None
        packet = b""
        while True:
            try:
                packet, ancillary, _, _ = connection.recvmsg(_PACKET, _ONE_DESCRIPTOR, _MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                # Nobody took the word: another's was first, or the process is gone.
                state = "twice" if container.pid() else "that is stopped"
                raise PodStateError(f"cannot start a container {state}", container.name) from None
            kind, index, number = (int.from_bytes(packet[at : at + 4], "little") for at in (0, 4, 8))
            if ancillary:
                _hand_on(container, agent, int.from_bytes(ancillary[0][2], byteorder))
            if not packet or kind == _FAIL:
                break
    finally:
        connection.close()
        os.close(directory)
        if agent is not None:
            agent.close()
    try:
        os.unlink(container.file(START))
    except FileNotFoundError:
        pass  # deleted as soon as it ran
    return (index, number) if packet else None


def _agent(config: dict[str, Any]) -> Agent | None:
    """Return the connection to the agent of a container's filter, None when it has none."""
    section = config["linux"].get("seccomp") or {}
    if not section.get("listenerPath"):
        return None
    from appc.plan.compile_process import notifies

    if not notifies(section):
        return None
    from appc.oci.agent import Agent

    return Agent(section)


def _hand_on(container: Container, agent: Agent | None, listener: int) -> None:
    """Send the agent the listener; a container whose calls would wait for nobody is ended."""
    try:
        if agent is not None:
            agent.send(listener, container.state(RUNNING))
    except HostError:
        cgroupfs.kill(container.cgroups)
        raise
    finally:
        os.close(listener)


def kill(args: Args, context: Context) -> int:
    """Send a signal to a container's process, or to all it has."""
    container = find(context.root, args.words[0])
    try:
        number = signal_number(args.words[1] if len(args.words) > 1 else "TERM")
    except ValueError as error:
        raise UsageError(str(error), "kill") from None
    if args.flag("all"):
        _signal_all(container, number)
        return 0
    pid, started = container.process()
    if not container.pid() or not procs.send_signal(pid, started, number):
        raise PodStateError("container not running", container.name)
    if number == _SIGKILL and container.status() == PAUSED:
        # A frozen process of cgroup v1 dies when it is thawed.
        cgroupfs.freeze(container.cgroups, False)
    return 0


def _signal_all(container: Container, number: int) -> None:
    """Signal what is left of a container whose first process may have ended; that nothing is left is no fault."""
    if number == _SIGKILL:
        cgroupfs.kill(container.cgroups, patience=0)
        if cgroupfs.frozen(container.cgroups):
            cgroupfs.freeze(container.cgroups, False)
        # Until nothing is left: what a process made meanwhile was on no list.
        cgroupfs.kill(container.cgroups)
        return
    for path in container.cgroups:
        if sum(cgroupfs.signal(group, number) for group in cgroupfs.tree(path)):
            return


def delete(args: Args, context: Context) -> int:
    """Remove a container that has stopped or was never started; with --force any, as if it had never been."""
    force = args.flag("force")
    try:
        container = claim(context.root, args.words[0])
    except PodNotFound:
        if force:
            return 0
        raise
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
        cgroupfs.freeze(container.cgroups, False)
    if container.pid():
        _kill_and_wait(container)
    cgroupfs.kill(container.cgroups)
    if container.record.get("unit"):
        from appc.oci import scope

        scope.stop(container.record["unit"])
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

        for error in hooks.run_all("poststop", config, state):
            # runtime.md, Lifecycle: a warning, and the removal goes on.
            sys.stderr.write(f"appc-oci: warning: {error}\n")


def _kill_and_wait(container: Container) -> None:
    from select import POLLIN, poll

    fd = procs.open_pidfd(*container.process())
    if fd < 0:
        return
    try:
        procs.send_signal(*container.process(), _SIGKILL)
        waiter = poll()
        waiter.register(fd, POLLIN)
        if not waiter.poll(_PATIENCE * 1000):
            raise HostError("its process does not end", container.name)
    finally:
        os.close(fd)


def pause(args: Args, context: Context) -> int:
    """Freeze a container."""
    container = find(context.root, args.words[0])
    status = container.status()
    if status not in (RUNNING, CREATED):
        raise PodStateError(f"cannot pause a container that is {status}", container.name)
    cgroupfs.freeze(container.cgroups, True)
    return 0


def resume(args: Args, context: Context) -> int:
    """Thaw a container."""
    container = find(context.root, args.words[0])
    if container.status() != PAUSED:
        raise PodStateError("container not paused", container.name)
    cgroupfs.freeze(container.cgroups, False)
    return 0
