"""`checkpoint`: a container written down in a directory of image files, by CRIU."""

from __future__ import annotations

import os
import stat

from appc.errors import AppcError, HostError, PodStateError
from appc.host import criu, criu_wire, mounts
from appc.oci import container as containers
from appc.oci.criu_options import DUMP_LOG, dump_options, refuse
from appc.oci.external import dumped_mounts, mount_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.oci.container import Container
    from appc.oci.main import Context
    from appc.oci.options import Args

# The file in which runc, too, writes what the standard streams were.
STREAMS = "descriptors.json"
_DEFAULT = "checkpoint"  # the directory, in the current one
# Major numbers of terminals (Documentation/admin-guide/devices.txt), which CRIU knows itself.
_TERMINALS = frozenset((4, 5, *range(136, 144)))


def checkpoint(args: Args, context: Context) -> int:
    """Write a container to an image; unless it is left running, or is only prepared for, it is removed then."""
    container = containers.claim(context.root, args.words[0])
    try:
        _dump(container, args, context)
        stays = args.flag("leave-running") or args.flag("pre-dump")
        if not stays:
            from appc.oci.life import take_away

            take_away(container)
    finally:
        if container.lock_fd >= 0:
            container.unlock()
    return 0


def _dump(container: Container, args: Args, context: Context) -> None:
    status = container.status()
    if status not in (containers.RUNNING, containers.PAUSED):
        raise PodStateError(f"cannot checkpoint a container that is {status}", container.name)
    config = container.config()
    refuse(config)
    require(context.criu, "checkpoint")
    pid = container.pid()
    images, work = directories(args, make=True)
    _check_parent(args, images)
    streams = _streams(pid)
    options = dump_options(
        args,
        pid=pid,
        freezer=_freezer(container),
        mounts=dumped_mounts(config, pid),
        streams=[key for key in streams if key.startswith("file[")],
        namespaces=_joined(config, pid),
    )
    kind = criu_wire.PRE_DUMP if args.flag("pre-dump") else criu_wire.DUMP
    if kind == criu_wire.DUMP:
        _write_streams(images, streams)
    response = criu.call(kind, options, images=images, work=work, program=context.criu)
    if not response.success:
        raise failed("checkpoint", container.name, f"{work}/{DUMP_LOG}", response.message, context.criu)


def require(program: str, verb: str) -> None:
    """HostError unless CRIU is there."""
    if not criu.find(program):
        raise HostError(criu.obstacle(program), verb, "apt-get install criu")


def failed(verb: str, name: str, log: str, message: str, program: str) -> HostError:
    """Return the error for what CRIU did not do: that it works nowhere here, or the first error in its log."""
    obstacle = criu.obstacle(program)
    reason = obstacle or f"CRIU cannot {verb} it: {criu.first_error(log) or message or 'it does not say why'}"
    return HostError(reason, name, "" if obstacle else f"see {log}")


def directories(args: Args, *, make: bool) -> tuple[str, str]:
    """Return the directory of the image, and the one that CRIU's log goes to. AppcError when one is not there."""
    images = os.path.abspath(args.option("image-path") or _DEFAULT)
    work = os.path.abspath(args.option("work-path") or images)
    if make:
        try:
            os.mkdir(images, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise AppcError(f"cannot be made: {error.strerror}", f"--image-path {images}") from error
    for path, option in ((images, "--image-path"), (work, "--work-path")):
        if not os.path.isdir(path):
            raise AppcError("there is no such directory", f"{option} {path}")
    return images, work


def _check_parent(args: Args, images: str) -> None:
    parent = args.option("parent-path")
    if parent.startswith("/"):
        raise AppcError("is relative to the directory of the image", f"--parent-path {parent}")
    if parent and not os.path.isdir(f"{images}/{parent}"):
        raise AppcError("there is no such directory beside the image", f"--parent-path {parent}")


def _freezer(container: Container) -> str:
    """Return the group by which the container can be frozen, "" where there is none."""
    files = ("cgroup.freeze", "freezer.state")
    found = (path for path in container.cgroups if any(os.path.exists(f"{path}/{file}") for file in files))
    return next(found, "")


def _joined(config: dict[str, Any], pid: int) -> dict[str, int]:
    """Return the inodes of the namespaces that were joined by their path."""
    from appc.plan.constants import NAMESPACES

    kinds = [entry["type"] for entry in config["linux"].get("namespaces") or () if entry.get("path")]
    return {kind: os.stat(f"/proc/{pid}/ns/{NAMESPACES[kind][1]}").st_ino for kind in kinds}


def _streams(pid: int) -> list[str]:
    """Return what the standard streams are: `pipe:[INODE]`, `file[MOUNT:INODE]` for a file outside, else the path."""
    inside = {mount.id for mount in mounts.mounts(pid)}
    found = []
    for fd in range(3):
        path = f"/proc/{pid}/fd/{fd}"
        try:
            target, status = os.readlink(path), os.stat(path)
        except FileNotFoundError:
            found.append("")  # the container closed it
            continue
        mount = mount_id(fd, f"/proc/{pid}")
        is_terminal = stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in _TERMINALS
        if target.startswith("/") and mount not in inside and not is_terminal:
            target = f"file[{mount:x}:{status.st_ino:x}]"
        found.append(target)
    return found


def _write_streams(images: str, streams: list[str]) -> None:
    from appc.schema.json import dumps

    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(f"{images}/{STREAMS}", flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(dumps(streams).encode())
