"""Opening OCI layouts and docker archives, as directories or as tar files, and choosing an image in them."""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from appc.errors import AppcError, ArchiveError, HostError, ImageNotFound, UsageError
from appc.formats import compress, docker_archive, ocilayout
from appc.formats.limits import DEFAULT
from appc.formats.ocilayout_tar import TarBlobs
from appc.formats.tarnames import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Self

    from appc.formats.oci_image import Blob, Blobs, SourceImage

OCI = "oci:"
OCI_ARCHIVE = "oci-archive:"
DOCKER_ARCHIVE = "docker-archive:"
SCHEMES = (OCI, OCI_ARCHIVE, DOCKER_ARCHIVE)

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_COMPRESSED = ("gzip", "bzip2", "xz", "zstd")
_MAX_HOPS = 10
_CHUNK = 1 << 20


class Opened:
    """An open layout or archive, `oci:DIR[:TAG]` and so on: its `scheme`, its `path`, the `tag`, and its `blobs`.

    Raises ImageNotFound, ArchiveError, HostError.
    """

    def __init__(self, reference: str) -> None:
        self.scheme, self.path, self.tag = split(reference)
        self._files: list[int] = []
        try:
            self.blobs = self._blobs(self.scheme)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        while self._files:
            os.close(self._files.pop())

    def _blobs(self, scheme: str) -> Blobs:
        if os.path.isdir(self.path):
            if scheme == OCI_ARCHIVE:
                raise UsageError("is a directory", self.path, f"{OCI}{self.path} is the image layout in it")
            self._files.append(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            return DirectoryBlobs(self._files[0], self.path)
        if scheme == OCI and os.path.exists(self.path):
            raise UsageError("is no directory", self.path, f"{OCI_ARCHIVE}{self.path} is the image layout in a file")
        fd = _open_archive(self.path)
        self._files.append(fd)
        plain = stat.S_ISREG(os.fstat(fd).st_mode)
        if not plain or compress.detect(os.pread(fd, 512, 0)) in _COMPRESSED:
            fd = _spooled(fd, self.path)
            self._files.append(fd)
        with os.fdopen(os.dup(fd), "rb", buffering=0) as source:
            source.seek(0)
            return TarBlobs(fd, source, self.path)


def split(reference: str) -> tuple[str, str, str]:
    """Scheme, path and tag of a reference. A colon belongs to the path if there is a file of that name."""
    scheme = next((scheme for scheme in SCHEMES if reference.startswith(scheme)), "")
    rest = reference[len(scheme) :]
    if not scheme or not rest:
        raise UsageError("names no file or directory", reference, f"the forms are {', '.join(SCHEMES)}PATH[:TAG]")
    if os.path.lexists(rest):
        return scheme, rest, ""
    colon = rest.find(":")
    while colon > 0:
        if os.path.lexists(rest[:colon]):
            return scheme, rest[:colon], rest[colon + 1 :]
        colon = rest.find(":", colon + 1)
    path, _, tag = rest.partition(":")
    return scheme, path, tag


def _open_archive(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise ImageNotFound("there is no such file", path) from None
        raise AppcError(f"cannot be read: {error.strerror}", path) from None


def _spooled(fd: int, path: str) -> int:
    """An unnamed file with what a pipe or a compressed file holds: its blobs are read in another order."""
    import tempfile

    with os.fdopen(os.dup(fd), "rb", buffering=0) as source, tempfile.TemporaryFile() as spool:
        stream = compress.reader(source, DEFAULT, path)
        try:
            while data := stream.read(_CHUNK):
                spool.write(data)
                if stream.produced > DEFAULT.size:
                    raise ArchiveError(f"is longer than {DEFAULT.size} bytes uncompressed", path)
            spool.flush()
        except OSError as error:
            hint = f"the space is needed in {tempfile.gettempdir()}; $TMPDIR names another place"
            raise HostError(f"cannot be unpacked: {error.strerror}", path, hint) from error
        return os.dup(spool.fileno())


class Source(Opened):
    """An open layout or archive, and the `image` that was chosen in it: the one for `platform`, the labels (os, arch).

    Raises ImageNotFound, ArchiveError, HostError.
    """

    def __init__(self, reference: str, platform: tuple[str, str], strict_platform: bool = False) -> None:
        super().__init__(reference)
        try:
            choose = docker_archive.select if self.scheme == DOCKER_ARCHIVE else ocilayout.select
            self.image: SourceImage = choose(self.blobs, self.tag, platform, strict_platform)
        except BaseException:
            self.close()
            raise


class DirectoryBlobs:
    """The files below a directory, reached through nothing but directories and links that stay inside."""

    def __init__(self, fd: int, where: str) -> None:
        self._root = fd
        self.where = where

    def has(self, path: str) -> bool:
        """Whether there is something of that name."""
        try:
            os.stat(path, dir_fd=self._root, follow_symlinks=False)
        except OSError:
            return False
        return True

    def open(self, path: str) -> Blob:
        """Open a regular file."""
        where = f"{self.where}: {printable(path)}"
        try:
            return FileBlob(self._open(path), where)
        except FileNotFoundError:
            raise ArchiveError("is missing", where) from None
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", where) from None

    def _open(self, path: str) -> BinaryIO:
        where = f"{self.where}: {printable(path)}"
        name = path
        for _ in range(_MAX_HOPS):
            parts = name.split("/")
            parent = os.dup(self._root)
            try:
                for part in parts[:-1]:
                    below = os.open(part, _OPEN_DIR, dir_fd=parent)
                    os.close(parent)
                    parent = below
                status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISLNK(status.st_mode):
                    fd = os.open(parts[-1], _OPEN_FILE, dir_fd=parent)
                    if not stat.S_ISREG(os.fstat(fd).st_mode):
                        os.close(fd)
                        raise ArchiveError("is not a regular file", where)
                    return os.fdopen(fd, "rb", buffering=0)
                link = os.readlink(parts[-1], dir_fd=parent)
            finally:
                os.close(parent)
            # `docker save` of old linked equal layers to each other.
            name = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
            if name.startswith(("/", "../")) or name == "..":
                raise ArchiveError("is a link that leaves the directory", where)
        raise ArchiveError("is a link to itself, or through too many others", where)


class FileBlob:
    """One open file."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._where = where
        self.size = os.fstat(file.fileno()).st_size

    def __enter__(self) -> FileBlob:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int, /) -> bytes:
        """Up to `size` of the next bytes, b"" at the end."""
        try:
            return self._file.read(size)
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", self._where) from None


def default_name(path: str) -> str:
    """What an image is called after the file or directory it came in, when that is all that is known."""
    base = os.path.basename(os.path.abspath(path))
    for suffix in (".gz", ".bz2", ".xz", ".zst", ".tgz", ".tar", ".oci", ".docker"):
        base = base.removesuffix(suffix)
    return base or "image"


__all__ = (
    "DOCKER_ARCHIVE",
    "OCI",
    "OCI_ARCHIVE",
    "SCHEMES",
    "DirectoryBlobs",
    "Opened",
    "Source",
    "default_name",
    "split",
)
