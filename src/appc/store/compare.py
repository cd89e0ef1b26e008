"""Comparing a tree on disk with records of what it should be: types, modes, owners, attributes, times and contents.

Contents are hashed by all processors, a batch of files at a time.
"""

from __future__ import annotations

import os
import stat

from appc.formats.extract import implied
from appc.formats.gzipwrite import threads
from appc.formats.tar import BLOCK_DEVICE, CHAR, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from appc.formats.extract import Record

_FORMATS = {
    FILE: stat.S_IFREG,
    DIRECTORY: stat.S_IFDIR,
    SYMLINK: stat.S_IFLNK,
    CHAR: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
    FIFO: stat.S_IFIFO,
}
_CHUNK = 1 << 20

# Attributes that the host puts on files by itself.
_HOST_XATTRS = (
    "security.selinux",
    "security.ima",
    "security.evm",
    "system.posix_acl_access",
    "system.posix_acl_default",
)

_BATCH_FILES = 128
_BATCH_BYTES = 8 << 20


def differences(tree: str, records: Iterable[Record], owners: bool, skipped: Collection[str]) -> list[tuple[str, str]]:
    """Return how the directory `tree` differs from `records`, as (path, reason).

    Without `owners` owners are not compared, nor what is named in `skipped`: these could not be kept when the tree was
    made. A directory without record has to be as extraction makes one when there is a record below it; anything else
    without record is a difference too.
    """
    found: list[tuple[str, str]] = []
    recorded = {""}
    expected = {""}
    with _Contents() as contents:

        def compare(record: Record) -> None:
            path = _host_path(tree, record.path)
            reasons = _differences(tree, path, record, owners, skipped, contents)
            found.extend((f"/{record.path}", reason) for reason in reasons)

        for record in records:
            recorded.add(record.path)
            parent = record.path
            while parent not in expected:
                expected.add(parent)
                parent = parent.rpartition("/")[0]
            compare(record)
        for path in sorted(expected - recorded):
            compare(implied(path))
        found += contents.changed()
    for directory, directories, files in os.walk(tree):
        below = directory[len(tree) + 1 :]
        for name in (*directories, *files):
            path_below = f"{below}/{name}" if below else name
            if path_below not in expected:
                found.append((f"/{path_below}", "is not part of the image"))
    return found


class _Contents:
    """Compares contents in threads; what differs is said by `changed`, in the order the files were added."""

    def __init__(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(threads())
        self._batch: list[tuple[bytes, Record]] = []
        self._bytes = 0
        self._jobs: list[Future[list[tuple[str, str]]]] = []

    def __enter__(self) -> _Contents:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, path: bytes, record: Record) -> None:
        """Compare the content of the file `path`, too, which is as long as its record says."""
        self._batch.append((path, record))
        self._bytes += record.size
        if len(self._batch) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            self._submit()

    def changed(self) -> list[tuple[str, str]]:
        """Wait for the end; return (path, reason) of what differs."""
        self._submit()
        return [difference for job in self._jobs for difference in job.result()]

    def _submit(self) -> None:
        self._jobs.append(self._pool.submit(_changed, self._batch))
        self._batch = []
        self._bytes = 0


def _changed(batch: Sequence[tuple[bytes, Record]]) -> list[tuple[str, str]]:
    found = []
    for path, record in batch:
        try:
            if _sha256(path) != record.sha256:
                found.append((f"/{record.path}", "has another content"))
        except OSError as error:
            found.append((f"/{record.path}", f"cannot be read ({error.strerror})"))
    return found


def _sha256(path: bytes) -> str:
    import hashlib

    digest = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb", buffering=0) as stream:
        while data := stream.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _differences(
    tree: str, path: bytes, record: Record, owners: bool, skipped: Collection[str], contents: _Contents
) -> Iterator[str]:
    """How what is at `path` differs from its record; its content is left to `contents`."""
    try:
        found = os.lstat(path)
    except OSError as error:
        if not (record.type in (CHAR, BLOCK_DEVICE) and "device node" in skipped):
            yield f"is missing ({error.strerror})"
        return
    if record.type == HARDLINK:
        if not _same_file(path, _host_path(tree, record.linkname)):
            yield f"is no longer a hard link to /{record.linkname}"
        return
    if stat.S_IFMT(found.st_mode) != _FORMATS[record.type]:
        yield f"is no longer a {record.type}"
        return
    if record.type != SYMLINK and stat.S_IMODE(found.st_mode) != record.mode:
        yield f"has mode {stat.S_IMODE(found.st_mode):04o}, not {record.mode:04o}"
    if owners and (found.st_uid, found.st_gid) != (record.uid, record.gid):
        yield f"belongs to {found.st_uid}:{found.st_gid}, not {record.uid}:{record.gid}"
    if not _same_time(found.st_mtime_ns, record.mtime_ns):
        yield f"was modified: its time is {found.st_mtime_ns} ns, not {record.mtime_ns} ns"
    if record.type == SYMLINK and os.readlink(path) != record.linkname.encode("utf-8", "surrogateescape"):
        yield "points somewhere else"
    if record.type in (CHAR, BLOCK_DEVICE) and found.st_rdev != os.makedev(record.devmajor, record.devminor):
        yield "is another device"
    if record.type == FILE:
        if found.st_size == record.size:
            contents.add(path, record)
        else:
            yield f"has {found.st_size} bytes, not {record.size}"
    yield from _xattr_differences(path, record, skipped)


def _xattr_differences(path: bytes, record: Record, skipped: Collection[str]) -> Iterator[str]:
    present = {os.fsdecode(name) for name in os.listxattr(path, follow_symlinks=False)}
    for name in sorted(present | record.xattrs.keys()):
        if f"extended attribute {name}" in skipped or (name not in record.xattrs and name in _HOST_XATTRS):
            continue
        if name not in present:
            yield f"lost the extended attribute {name}"
        elif name not in record.xattrs:
            yield f"has gained the extended attribute {name}"
        elif os.getxattr(path, os.fsencode(name), follow_symlinks=False) != record.xattrs[name]:
            yield f"has another value in the extended attribute {name}"


def _same_file(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def _same_time(found: int, recorded: int) -> bool:
    # File systems that keep whole seconds or microseconds cut times off.
    return found == recorded or found in (recorded // 1000 * 1000, recorded // 10**9 * 10**9)


def _host_path(tree: str, path: str) -> bytes:
    return f"{tree}/{path}".encode("utf-8", "surrogateescape")
