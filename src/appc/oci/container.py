"""A container on disk: a directory of small files below the root, and the process they name.

`state.json` says what was asked for and is written once; `config.json` is the configuration as it was then; `plan` what
was performed; `status/_process` which process it became (the keeper writes it); `start` is the socket it awaits its
start at, gone once it was started; `front` tells what there is to know without Python. Whoever makes or removes a
container holds a lock on the directory.
"""

from __future__ import annotations

import errno
import fcntl
import os

from appc.errors import AppcError, PodNotFound, PodStateError
from appc.host import procs
from appc.host.cgroupfs import frozen
from appc.schema.json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"
START = "start"
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_LONGEST_ID = 255  # a file's name
_SECOND = 1_000_000_000  # ns


class Container:
    """One container. `record` is its state.json; `lock_fd` is held by who makes or removes it."""

    def __init__(self, root: str, name: str) -> None:
        self.name = check_id(name)
        self.path = f"{root}/{self.name}"
        self.lock_fd = -1
        self.record: dict[str, Any] = {}

    def file(self, name: str) -> str:
        """Return the path of a file of this container."""
        return f"{self.path}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole: readers see the old content or the new."""
        temporary = self.file(f".{name}.new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        os.rename(temporary, self.file(name))

    def write_json(self, name: str, value: Any) -> None:
        """Write `value` as JSON."""
        self.write(name, dumps(value).encode())

    def read(self, name: str) -> bytes:
        """Read a file whole; FileNotFoundError when there is none."""
        with open(self.file(name), "rb", buffering=0) as stream:
            return stream.read() or b""

    def config(self) -> dict[str, Any]:
        """Return the configuration the container was made from."""
        config: dict[str, Any] = loads(self.read("config.json"))
        return config

    @property
    def cgroups(self) -> list[str]:
        """The directories of its control groups."""
        groups: list[str] = self.record.get("cgroups", [])
        return groups

    def process(self) -> tuple[int, int]:
        """Return (pid, start time) of its first process as recorded, (0, 0) when there never was one."""
        try:
            text = self.read("status/_process").decode()
        except FileNotFoundError:
            return 0, 0
        fields = dict(line.split("=", 1) for line in text.splitlines())
        return int(fields["pid"]), int(fields["starttime"])

    def pid(self) -> int:
        """Return the pid of its first process, 0 when that has ended: a pid used again has another start time."""
        pid, started = self.process()
        if not pid or self.record.get("boot") != boot_id():
            return 0
        return pid if procs.is_alive(pid, started) else 0

    def status(self) -> str:
        """Return the status of the runtime-spec, or `paused`."""
        if not self.pid():
            return CREATING if not self.process()[0] and self._held() else STOPPED
        if frozen(self.cgroups):
            return PAUSED
        return CREATED if os.path.lexists(self.file(START)) else RUNNING

    def state(self, status: str = "") -> dict[str, Any]:
        """Return the state as the runtime-spec has it (runtime.md, State), for hooks and callers."""
        # Of one that is told to run, the number is known, even if it has ended meanwhile.
        pid = self.process()[0] if status == RUNNING else self.pid()
        status = status or self.status()
        state = {
            "ociVersion": self.record["ociVersion"],
            "id": self.name,
            "pid": 0 if status == STOPPED else pid,
            "status": status,
            "bundle": self.record["bundle"],
        }
        if self.record.get("annotations"):
            state["annotations"] = self.record["annotations"]
        return state

    def described(self, status: str = "") -> dict[str, Any]:
        """Return the state with what engines expect besides."""
        described = self.state(status)
        described.update(rootfs=self.record.get("rootfs", ""), created=_timestamp(self.record.get("created", 0)))
        described["owner"] = ""
        return described

    def lock(self) -> None:
        """Take the lock of who changes it, when it is free. FileNotFoundError when it was removed meanwhile."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # The name may by now be that of another container, or of none.
            if not os.path.samestat(os.fstat(fd), os.stat(self.path)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        except BaseException:
            os.close(fd)
            raise
        self.lock_fd = fd

    def unlock(self) -> None:
        """Give the lock back."""
        os.close(self.lock_fd)
        self.lock_fd = -1

    def remove(self) -> None:
        """Remove the directory; what is found missing was removed by another."""
        for directory in (self.file("status"), self.path):
            try:
                with os.scandir(directory) as entries:
                    files = [entry.path for entry in entries if not entry.is_dir(follow_symlinks=False)]
                for file in files:
                    os.unlink(file)
                os.rmdir(directory)
            except FileNotFoundError:
                continue

    def _held(self) -> bool:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False


def check_id(name: str) -> str:
    """Return a container's ID; AppcError for one that is not a plain name."""
    if not name or name in (".", "..") or not set(name) <= _ID_CHARACTERS or len(name) > _LONGEST_ID:
        raise AppcError("invalid container id: letters, digits and _+-. make one", repr(name))
    return name


def _timestamp(nanoseconds: int) -> str:
    """Return a time since the epoch as RFC 3339 has it."""
    from time import gmtime, strftime

    seconds, rest = divmod(nanoseconds, _SECOND)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{rest:09d}Z"


def create(root: str, name: str) -> Container:
    """Make the directory of a new container and lock it. AppcError when there is one of that name."""
    container = Container(root, name)
    if not os.path.isdir(root):
        _make_root(root)
    try:
        os.mkdir(container.path, 0o700)
    except FileExistsError:
        raise PodStateError("container with given ID already exists", name) from None
    container.lock()
    return container


def _make_root(root: str) -> None:
    """Make the directory of states; nobody else may write to what leads there, whatever the caller's mask lets."""
    mask = os.umask(0o022)
    try:
        os.makedirs(root, 0o700, exist_ok=True)
    finally:
        os.umask(mask)


def find(root: str, name: str) -> Container:
    """Return the container of that name. PodNotFound when there is none."""
    container = Container(root, name)
    try:
        container.record = loads(container.read("state.json"))
    except FileNotFoundError:
        if not os.path.isdir(container.path):
            raise PodNotFound("container does not exist", name) from None
        # Whoever was making it was killed: nothing but the name is known.
        container.record = {"ociVersion": "1.0.0", "bundle": ""}
    return container


def claim(root: str, name: str) -> Container:
    """Return the container of that name, locked. PodNotFound when there is none."""
    container = Container(root, name)
    try:
        container.lock()
    except FileNotFoundError:
        raise PodNotFound("container does not exist", name) from None
    container.record = find(root, name).record
    return container


def every(root: str) -> list[Container]:
    """Return all containers below `root`, by name."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(find(root, name))
        except (AppcError, NotADirectoryError):
            continue  # removed meanwhile, or nothing of ours
    return found


def boot_id() -> str:
    """Return what names this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        return (file.read() or b"").decode().strip()
