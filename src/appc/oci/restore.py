"""`restore`: a container brought back by CRIU from the image that `checkpoint` wrote."""

from __future__ import annotations

import errno
import os

from appc.errors import AppcError, HostError, Unenforceable, UsageError
from appc.host import criu, criu_wire, libc, procs
from appc.host.device_program import attach
from appc.oci import container as containers
from appc.oci import hooks
from appc.oci.checkpoint import STREAMS, directories, failed, require
from appc.oci.criu_options import RESTORE_LOG, group_roots, handed, outside, refuse, restore_options, stream_key
from appc.oci.external import make_mount_points, restored_mounts
from appc.oci.make import Making
from appc.oci.running import wait
from appc.plan.compile_common import refuse_unsupported
from appc.plan.compile_keeper import HOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.host.probe import HostFacts
    from appc.oci.main import Context
    from appc.oci.options import Args

_INVENTORY = "inventory.img"  # what every image of CRIU's has
_MOST_STREAMS = 1 << 16  # bytes of the file
_MS_BIND = 4096
_BY_SIGNAL = 128


def restore(args: Args, context: Context) -> int:
    """Bring a container back; return its status when it has ended, unless it is detached."""
    detached = args.flag("detach")
    restoring = _Restoring(args, context, detached=detached)
    pid = restoring.make()
    if detached:
        return 0
    status = wait(pid)
    from appc.oci.life import take_away

    take_away(containers.claim(context.root, args.words[0]))
    return status if status >= 0 else _BY_SIGNAL - status


class _Restoring(Making):
    """One container on its way back: recorded and given its control groups as a new one, then CRIU's."""

    def __init__(self, args: Args, context: Context, *, detached: bool) -> None:
        super().__init__(args, context, detached=detached, awaits_start=False)
        self._program = context.criu
        self._groups: list[tuple[str, str]] = []
        refuse_unsupported(self.config, HOOKS)
        refuse(self.config)
        terminal = (self.config.get("process") or {}).get("terminal")
        if terminal and not detached:
            raise UsageError("a container with a terminal is restored with --detach and --console-socket", "restore")
        require(self._program, "restore")

    def _bring_up(self, facts: HostFacts) -> int:
        images, work = directories(self._args, make=False)
        streams = _streams(images)
        for group, code in self._device_filters:
            attach(group, code)
        rootfs = self.container.record["rootfs"]
        make_mount_points(self.config, self.bundle, rootfs)
        self._groups = group_roots(self.container.cgroups, facts)
        namespaces = self._namespaces()
        options = restore_options(
            self._args,
            root=rootfs,
            mounts=restored_mounts(self.config, self.bundle),
            streams=streams,
            namespaces=namespaces,
            cgroups=self._groups,
        )
        joined: list[int] = []
        try:
            for kind in outside(namespaces):
                joined.append(_namespace(namespaces[kind]))
            response = criu.call(
                criu_wire.RESTORE,
                options,
                images=images,
                work=work,
                program=self._program,
                descriptors=[*handed(streams), *joined],
                prepare=self._prepare,
                notify=self._notify,
            )
        finally:
            for fd in joined:
                os.close(fd)
        if not response.success:
            raise failed("restore", self.container.name, f"{work}/{RESTORE_LOG}", response.message, self._program)
        self._write_process(response.pid)
        return response.pid

    def _namespaces(self) -> dict[str, str]:
        entries = self.config["linux"].get("namespaces") or ()
        return {entry["type"]: entry["path"] for entry in entries if entry.get("path")}

    def _prepare(self) -> None:
        """Give CRIU what it wants of its surroundings: a root that is a mount, in a namespace that goes with it."""
        rootfs = self.container.record["rootfs"]
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_SLAVE)
        libc.mount(rootfs, rootfs, None, _MS_BIND | libc.MS_REC)
        libc.mount(None, rootfs, None, libc.MS_REC | libc.MS_PRIVATE)
        if (self.config.get("process") or {}).get("noNewPrivileges"):
            # Which CRIU restores since 3.19; what it forks has it as it has.
            libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        if self._args.flag("no-new-keyring"):
            return
        try:
            # What is restored inherits it.
            libc.join_session_keyring(f"_ses.{self.container.name}")
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise

    def _notify(self, script: str, pid: int, fds: list[int]) -> None:
        if script == "setup-namespaces":
            state = {**self.container.state(containers.CREATING), "pid": pid}
            for kind in ("prestart", "createRuntime"):
                hooks.run(kind, self.config, state)
        elif script == "post-restore":
            check_groups(pid, self._groups, self.config, self.container.name)
        elif script == "orphan-pts-master" and fds and self._handles.console:
            _send(self._handles.console, fds[0])

    def _write_process(self, pid: int) -> None:
        from time import time_ns

        os.mkdir(self.container.file("status"), 0o700)
        lines = {"pid": pid, "starttime": procs.start_time(pid), "created": time_ns()}
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        _write(self.container.file("status/_process"), text, 0o600)
        if self._handles.pid_file:
            _write(self._handles.pid_file, str(pid), 0o644)


def check_groups(pid: int, groups: list[tuple[str, str]], config: dict[str, Any], name: str) -> None:
    """HostError when a restored process, which does not run yet, is not where its limits hold: an image may say so.

    `groups` are (controller, path) as /proc/PID/cgroup has them.
    """
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    places = {controller: path for _, controllers, path in lines for controller in controllers.split(",")}
    for controller, path in groups:
        if not f"{places.get(controller, '')}/".startswith(path.rstrip("/") + "/"):
            raise HostError("the image does not restore it to its control groups", name)
    entries = (config.get("linux") or {}).get("namespaces") or ()
    own = any(entry["type"] == "cgroup" for entry in entries)
    if own and os.readlink(f"/proc/{pid}/ns/cgroup") == os.readlink("/proc/self/ns/cgroup"):
        raise HostError("the image does not restore its control group namespace", name)


def _write(path: str, text: str, mode: int) -> None:
    """Write a file that is whole when it is there."""
    place, name = os.path.split(path)
    temporary = f"{place}/.{name}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
    os.rename(temporary, path)


def _streams(images: str) -> list[str]:
    """Return the keys of the standard streams that the caller's own are put in the place of."""
    from appc.schema.json import loads

    if not os.path.exists(f"{images}/{_INVENTORY}"):
        raise AppcError(f"holds no image of a container: {_INVENTORY} is missing", images)
    path = f"{images}/{STREAMS}"
    try:
        with open(path, "rb") as file:
            found = loads(file.read(_MOST_STREAMS))
    except OSError as error:
        raise AppcError(f"cannot be read: {error.strerror}", path) from error
    if not isinstance(found, list):
        raise AppcError("is not a list of the standard streams", path)
    return [stream_key(entry) for entry in found[:3]]


def _namespace(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Unenforceable(f"cannot be joined: {error.strerror}", f"linux.namespaces: {path}") from error


def _send(path: str, terminal: int) -> None:
    """Send the master's side of the container's terminal to its console socket, as `create` does."""
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"/dev/ptmx"], [terminal])
