"""Where the blobs of a new OCI layout or docker archive go: a directory, or a tar file."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile

from appc.build.newfile import NewFile, failure
from appc.errors import ArchiveError, ManifestError, UsageError
from appc.formats.extract import Record
from appc.formats.layerhash import Hashed
from appc.formats.ocilayout import INDEX_FILE, LAYOUT_FILE
from appc.formats.ocilayout_write import layout_file
from appc.formats.tar import DIRECTORY, FILE
from appc.formats.tarwrite import Writer
from appc.schema.json import dumps, loads
from appc.schema.oci_image import MEDIA_INDEX, REF_NAME, Index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

_CHUNK = 1 << 20
_TMPFILE = getattr(os, "O_TMPFILE", 0)
_BLOBS = "blobs/sha256"
_MAX_INDEX = 4 << 20
_TEMPORARY = (f".{LAYOUT_FILE}.", f".{INDEX_FILE}.")  # files that a killed writer may leave


class _Blob:
    """A blob on its way, in a file without a name."""

    def __init__(self, sink: DirectorySink | ArchiveSink, file: BinaryIO) -> None:
        self._sink = sink
        self._file = file
        self._hashed = Hashed(file, "sha256", sink.progress)

    def __enter__(self) -> _Blob:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError:
            # What could not be written was said when it was to be, and a committed blob is all written.
            pass

    def write(self, data: bytes) -> None:
        """Append to the blob."""
        try:
            self._hashed.write(data)
        except OSError as error:
            raise failure(error, self._sink.where) from error

    def commit(self) -> tuple[str, int]:
        """Give it its name; returns its digest and size."""
        digest = self._hashed.hexdigest()
        try:
            self._file.flush()
            self._sink.take(self._file, digest, self._hashed.size)
        except OSError as error:
            raise failure(error, self._sink.where) from error
        return f"sha256:{digest}", self._hashed.size


class ArchiveSink:
    """A tar file with a layout, a docker archive, or both at once. Nothing is there before `finish`."""

    def __init__(self, path: str, overwrite: bool, progress: Callable[[int], None] | None) -> None:
        self.where = path
        self.progress = progress
        self._file = NewFile(path, overwrite)
        self._tar = Writer(self._file)
        self._there: set[str] = set()
        for name in ("blobs", _BLOBS):
            self._tar.add(name, Record(name, DIRECTORY, mode=0o755, uid=0, gid=0))

    def __enter__(self) -> ArchiveSink:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__()

    def blob(self) -> _Blob:
        """Begin a blob. An archive says the size first, so it waits beside the archive until that is known."""
        try:
            return _Blob(self, _unnamed(os.path.dirname(os.path.abspath(self.where))))
        except OSError as error:
            raise failure(error, self.where) from error

    def take(self, file: BinaryIO, digest: str, size: int) -> None:
        """Put a complete blob into the archive."""
        if digest in self._there:
            return
        self._there.add(digest)
        file.seek(0)
        name = f"{_BLOBS}/{digest}"
        self._tar.add(
            name, Record(name, FILE, mode=0o644, uid=0, gid=0, size=size), iter(lambda: file.read(_CHUNK), b"")
        )

    def finish(self, documents: dict[str, bytes]) -> None:
        """Add the documents and give the archive its name."""
        for name in sorted(documents):
            data = documents[name]
            self._tar.add(name, Record(name, FILE, mode=0o644, uid=0, gid=0, size=len(data)), (data,))
        self._tar.close()
        self._file.commit()


class DirectorySink:
    """An OCI layout in a directory: a new one, or one that gets a further image.

    Another writer is kept out as long as this exists. Unless `finish` is reached, what was added is removed again.
    """

    def __init__(self, path: str, tag: str, overwrite: bool, progress: Callable[[int], None] | None) -> None:
        self.where = path
        self.progress = progress
        self._tag = tag
        self._overwrite = overwrite
        self._made: list[str] = []
        self._added: list[str] = []
        try:
            self._prepare()
            self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            self._remove()
            raise failure(error, path) from error
        try:
            self._sweep()
            self._index = self._existing()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> DirectorySink:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()
        os.close(self._lock)

    def blob(self) -> _Blob:
        """Begin a blob."""
        try:
            return _Blob(self, _unnamed(f"{self.where}/{_BLOBS}"))
        except OSError as error:
            raise failure(error, self.where) from error

    def take(self, file: BinaryIO, digest: str, size: int) -> None:
        """Give a complete blob its name."""
        final = f"{self.where}/{_BLOBS}/{digest}"
        if os.path.exists(final):
            return
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
        try:
            os.link(f"/proc/self/fd/{file.fileno()}", final, src_dir_fd=self._lock, follow_symlinks=True)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOENT, errno.EPERM):
                raise
            # The file system knows no files without names.
            self._copy(file, final)
        self._added.append(final)

    def finish(self, documents: dict[str, bytes]) -> None:
        """Let the index lead to the image."""
        (new,) = loads(documents[INDEX_FILE])["manifests"]
        kept = [one for one in self._index.get("manifests", []) if not self._replaced(one, new)]
        index = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, **self._index, "manifests": [*kept, new]}
        try:
            for name, data in ((LAYOUT_FILE, layout_file()), (INDEX_FILE, dumps(index).encode())):
                temporary = f"{self.where}/.{name}.{os.urandom(6).hex()}"
                self._added.append(temporary)
                with open(temporary, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(temporary, f"{self.where}/{name}")
        except OSError as error:
            raise failure(error, self.where) from error
        self._made.clear()
        self._added.clear()

    def _replaced(self, old: dict[str, Any], new: dict[str, Any]) -> bool:
        tag = (old.get("annotations") or {}).get(REF_NAME, "")
        return tag == self._tag or (not tag and old.get("digest") == new["digest"])

    def _prepare(self) -> None:
        for path in (self.where, f"{self.where}/blobs", f"{self.where}/{_BLOBS}"):
            if path == f"{self.where}/blobs" and self.where not in self._made and not self._is_layout():
                raise UsageError("is a directory, but no OCI image layout", self.where, "name one that is to be made")
            try:
                os.mkdir(path, 0o755)
                self._made.append(path)
            except FileExistsError:
                if not os.path.isdir(path):
                    raise UsageError("is no directory", path) from None

    def _is_layout(self) -> bool:
        # Without the file that says so it may be a new layout whose writer was killed.
        names = {name for name in os.listdir(self.where) if not name.startswith(_TEMPORARY)}
        return LAYOUT_FILE in names or names <= {"blobs"}

    def _sweep(self) -> None:
        """Remove what killed writers left; nobody else writes now."""
        for name in os.listdir(self._lock):
            if name.startswith(_TEMPORARY):
                os.unlink(name, dir_fd=self._lock)

    def _existing(self) -> dict[str, Any]:
        path = f"{self.where}/{INDEX_FILE}"
        try:
            with open(path, "rb") as file:
                data = file.read(_MAX_INDEX + 1)
            index: dict[str, Any] = loads(data)
            Index.parse(index)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", path) from None
        except ManifestError as error:
            raise ArchiveError(": ".join(filter(None, error.faults[0])), path) from None
        tags = [(one.get("annotations") or {}).get(REF_NAME, "") for one in index["manifests"]]
        if self._tag in tags and not self._overwrite:
            raise UsageError(f"has an image {self._tag} already", self.where, "--overwrite replaces it")
        return index

    def _copy(self, file: BinaryIO, final: str) -> None:
        file.seek(0)
        temporary = f"{final}.{os.urandom(6).hex()}"
        self._added.append(temporary)
        with open(temporary, "xb") as out:
            while data := file.read(_CHUNK):
                out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.rename(temporary, final)

    def _remove(self) -> None:
        for path in self._added:
            if os.path.exists(path):
                os.unlink(path)
        for path in reversed(self._made):
            os.rmdir(path)
        self._added.clear()
        self._made.clear()


def _unnamed(directory: str) -> BinaryIO:
    """A file in `directory` that can be given a name there later, where the file system can do that."""
    try:
        fd = os.open(directory, os.O_RDWR | _TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
        return tempfile.TemporaryFile(dir=directory)
    return os.fdopen(fd, "w+b")
