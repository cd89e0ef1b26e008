"""Files that are complete or not there."""

from __future__ import annotations

import errno
import os

from appc.errors import HostError, UsageError
from appc.store.durable import WriteBack

_TMPFILE = getattr(os, "O_TMPFILE", 0)


class NewFile:
    """A file that appears under its name, whole, when it is committed, and otherwise never was.

    Unless `overwrite`, a file of that name is an error, at the start and at the end. Where the file system can,
    the new file has no name before, so that even a killed process leaves nothing. `mode` is what the umask applies to.
    """

    def __init__(self, path: str, overwrite: bool = False, mode: int = 0o666) -> None:
        self._path = path
        self._mode = mode
        self._overwrite = overwrite
        self._directory = os.path.dirname(path) or "."
        self._temporary = os.path.join(self._directory, f".{os.path.basename(path)}.{os.urandom(6).hex()}")
        self._named = False
        if not overwrite and os.path.lexists(path):
            raise self._exists()
        try:
            self._fd = self._open()
        except OSError as error:
            raise failure(error, self._path) from error
        self._disk = WriteBack(self._fd)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._named:
            os.unlink(self._temporary)
        os.close(self._fd)

    @property
    def place(self) -> str:
        """A path by which other programs can read what was written, before the file has its name."""
        return self._temporary if self._named else f"/proc/{os.getpid()}/fd/{self._fd}"

    def write(self, data: bytes) -> None:
        """Append to the file."""
        try:
            size = len(data)
            while data:
                data = data[os.write(self._fd, data) :]
            self._disk.wrote(size)
        except OSError as error:
            raise failure(error, self._path) from error

    def commit(self) -> None:
        """Bring the content to the disk and give the file its name."""
        try:
            os.fsync(self._fd)
            if not self._named:
                self._link(self._temporary if self._overwrite else self._path)
                self._named = self._overwrite
            if self._named and self._overwrite:
                os.rename(self._temporary, self._path)
                self._named = False
            elif self._named:
                os.link(self._temporary, self._path)
        except FileExistsError:
            raise self._exists() from None
        except OSError as error:
            raise failure(error, self._path) from error

    def _open(self) -> int:
        if _TMPFILE:
            try:
                return os.open(self._directory, os.O_WRONLY | _TMPFILE | os.O_CLOEXEC, self._mode)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
                    raise
        fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
        self._named = True
        return fd

    def _link(self, path: str) -> None:
        # Only with a directory's descriptor, which an absolute path does not use, does Python follow the link.
        os.link(f"/proc/self/fd/{self._fd}", path, src_dir_fd=self._fd, follow_symlinks=True)

    def _exists(self) -> UsageError:
        return UsageError("exists already", self._path, "--overwrite replaces it")


def failure(error: OSError, path: str) -> HostError:
    """The error for a file that cannot be written."""
    hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return HostError(f"cannot be written: {error.strerror}", path, hint)
