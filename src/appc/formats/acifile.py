"""Image files: built from a directory, complete or not there at all."""

from __future__ import annotations

import errno
import os

from appc.errors import ArchiveError, HostError, UsageError
from appc.formats.acibuild import Times, build_aci
from appc.formats.layout import read_layout, read_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.acibuild import Built

SUFFIX = ".aci"
_TMPFILE = getattr(os, "O_TMPFILE", 0)


def build_file(
    source: str,
    out: str,
    *,
    manifest: str = "",
    compression: str = "gzip",
    level: int | None = None,
    owner_root: bool = False,
    times: Times | None = None,
    overwrite: bool = False,
) -> Built:
    """Build the image `out` from the layout `source`, or from the root file system `source` and a `manifest` file.

    The manifest is checked first. Raises ManifestError with all faults, ArchiveError for what cannot be
    packed, UsageError when `out` exists (unless `overwrite`) or would be part of itself, HostError when it
    cannot be written. After an error there is no trace of the new image, and an old one is as it was.
    """
    if not out.endswith(SUFFIX):
        raise UsageError(f"an image's name must end with {SUFFIX}", out)
    if manifest:
        data, rootfs = read_manifest(manifest), source
    else:
        layout = read_layout(source)
        data, rootfs = layout.manifest, layout.rootfs
    try:
        root = os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", rootfs) from error
    try:
        _check_outside(out, rootfs)
        with NewFile(out, overwrite) as file:
            built = build_aci(
                root,
                data,
                file,
                compression=compression,
                level=level,
                owner_root=owner_root,
                times=times,
                where=rootfs,
            )
            file.commit()
    finally:
        os.close(root)
    return built


def _check_outside(out: str, rootfs: str) -> None:
    directory = os.path.realpath(os.path.dirname(out) or ".")
    inside = os.path.realpath(rootfs)
    if os.path.commonpath((directory, inside)) == inside:
        raise UsageError(f"lies in {rootfs} and would be part of itself", out, "write it to another directory")


class NewFile:
    """A file that appears under its name, whole, when it is committed, and otherwise never was.

    Unless `overwrite`, a file of that name is an error, at the start and at the end. Where the file system can,
    the new file has no name before, so that even a killed process leaves nothing.
    """

    def __init__(self, path: str, overwrite: bool = False) -> None:
        self._path = path
        self._overwrite = overwrite
        self._directory = os.path.dirname(path) or "."
        self._temporary = os.path.join(self._directory, f".{os.path.basename(path)}.{os.urandom(6).hex()}")
        self._named = False
        if not overwrite and os.path.lexists(path):
            raise self._exists()
        try:
            self._fd = self._open()
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._named:
            os.unlink(self._temporary)
        os.close(self._fd)

    def write(self, data: bytes) -> None:
        """Append to the file."""
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise self._failure(error) from error

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
            raise self._failure(error) from error

    def _open(self) -> int:
        if _TMPFILE:
            try:
                return os.open(self._directory, os.O_WRONLY | _TMPFILE | os.O_CLOEXEC, 0o666)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
                    raise
        fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._named = True
        return fd

    def _link(self, path: str) -> None:
        # Only with a directory's descriptor, which an absolute path does not use, does Python follow the link.
        os.link(f"/proc/self/fd/{self._fd}", path, src_dir_fd=self._fd, follow_symlinks=True)

    def _exists(self) -> UsageError:
        return UsageError("exists already", self._path, "--overwrite replaces it")

    def _failure(self, error: OSError) -> HostError:
        hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return HostError(f"cannot be written: {error.strerror}", self._path, hint)
