"""Where pods lie on disk, and the two facts that make their state: the phase and the lock.

A pod is a directory `<root>/pods/<phase>/<uuid>/`. Its phase changes by one rename(2); whether
anything of it is alive is whether its file `lock` is flocked (preparing process, keeper and PID 1
share one open file description). So a kill -9 at any point leaves a state that `list` can name
and `gc` can clear, and no daemon is needed to know it.
"""

from __future__ import annotations

import fcntl
import os
import time

from appc.errors import InvalidValue, ManifestError, PodNotFound, PodStateError
from appc.schema.json import dumps, loads
from appc.values import PodUUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PHASES = ("embryo", "prepare", "prepared", "run", "exited", "garbage")

# (phase, locked) -> the state users read; rkt's words where rkt had one.
STATES = {
    ("embryo", False): "embryo",
    ("embryo", True): "embryo",
    ("prepare", True): "preparing",
    ("prepare", False): "aborted prepare",
    ("prepared", False): "prepared",
    ("prepared", True): "prepared",
    ("run", True): "running",
    ("run", False): "exited",
    ("exited", True): "exited",
    ("exited", False): "exited",
    ("garbage", True): "deleting",
    ("garbage", False): "garbage",
}

# How often, and how far apart, a lock is tried before it counts as somebody's.
LOOKS, LOOK_SECONDS = 20, 0.002

LOCK = "lock"
"""The file of a pod that is flocked as long as anything of it is alive."""
NETWORK = "network"
"""The file of a pod that records what its networks made (network/setup.py)."""
RUNTIME = "runtime"
"""The directory of what another OCI runtime is given that makes the apps of a pod (executor/runtime.py)."""
CHANGED = "changed"
"""An empty file of a pod whose limits were changed: it may have control groups that its keeper does not know."""


class Pod:
    """One pod directory. `lock_fd` is held open (and flocked) by whoever created or acquired it."""

    __slots__ = ("lock_fd", "phase", "root", "uuid")

    def __init__(self, root: str, phase: str, uuid: str) -> None:
        self.root = root
        self.phase = phase
        self.uuid = uuid
        self.lock_fd = -1

    @property
    def path(self) -> str:
        """The pod's directory in the phase last seen."""
        return f"{self.root}/pods/{self.phase}/{self.uuid}"

    @property
    def cgroup(self) -> str:
        """What names the pod's control groups, as `host.cgroupfs.place` takes it."""
        try:
            owner = self.read_json("request").get("cgroup", "")
        except (FileNotFoundError, ManifestError):
            owner = ""
        if not owner:
            return self.uuid
        from appc.host.cgroupfs import JOINED

        return f"{owner}/{JOINED}{self.uuid}"

    def file(self, name: str) -> str:
        """Return the path of a file of this pod."""
        return f"{self.path}/{name}"

    def refresh(self) -> Pod:
        """Find the pod again after somebody may have moved it; PodNotFound when it is gone."""
        for phase in PHASES:
            if os.path.isdir(f"{self.root}/pods/{phase}/{self.uuid}"):
                self.phase = phase
                return self
        raise PodNotFound("the pod is gone", self.uuid)

    def move(self, phase: str) -> None:
        """Change the phase by rename(2); PodStateError when another process was first."""
        target = f"{self.root}/pods/{phase}"
        os.makedirs(target, 0o700, exist_ok=True)
        try:
            os.rename(self.path, f"{target}/{self.uuid}")
        except FileNotFoundError:
            raise PodStateError(f"is no longer in phase {self.phase}", f"pod {self.uuid}") from None
        self.phase = phase

    def locked(self) -> bool:
        """Tell whether anything of the pod is alive (or somebody works on it)."""
        try:
            fd = self.open(LOCK)
        except (FileNotFoundError, PodNotFound):
            return False
        try:
            # A shared lock, so that two who look at once do not see each other.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def acquire(self) -> bool:
        """Take the lock of a pod that is still where it was seen; False when something of it is alive."""
        path = self.file(LOCK)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return False
        try:
            held = _locked_exclusively(fd) and os.path.samestat(os.fstat(fd), os.stat(path))
        except FileNotFoundError:
            # Whoever had the lock before has moved or removed the pod.
            held = False
        if not held:
            os.close(fd)
            return False
        self.lock_fd = fd
        return True

    def release(self) -> None:
        """Drop this process's hold of the lock (others may still share it)."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def state(self) -> str:
        """Return the pod's state in users' words (see STATES)."""
        for _ in range(3):
            locked = self.locked()
            phase = self.phase
            # The phase may have changed between the two looks; then look again.
            if os.path.isdir(self.path):
                return STATES[phase, locked]
            self.refresh()
        return STATES[self.phase, False]

    def write(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """Write a file of the pod whole; readers see the old or the new content."""
        path = self.file(name)
        temporary = f"{path}.new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        os.rename(temporary, path)

    def read(self, name: str) -> bytes:
        """Read a file of the pod, wherever the pod has moved; FileNotFoundError when it has no such file."""
        with os.fdopen(self.open(name), "rb") as stream:
            return stream.read()

    def open(self, name: str) -> int:
        """Open a file or directory of the pod, wherever it has moved, to read; FileNotFoundError, PodNotFound."""
        while True:
            try:
                return os.open(self.file(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                phase = self.phase
                if self.refresh().phase == phase:
                    raise

    def write_json(self, name: str, value: Any) -> None:
        """Write `value` as JSON."""
        self.write(name, dumps(value).encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the pod; ManifestError when it is none."""
        return loads(self.read(name))

    def manifest(self) -> dict[str, Any]:
        """Return the reified pod manifest as parsed JSON; PodStateError when the pod has none yet."""
        try:
            document: dict[str, Any] = self.read_json("pod")
        except FileNotFoundError:
            raise PodStateError(f"has no manifest ({self.state()})", f"pod {self.uuid}") from None
        return document

    def app_names(self) -> list[str]:
        """Return the names of the pod's apps, in order; PodStateError when it has no manifest yet."""
        return [str(entry["name"]) for entry in self.manifest()["apps"]]

    def created(self) -> float:
        """Return when the pod was created (seconds since the epoch)."""
        try:
            return os.stat(self.file(LOCK)).st_mtime
        except FileNotFoundError:
            return 0.0


def create(root: str) -> Pod:
    """Make an empty pod in phase `embryo`, locked by this process."""
    os.makedirs(f"{root}/pods/embryo", 0o700, exist_ok=True)
    while True:
        pod = Pod(root, "embryo", str(PodUUID.new()))
        os.mkdir(pod.path, 0o700)
        try:
            # A collector may have taken the directory for what a killed process left; then another is made.
            if pod.acquire():
                return pod
        except OSError:
            os.rmdir(pod.path)
            raise


def every(root: str) -> list[Pod]:
    """Return all pods, oldest phase first, by UUID within a phase."""
    found: dict[str, Pod] = {}
    for phase in PHASES:
        try:
            names = os.listdir(f"{root}/pods/{phase}")
        except FileNotFoundError:
            continue
        # A pod that moves on meanwhile is met twice; where it was seen last counts.
        found.update({name: Pod(root, phase, name) for name in sorted(names) if is_uuid(name)})
    return list(found.values())


def find(root: str, prefix: str) -> Pod:
    """Return the pod whose UUID begins with `prefix`; PodNotFound for none or several."""
    wanted = prefix.lower()
    if is_uuid(wanted):
        # At once, however many pods there are.
        try:
            return Pod(root, PHASES[0], str(PodUUID.parse(wanted, strict=True))).refresh()
        except (InvalidValue, PodNotFound):
            pass  # what is wrong is said below
    matches = [pod for pod in every(root) if pod.uuid.startswith(wanted)] if wanted else []
    if not matches:
        raise PodNotFound("no pod has a UUID that begins so", prefix or '""', "`appc list` shows all pods")
    if len(matches) > 1:
        raise PodNotFound(f"{len(matches)} pods have a UUID that begins so", prefix, "give more of it")
    return matches[0]


def is_uuid(name: str) -> bool:
    """Tell whether `name` looks like a UUID: 36 characters, four of them dashes."""
    return len(name) == 36 and name.count("-") == 4


def _locked_exclusively(fd: int) -> bool:
    """Lock a file that nobody works with; somebody who merely looks at it (`locked`) has it for a moment."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOOK_SECONDS)
        else:
            return True
    return False
