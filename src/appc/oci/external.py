"""What a container has from outside, which CRIU must be told of when it is written down and given when it comes back.

These are bind mounts, with what is mounted below them on the host, and the host's device nodes that are mounted over
paths to mask them. CRIU knows each by a key: the mount's destination in config.json (and what follows it), or the
number of the device; so the keys of a container can be made again from its configuration, wherever it is restored.
"""

from __future__ import annotations

import os
import stat

from appc.errors import AppcError
from appc.host import libc, mounts
from appc.plan.compile_mounts import below, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from appc.host.mounts import Mount

# Nodes of the host that containers are given, or masked with.
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_BINDS = ("bind", "rbind")


def is_bind(mount: Mapping[str, Any]) -> bool:
    """Tell whether an entry of `mounts` is a bind mount."""
    return mount.get("type") == "bind" or any(option in _BINDS for option in mount.get("options") or ())


def dumped_mounts(config: Mapping[str, Any], pid: int) -> list[tuple[str, str]]:
    """Return (mount point, key) of what is mounted from outside in the mount namespace of the container's process."""
    table = mounts.mounts(pid)
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _Outside(table, root).find(config)
    finally:
        os.close(root)


def restored_mounts(config: Mapping[str, Any], bundle: str) -> list[tuple[str, str]]:
    """Return (key, path on the host) of everything that `dumped_mounts` may have named for this configuration."""
    found: dict[str, str] = {}
    table = mounts.mounts()
    for index, mount in enumerate(config.get("mounts") or ()):
        if not is_bind(mount):
            continue
        key = clean(mount["destination"], f"mounts[{index}].destination")
        source = os.path.realpath(os.path.join(bundle, mount.get("source") or ""))
        found[key] = source
        found.update((key + one.path[len(source) :], one.path) for one in mounts.below(source, table))
    nodes = [*_DEVICES, *(device["path"] for device in (config.get("linux") or {}).get("devices") or ())]
    for path in dict.fromkeys(nodes):
        try:
            key = _device(os.stat(path))
        except OSError:
            continue  # a device that only containers have
        if key:
            found.setdefault(key, path)
    return list(found.items())


def make_mount_points(config: Mapping[str, Any], bundle: str, rootfs: str) -> None:
    """Make in the root what will be mounted on, where it is missing: a root may come from elsewhere than the image.

    What lies below another mount is there, since CRIU brings back what that holds.
    """
    listed = [
        (clean(mount["destination"], f"mounts[{index}].destination"), mount, f"mounts[{index}].destination")
        for index, mount in enumerate(config.get("mounts") or ())
    ]
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path, mount, field in listed:
            if any(below(path, other) for other, *_ in listed):
                continue
            source = os.path.join(bundle, mount.get("source") or "")
            try:
                _make(root, path, is_bind(mount) and os.path.exists(source) and not os.path.isdir(source))
            except OSError as error:
                raise AppcError(f"{path} cannot be made in the root: {error.strerror}", field) from error
    finally:
        os.close(root)


def _make(root: int, path: str, is_file: bool) -> None:
    parts = path.strip("/").split("/")
    for count, name in enumerate(parts, 1):
        try:
            os.close(_open(root, "/".join(parts[:count])))
            continue
        except FileNotFoundError:
            pass
        above = _open(root, "/".join(parts[: count - 1]), os.O_DIRECTORY)
        try:
            if is_file and count == len(parts):
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=above))
            else:
                os.mkdir(name, 0o755, dir_fd=above)
        finally:
            os.close(above)


def _open(root: int, path: str, flags: int = 0) -> int:
    return libc.openat2(root, path.strip("/") or ".", os.O_PATH | flags, resolve=libc.RESOLVE_IN_ROOT)


def _device(status: os.stat_result) -> str:
    """Return the key of a device node, "" for another file."""
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    return f"device {kind} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if kind else ""


class _Outside:
    """Tells the mounts of a container that show something from outside from those whose file system it has."""

    def __init__(self, table: list[Mount], root: int) -> None:
        self._table = table
        self._root = root

    def find(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (mount point, key)."""
        found: dict[int, tuple[str, str]] = {}
        own = set()
        for index, mount in enumerate(config.get("mounts") or ()):
            key = clean(mount["destination"], f"mounts[{index}].destination")
            at = self._mounted_at(key)
            if at is None:
                continue  # the container has unmounted it
            if is_bind(mount):
                found[at.id] = (at.path, key)
            else:
                own.add(at.id)
        for mount in self._table:
            if mount.id in found or mount.id in own or self._is_shown(mount, found):
                continue
            if mount.parent in found:
                path, key = found[mount.parent]
                found[mount.id] = (mount.path, key + mount.path[len(path) :])
                continue
            key = self._node(mount)
            if key:
                found[mount.id] = (mount.path, key)
        return list(found.values())

    def _mounted_at(self, path: str) -> Mount | None:
        """Return the mount that `path` lies on."""
        try:
            fd = _open(self._root, path)
        except OSError:
            return None
        try:
            number = mount_id(fd)
        finally:
            os.close(fd)
        return next((mount for mount in self._table if mount.id == number and mount.path != "/"), None)

    def _is_shown(self, mount: Mount, found: Mapping[int, object]) -> bool:
        """Tell whether a mount shows a part of what another one of the container's own shows."""
        return any(
            other.id != mount.id and other.id not in found and other.device == mount.device and _holds(other, mount)
            for other in self._table
        )

    def _node(self, mount: Mount) -> str:
        try:
            fd = _open(self._root, mount.path)
        except OSError:
            return ""
        try:
            return _device(os.fstat(fd)) if mount_id(fd) == mount.id else ""
        finally:
            os.close(fd)


def _holds(other: Mount, mount: Mount) -> bool:
    """Tell whether the part of a file system that `other` shows holds that of `mount`, and more."""
    return other.root != mount.root and below(mount.root, other.root)


def mount_id(fd: int | str, proc: str = "/proc/self") -> int:
    """Return the ID of the mount that a descriptor of a process lies on."""
    return int(dict(_fields(f"{proc}/fdinfo/{fd}"))["mnt_id"])


def _fields(path: str) -> Iterator[tuple[str, str]]:
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            yield name, value.strip()
