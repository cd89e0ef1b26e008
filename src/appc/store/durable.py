"""Making what was written last through a power failure, before a rename makes it visible."""

from __future__ import annotations

import os

_QUIET = ((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),)

# Fewer bytes are not worth a system call of their own.
_LEAST = 64 << 10
_STEP = 8 << 20


class WriteBack:
    """Keeps the disk busy while a file grows: what `start`, its present length, and `wrote` tell of goes there early.

    Left to itself the kernel may begin only when the flush at the end waits for it. Nothing is promised before that.
    """

    def __init__(self, fd: int, start: int = 0) -> None:
        self._fd = fd
        self._begun = self._end = start

    def wrote(self, size: int) -> None:
        """Note that `size` bytes were appended."""
        self._end += size
        while self._end - self._begun >= _STEP:
            _write_back(self._fd, self._begun, _STEP)
            self._begun += _STEP


def write_back(fd: int, size: int) -> None:
    """Have the kernel begin to write a complete file of `size` bytes to the disk, as `WriteBack` does."""
    if size >= _LEAST:
        _write_back(fd, 0, size)


def _write_back(fd: int, offset: int, size: int) -> None:
    from appc.host import libc  # dear, and this module is on the way of a launch

    try:
        libc.sync_file_range(fd, offset, size, libc.SYNC_FILE_RANGE_WRITE)
    except OSError:
        pass  # what fails is reported by the flush


def flush_tree(path: str) -> None:
    """Write everything below `path` to the disk; OSError when the disk refuses.

    syncfs(2), through sync(1), writes the journal once: for an image of 3000 files that takes a quarter of the time
    of an fsync(2) per file. Those are the fallback, for where there is no such program, and they say
    what is wrong where it failed.
    """
    try:
        pid = os.posix_spawnp("sync", ["sync", "-f", path], {"PATH": os.defpath}, file_actions=_QUIET)
        _, status = os.waitpid(pid, 0)
    except OSError:
        # No such program, or a caller that ignores SIGCHLD and so hides what became of it.
        status = -1
    if status != 0:
        _flush_each(path)


def flush_directory(path: str) -> None:
    """Make renames into and out of a directory last."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: str, data: bytes) -> None:
    """Replace a small file whole; it lasts when this returns."""
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _flush_each(path: str) -> None:
    for directory, _, names in os.walk(path):
        for name in names:
            entry = f"{directory}/{name}"
            if os.path.isfile(entry) and not os.path.islink(entry):
                fd = os.open(entry, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        flush_directory(directory)
