"""Making a merged tree on disk, of links to the files in the store or of copies.

Everything is made below a directory's descriptor, by names that are new there, and never through a symbolic link.
"""

from __future__ import annotations

import errno
import fcntl
import os

from appc.errors import HostError
from appc.formats.tar import BLOCK_DEVICE, CHAR, FIFO, FILE, SYMLINK
from appc.store.layout import gives_owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.extract import Record
    from appc.images.merge import Node

_NODE = {CHAR: 0o020000, BLOCK_DEVICE: 0o060000, FIFO: 0o010000}
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNLINKABLE = (errno.EPERM, errno.EMLINK, errno.EXDEV)
_UNSUPPORTED = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL)
_FICLONE = 0x40049409  # linux/fs.h
_CHUNK = 1 << 24


def materialise(root: Node, target: str, link: bool) -> list[str]:
    """Make the tree `root` in the empty directory `target`; return what could not be kept, a sentence each.

    With `link`, files are hard links to those in the store wherever that is possible; the caller sees to it that nobody
    writes to them. Raises HostError.
    """
    try:
        fd = os.open(target, _OPEN_DIR)
        try:
            maker = _Maker(fd, link)
            maker.directory(fd, "", root)
        finally:
            os.close(fd)
    except OSError as error:
        hint = "free some space: appc image gc and appc gc remove what is not in use"
        raise HostError(
            f"cannot be rendered: {error.strerror}",
            os.fsdecode(error.filename or target),
            hint if error.errno in (errno.ENOSPC, errno.EDQUOT) else "",
        ) from error
    return [f"{what} of {count} entries could not be kept" for what, count in sorted(maker.skipped.items())]


class _Maker:
    def __init__(self, root: int, link: bool) -> None:
        self._root = root
        self._link = link
        self._owners = gives_owners()
        # Where what has several names was first made, by image and path in it.
        self._made: dict[tuple[str, str], bytes] = {}
        self.skipped: dict[str, int] = {}

    def directory(self, fd: int, path: str, node: Node) -> None:
        """Fill the directory open as `fd`, which lies at `path` (with a "/" at its end), then set its metadata."""
        assert node.children is not None
        for name, child in node.children.items():
            raw = _raw(name)
            if child.children is None:
                self._leaf(fd, raw, _raw(path + name), child)
                continue
            os.mkdir(raw, 0o700, dir_fd=fd)
            below = os.open(raw, _OPEN_DIR, dir_fd=fd)
            try:
                self.directory(below, f"{path}{name}/", child)
            finally:
                os.close(below)
        self._metadata(fd, node.record)

    def _leaf(self, parent: int, name: bytes, path: bytes, node: Node) -> None:
        """Make what is not a directory as `name` in `parent`; `path` is the same from the root on."""
        assert node.image is not None
        record = node.record
        source = _raw(f"{node.image.tree}/{record.path}")
        if self._link and _linked(source, parent, name):
            return
        first = self._made.setdefault((node.image.id, record.path), path)
        if first != path:
            os.link(first, name, src_dir_fd=self._root, dst_dir_fd=parent, follow_symlinks=False)
        elif record.type == FILE:
            fd = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent
            )
            try:
                copy_content(source, fd)
                self._metadata(fd, record)
            finally:
                os.close(fd)
        elif record.type == SYMLINK:
            os.symlink(_raw(record.linkname), name, dir_fd=parent)
            self._unopened_metadata(parent, name, record)
        elif record.type == FIFO or self._owners:
            device = os.makedev(record.devmajor, record.devminor)
            os.mknod(name, _NODE[record.type] | 0o600, device, dir_fd=parent)
            self._unopened_metadata(parent, name, record)
        else:
            self._skip("device node")

    def _metadata(self, fd: int, record: Record) -> None:
        # chown clears setuid bits and capabilities, so the mode and the attributes come after it, the times last.
        if self._owners:
            os.fchown(fd, record.uid, record.gid)
        os.fchmod(fd, record.mode)
        for name, value in record.xattrs.items():
            try:
                os.setxattr(fd, _raw(name), value)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                self._skip(f"extended attribute {name}")
        os.utime(fd, ns=(record.mtime_ns, record.mtime_ns))

    def _unopened_metadata(self, parent: int, name: bytes, record: Record) -> None:
        if self._owners:
            os.chown(name, record.uid, record.gid, dir_fd=parent, follow_symlinks=False)
        if record.type != SYMLINK:
            os.chmod(name, record.mode, dir_fd=parent)
        os.utime(name, ns=(record.mtime_ns, record.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _skip(self, what: str) -> None:
        self.skipped[what] = self.skipped.get(what, 0) + 1


def copy_content(source: bytes, out: int) -> None:
    """Copy a file's content to the empty file `out`: shared blocks where the file system can, holes kept."""
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.ioctl(out, _FICLONE, fd)
            return
        except OSError:
            pass
        size = os.fstat(fd).st_size
        os.ftruncate(out, size)
        start = 0
        while start < size:
            try:
                start = os.lseek(fd, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return  # a hole to the end
                raise
            end = os.lseek(fd, start, os.SEEK_HOLE)
            _copy_range(fd, out, start, end)
            start = end
    finally:
        os.close(fd)


def _copy_range(source: int, out: int, start: int, end: int) -> None:
    os.lseek(source, start, os.SEEK_SET)
    os.lseek(out, start, os.SEEK_SET)
    while start < end:
        try:
            count = os.sendfile(out, source, None, min(_CHUNK, end - start))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            count = os.write(out, os.read(source, min(1 << 20, end - start)))
        if not count:
            raise OSError(errno.EIO, "file became shorter")
        start += count


def _linked(source: bytes, parent: int, name: bytes) -> bool:
    """Make a hard link; False where the file system or its rules do not allow one."""
    try:
        os.link(source, name, dst_dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno in _UNLINKABLE:
            return False
        raise
    return True


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
