"""Ranges of user IDs for pods in user namespaces: no two pods share any, nor does a pod with anybody else.

A range is recorded in its pod's directory before it is used, by whoever holds the lock of the store's ranges, and is
free again when the directory is gone. Avoided is also what /etc/passwd, /etc/group, /etc/subuid and /etc/subgid give to
others, and what user namespaces of this machine map at the moment.
"""

from __future__ import annotations

import fcntl
import os

from appc.errors import HostError, InvalidValue, PodNotFound
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.pods.layout import Pod

RECORD = "private-users"
AUTO = "auto"
COUNT = 65_536
# As systemd has it for containers: above users and groups of every kind, below what is negative to old programs.
LOWEST, HIGHEST = 524_288, 1_879_048_191
_LARGEST = 4_294_967_294
_LOCK = "private-users.lock"


def parse(text: str) -> tuple[int, int] | None:
    """Parse BASE[:COUNT]; None for "auto", any free range. Raises InvalidValue."""
    if text == AUTO:
        return None
    base, colon, count = text.partition(":")
    words = [base, count] if colon else [base]
    if not all(word.isascii() and word.isdecimal() and len(word) <= 10 for word in words):
        raise InvalidValue(f"{text!r} is not BASE[:COUNT], the first ID of a range and how many there are")
    wanted = int(base), int(count) if colon else COUNT
    if wanted[0] < 1 or wanted[1] < 1 or sum(wanted) - 1 > _LARGEST:
        raise InvalidValue(f"{text!r} is no range of user IDs; 0 is the host's root")
    return wanted


def take(pod: Pod, text: str) -> tuple[int, int]:
    """Record a range for the pod, the one `text` asks for, and return (first ID, how many). HostError for none."""
    wanted = parse(text)
    fd = os.open(f"{pod.root}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        others = {one.uuid: found for one in layout.every(pod.root) if (found := recorded(one))}
        if wanted is None:
            wanted = _free([*others.values(), *_in_use(), *_given()])
        else:
            _refuse_taken(wanted, others)
        pod.write(RECORD, f"{wanted[0]}:{wanted[1]}\n".encode())
    finally:
        os.close(fd)
    return wanted


def recorded(pod: Pod) -> tuple[int, int] | None:
    """Return the range of a pod, None when it has none."""
    try:
        base, _, count = pod.read(RECORD).decode().strip().partition(":")
    except (FileNotFoundError, PodNotFound):
        return None
    return int(base), int(count)


def _refuse_taken(wanted: tuple[int, int], others: dict[str, tuple[int, int]]) -> None:
    where = f"--private-users {wanted[0]}:{wanted[1]}"
    for uuid, other in others.items():
        if _overlap(wanted, other):
            raise HostError(f"pod {uuid[:8]} has {other[0]}:{other[1]}, and no two pods may share users", where)
    for other in _in_use():
        if _overlap(wanted, other):
            hint = "--private-users alone finds a free range"
            raise HostError(f"a user namespace of this machine has {other[0]}:{other[1]}", where, hint)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[0] + other[1] and other[0] < one[0] + one[1]


def _free(taken: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the lowest free range; its bounds are multiples of its size, so the ID inside can be read off it."""
    base = LOWEST
    for start, count in sorted(taken):
        if start + count > base and start < base + COUNT:
            base = -(-(start + count) // COUNT) * COUNT
    if base + COUNT - 1 > HIGHEST:
        raise HostError("every range of user IDs is taken", "--private-users", "remove pods that have ended: appc gc")
    return base, COUNT


def _in_use() -> Iterator[tuple[int, int]]:
    """What user namespaces other than ours map to users of ours."""
    seen = {_read("/proc/self/uid_map")}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        text = _read(f"/proc/{name}/uid_map")
        if text in seen:
            continue
        seen.add(text)
        for line in text.splitlines():
            _, start, count = line.split()
            yield int(start), int(count)


def _given() -> Iterator[tuple[int, int]]:
    """What the machine's files give to users."""
    for path in ("/etc/subuid", "/etc/subgid"):
        for line in _read(path).splitlines():
            fields = line.split(":")
            if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
                yield int(fields[1]), int(fields[2])
    for path in ("/etc/passwd", "/etc/group"):
        for line in _read(path).splitlines():
            fields = line.split(":")
            if len(fields) > 2 and fields[2].isdecimal():
                yield int(fields[2]), 1


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
