"""Writing archive entries below a directory that is given by its descriptor, and nowhere else.

Nothing in an archive is trusted here: every component of every path is opened with O_NOFOLLOW from the root
descriptor on, files are created with O_EXCL after removing what is in their place, and hard links go only to
what is below the root. What a directory is to have (owner, mode, attributes, times) is set at the end,
because its content changes its times and may need more rights than the mode gives.
"""

from __future__ import annotations

import errno
import os

from appc.errors import ArchiveError, HostError
from appc.formats.tar import (
    BLOCK_DEVICE,
    CHAR,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    Entry,
    printable,
    safe_name,
    zeros,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE = {CHAR: 0o020000, BLOCK_DEVICE: 0o060000, FIFO: 0o010000}
# Without /proc the attributes of what cannot be opened are out of reach.
_UNSUPPORTED = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL, errno.ENOENT)


class Record:
    """What one entry became: all that checking, repairing or copying it exactly needs.

    `path` is relative to the root ("" is the root itself). `type` is one of the names in `formats.tar`.
    Owner, mode and times are the archive's, also where this user could not set them. `linkname` is a
    symlink's text or, relative to the root, the path a hard link points to. `sha256` is the hexadecimal
    digest of a file's content, "" for other types.
    """

    __slots__ = (
        "devmajor",
        "devminor",
        "gid",
        "linkname",
        "mode",
        "mtime_ns",
        "path",
        "sha256",
        "size",
        "type",
        "uid",
        "xattrs",
    )

    def __init__(
        self,
        path: str,
        type: str,
        *,
        mode: int,
        uid: int,
        gid: int,
        size: int = 0,
        mtime_ns: int = 0,
        linkname: str = "",
        devmajor: int = 0,
        devminor: int = 0,
        xattrs: dict[str, bytes] | None = None,
        sha256: str = "",
    ) -> None:
        self.path = path
        self.type = type
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime_ns = mtime_ns
        self.linkname = linkname
        self.devmajor = devmajor
        self.devminor = devminor
        self.xattrs = xattrs if xattrs is not None else {}
        self.sha256 = sha256

    @classmethod
    def of(cls, entry: Entry | Record, path: str, sha256: str = "") -> Record:
        """What describes `entry`, under the name `path`; where a hard link leads is left as it says itself."""
        return cls(
            path,
            entry.type,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            size=entry.size,
            mtime_ns=entry.mtime_ns,
            linkname=entry.linkname,
            devmajor=entry.devmajor,
            devminor=entry.devminor,
            xattrs=entry.xattrs,
            sha256=sha256,
        )


def implied(path: str) -> Record:
    """A directory that nothing says anything of, only that something lies in it."""
    return Record(path, DIRECTORY, mode=0o755, uid=0, gid=0)


class Extractor:
    """Extracts entries below `root_fd` (a directory's descriptor, which stays the caller's).

    Entries must have `path` (and hard links `link_path`) set; `prefix` ("rootfs") is taken off both. With
    `owners` false (not root) owners, devices and privileged attributes are left out and counted in
    `skipped`. `implied` holds the directories that the archive has no entry for. `written` is called with the
    descriptor and the size of each file whose content is complete. Call `finish` after the last entry, `close` always.
    """

    def __init__(
        self,
        root_fd: int,
        *,
        prefix: str = "",
        owners: bool = True,
        where: str = "",
        written: Callable[[int, int], None] | None = None,
    ) -> None:
        import hashlib

        self._sha256 = hashlib.sha256
        self._root = root_fd
        self._prefix = prefix
        self._inside = f"{prefix}/"
        self._owners = owners
        self._where = where
        self._written = written
        self._directories: dict[str, Record] = {}
        self._stack: list[tuple[str, int]] = []
        self._parent = ""
        self._parent_fd = root_fd
        self._left_out: set[str] = set()
        self.implied: set[str] = set()
        self.skipped: dict[str, int] = {}

    def __enter__(self) -> Extractor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def entry(self, entry: Entry) -> Record:
        """Create what `entry` describes.

        Raises ArchiveError when the entry would leave the root or contradicts an earlier one, HostError when
        the host refuses (no space, no right).
        """
        record = Record.of(entry, self._strip(entry.path))
        if entry.type == HARDLINK:
            record.linkname = self._strip(entry.link_path)
        try:
            self._create(record, entry)
        except OSError as error:
            raise self._failure(record.path, error) from error
        return record

    def finish(self) -> None:
        """Give every directory its owner, mode, attributes and times, the deepest first."""
        path = ""
        try:
            for path in sorted(self._directories, key=_depth_first, reverse=True):
                record = self._directories[path]
                self._metadata(self._enter(path), record)
        except OSError as error:
            raise self._failure(path, error) from error

    def close(self) -> None:
        """Let go of the descriptors of directories."""
        while self._stack:
            os.close(self._stack.pop()[1])
        self._parent = ""
        self._parent_fd = self._root

    def notes(self) -> list[str]:
        """What could not be kept, one sentence each."""
        return [
            f"{what} of {count} {'entry' if count == 1 else 'entries'} could not be kept"
            for what, count in sorted(self.skipped.items())
        ]

    # -- one entry --------------------------------------------------------------------------------

    def _create(self, record: Record, entry: Entry) -> None:
        if not record.path:
            if record.type != DIRECTORY:
                raise self._refusal("", f"root is a {record.type} where a directory belongs")
            self._directories[""] = record
            return
        directory, _, name = record.path.rpartition("/")
        if name in ("", ".", ".."):
            raise self._refusal(record.path, "is not a plain relative path")
        parent = self._enter(directory)
        if record.type == FILE:
            self._file(parent, name, record, entry)
        elif record.type == DIRECTORY:
            self._directory(parent, name, record)
        elif record.type == HARDLINK:
            self._hard_link(parent, name, record)
        elif record.type == SYMLINK:
            self._make(record, name, parent, lambda: os.symlink(_raw(record.linkname), _raw(name), dir_fd=parent))
            self._unopened_metadata(parent, name, record)
        elif record.type == FIFO or self._owners:
            device = os.makedev(record.devmajor, record.devminor)
            mode = _NODE[record.type] | 0o600
            self._make(record, name, parent, lambda: os.mknod(_raw(name), mode, device, dir_fd=parent))
            self._unopened_metadata(parent, name, record)
        else:
            self._leave_out(record)

    def _file(self, parent: int, name: str, record: Record, entry: Entry) -> None:
        raw = _raw(name)
        try:
            fd = os.open(raw, _CREATE, 0o600, dir_fd=parent)
        except FileExistsError:
            self._displace(parent, name, record)
            fd = os.open(raw, _CREATE, 0o600, dir_fd=parent)
        try:
            digest = self._sha256()
            if entry.sparse is None:
                for _, data in entry.extents():
                    digest.update(data)
                    _write(fd, data)
            else:
                at = 0
                os.ftruncate(fd, entry.size)
                for offset, data in entry.extents():
                    for hole in zeros(offset - at):
                        digest.update(hole)
                    digest.update(data)
                    os.lseek(fd, offset, os.SEEK_SET)
                    _write(fd, data)
                    at = offset + len(data)
                for hole in zeros(entry.size - at):
                    digest.update(hole)
            record.sha256 = digest.hexdigest()
            self._metadata(fd, record)
            if self._written is not None:
                self._written(fd, record.size)
        finally:
            os.close(fd)

    def _directory(self, parent: int, name: str, record: Record) -> None:
        try:
            os.mkdir(_raw(name), 0o700, dir_fd=parent)
        except FileExistsError:
            # Made implicitly for an entry below it, or a layer's over a lower one's; anything else goes.
            if not _is_directory(parent, name):
                self._displace(parent, name, record)
                os.mkdir(_raw(name), 0o700, dir_fd=parent)
        self.implied.discard(record.path)
        self._directories[record.path] = record

    def _hard_link(self, parent: int, name: str, record: Record) -> None:
        target_directory, _, target = record.linkname.rpartition("/")
        if not target or record.linkname == record.path:
            raise self._refusal(record.path, "hard link to itself or to the root")
        if record.linkname in self._left_out:
            self._leave_out(record)
            return
        # The cached walk holds one directory at a time.
        held = os.dup(parent)
        try:
            source = self._enter(target_directory, make=False)
            if _is_directory(source, target):
                raise self._refusal(record.path, f"hard link to a directory, {printable(record.linkname)!r}")

            def link() -> None:
                os.link(_raw(target), _raw(name), src_dir_fd=source, dst_dir_fd=held, follow_symlinks=False)

            self._make(record, name, held, link)
        except FileNotFoundError:
            raise self._refusal(
                record.path, f"hard link to {printable(record.linkname)!r}, which is not in the archive before it"
            ) from None
        finally:
            os.close(held)

    def _make(self, record: Record, name: str, parent: int, create: Callable[[], None]) -> None:
        try:
            create()
        except FileExistsError:
            self._displace(parent, name, record)
            create()

    def _displace(self, parent: int, name: str, record: Record) -> None:
        """Remove what is where the entry goes; a directory is not given up."""
        if _is_directory(parent, name):
            raise self._refusal(record.path, f"is a {record.type}, but an earlier entry made it a directory")
        os.unlink(_raw(name), dir_fd=parent)

    def _leave_out(self, record: Record) -> None:
        self._left_out.add(record.path)
        self._skip("device node")

    # -- metadata ---------------------------------------------------------------------------------

    def _metadata(self, fd: int, record: Record) -> None:
        # chown clears setuid bits and capabilities, so the mode and the attributes come after it, the times last.
        if self._owners:
            os.fchown(fd, record.uid, record.gid)
        elif record.uid != os.geteuid() or record.gid != os.getegid():
            self._skip("owner")
        os.fchmod(fd, record.mode)
        if record.xattrs:
            self._attributes(fd, record)
        os.utime(fd, ns=(record.mtime_ns, record.mtime_ns))

    def _unopened_metadata(self, parent: int, name: str, record: Record) -> None:
        """The same for what must not be opened: symlinks, devices and FIFOs, just made and so ours."""
        raw = _raw(name)
        if self._owners:
            os.chown(raw, record.uid, record.gid, dir_fd=parent, follow_symlinks=False)
        elif record.uid != os.geteuid() or record.gid != os.getegid():
            self._skip("owner")
        if record.type != SYMLINK:
            os.chmod(raw, record.mode, dir_fd=parent)
        # There is no setxattrat; the descriptor's own path stands for the directory.
        self._attributes(b"/proc/self/fd/%d/%b" % (parent, raw), record)
        os.utime(raw, ns=(record.mtime_ns, record.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _attributes(self, file: int | bytes, record: Record) -> None:
        for name, value in record.xattrs.items():
            try:
                os.setxattr(file, _raw(name), value, follow_symlinks=isinstance(file, int))
            except AttributeError:
                self._skip(f"extended attribute {printable(name)}")
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise OSError(error.errno, f"extended attribute {printable(name)}: {error.strerror}") from error
                self._skip(f"extended attribute {printable(name)}")

    def _skip(self, what: str) -> None:
        self.skipped[what] = self.skipped.get(what, 0) + 1

    # -- the walk ---------------------------------------------------------------------------------

    def _enter(self, directory: str, make: bool = True) -> int:
        """A descriptor of that directory below the root, valid until the next call; never through a symlink."""
        if directory == self._parent:
            return self._parent_fd
        parts = directory.split("/") if directory else []
        if directory != safe_name(directory):
            raise self._refusal(directory, "is not a plain relative path")
        common = 0
        for (name, _), part in zip(self._stack, parts, strict=False):
            if name != part:
                break
            common += 1
        while len(self._stack) > common:
            os.close(self._stack.pop()[1])
        self._parent_fd = self._stack[-1][1] if self._stack else self._root
        self._parent = "/".join(parts[:common])
        for part in parts[common:]:
            path = f"{self._parent}/{part}" if self._parent else part
            fd = self._step(part, path, make)
            self._stack.append((part, fd))
            self._parent_fd = fd
            self._parent = path
        return self._parent_fd

    def _step(self, name: str, path: str, make: bool) -> int:
        raw = _raw(name)
        try:
            return os.open(raw, _OPEN_DIR, dir_fd=self._parent_fd)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise self._refusal(path, "is not a directory, but another entry lies below it") from None
        os.mkdir(raw, 0o700, dir_fd=self._parent_fd)
        self.implied.add(path)
        self._directories[path] = implied(path)
        return os.open(raw, _OPEN_DIR, dir_fd=self._parent_fd)

    def _strip(self, path: str) -> str:
        if not self._prefix:
            return path
        if path.startswith(self._inside):
            return path[len(self._inside) :]
        if path != self._prefix:
            raise self._refusal(path, f"is outside {self._prefix}/")
        return ""

    # -- errors -----------------------------------------------------------------------------------

    def _place(self, path: str) -> str:
        path = printable(f"{self._prefix}/{path}" if self._prefix and path else path or self._prefix)
        return f"{self._where}: {path}" if self._where and path else self._where or path

    def _refusal(self, path: str, what: str) -> ArchiveError:
        return ArchiveError(what, self._place(path))

    def _failure(self, path: str, error: OSError) -> HostError:
        hint = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "free some space: appc image gc and appc gc remove what is not in use"
        reason = error.strerror or str(error)
        return HostError(f"cannot be extracted: {reason}", self._place(path), hint)


def _raw(name: str) -> bytes:
    """Names go to the kernel as the bytes they were in the archive, whatever the locale."""
    return name.encode("utf-8", "surrogateescape")


def _depth_first(path: str) -> list[str]:
    return path.split("/") if path else []


def _is_directory(parent: int, name: str) -> bool:
    try:
        return (os.stat(_raw(name), dir_fd=parent, follow_symlinks=False).st_mode & 0o170000) == 0o040000
    except FileNotFoundError:
        return False


def _write(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        data = data[written:]
        written = os.write(fd, data)
