"""Which pod has which address of the built-in network: one file for each address that is taken.

The file is made with O_EXCL, so two launches never get the same address and none waits for the other. The search
begins at a place the pod's UUID gives, so an address that was given back is not the next to be given out. What all pods
of the network share is made by whoever comes and taken away with the last address; `Held` keeps these two apart.
"""

from __future__ import annotations

import fcntl
import os
from binascii import crc32

from appc.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.schema.subnet import Subnet


class Held:
    """The network for the time of a block: with others who join it, or `alone` to take away what is shared."""

    def __init__(self, directory: str, *, alone: bool = False) -> None:
        self._directory = directory
        self._kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        self._fd = -1

    def __enter__(self) -> Held:
        os.makedirs(self._directory, 0o700, exist_ok=True)
        self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._fd, self._kind)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def unused(self) -> bool:
        """Whether no pod has an address."""
        return not os.listdir(self._fd)


def take(directory: str, subnet: Subnet, pod: str, root: str) -> int:
    """Return the number of a free address, which is the pod's from now on. Raises HostError when there is none.

    `root` is the directory of the pod's kind, by which `sweep` knows whose it is.
    """
    start = crc32(pod.encode())
    for step in range(subnet.count):
        number = 2 + (start + step) % subnet.count
        try:
            fd = os.open(f"{directory}/{subnet.address(number)}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        except FileExistsError:
            continue
        with open(fd, "w", encoding="utf-8") as stream:
            stream.write(f"{pod}\n{root}\n")
        return number
    raise HostError(f"all {subnet.count} addresses are taken", f"network default ({subnet})", "appc gc may free some")


def give_back(directory: str, address: str, pod: str) -> None:
    """Free an address if it is still the pod's."""
    path = f"{directory}/{address}"
    if _holder(path)[0] == pod:
        os.unlink(path)


def sweep(directory: str, root: str, exists: Callable[[str], bool]) -> None:
    """Free the addresses of pods of `root` that are no more: launches were killed before they wrote them down."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        path = f"{directory}/{name}"
        pod, home = _holder(path)
        if pod and home == root and not exists(pod):
            give_back(directory, name, pod)


def _holder(path: str) -> tuple[str, str]:
    """Return the UUID and root that a file names; ("", "") for one that is gone or not yet written."""
    try:
        with open(path, encoding="utf-8") as stream:
            lines = stream.read(8192).split("\n")
    except FileNotFoundError:
        return "", ""
    return (lines[0], lines[1]) if len(lines) > 2 else ("", "")
