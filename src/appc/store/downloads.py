"""Downloads that were broken off, and what is known of the images that came from somewhere.

A download is a directory named after what it is of: `data`, what has arrived, and `about`, how the sender can tell that
it still has the same (validators). Whoever works at it holds a flock on the directory, so two that want the same wait
for each other. A record of where an image came from is one small file; it saves fetching the same again.
"""

from __future__ import annotations

import fcntl
import os

from appc.errors import ManifestError
from appc.schema.json import dumps, loads
from appc.store.durable import write_file
from appc.store.layout import ID_LENGTH, make_directory, store_path
from appc.store.locks import Hold, hold_alone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

_LIMIT = 1 << 16


class Download:
    """One download, held alone by this process until `close`.

    `path` is the file of what has arrived, in `directory`; `about` what was noted of it (texts by names), {} for a new
    one.
    """

    def __init__(self, directory: str, held: Hold) -> None:
        self.directory = directory
        self._held = held
        self._forgotten = False
        self.path = f"{directory}/data"
        self.about = _read(f"{directory}/about")

    @property
    def size(self) -> int:
        """The bytes that have arrived."""
        try:
            return os.stat(self.path).st_size
        except FileNotFoundError:
            return 0

    def open(self) -> BinaryIO:
        """Open the file for reading and writing, at its beginning."""
        return os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)

    def begin(self, about: Mapping[str, str]) -> None:
        """Forget what has arrived, and note `about` of what will."""
        with self.open() as stream:
            stream.truncate(0)
        self.about = dict(about)
        write_file(f"{self.directory}/about", dumps(self.about).encode())

    def forget(self) -> None:
        """Remove the download: it is complete, or of no use. `path` may have been linked to elsewhere."""
        import shutil  # dear, and this module is on the way of a launch

        shutil.rmtree(self.directory, ignore_errors=True)
        self._forgotten = True

    def close(self) -> None:
        """Let others work at it; one without data is removed."""
        # What is there once it was forgotten is somebody else's.
        if not self._forgotten and not self.size:
            self.forget()
        self._held.close()

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def download(root: str, source: str) -> Download:
    """Return the download of `source` (a URL), begun before or new, when nobody else works at it any more."""
    directory = store_path(root, "downloads", _key(source))
    while True:
        make_directory(directory)
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        held = Hold(fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            # Who had it before may have removed it.
            if os.path.samestat(os.stat(directory), os.fstat(fd)):
                return Download(directory, held)
        except FileNotFoundError:
            pass
        held.close()


def unused(root: str) -> Iterator[tuple[str, float, Hold]]:
    """Yield (path, time of the last change, hold) of each download that nobody works at."""
    parent = store_path(root, "downloads")
    for name in os.listdir(parent) if os.path.isdir(parent) else ():
        held = hold_alone(f"{parent}/{name}")
        if held is None:
            continue
        with held:
            entries = [entry.stat().st_mtime for entry in os.scandir(f"{parent}/{name}")]
            yield f"{parent}/{name}", max(entries, default=0.0), held


def remember(root: str, source: str, image_id: str, about: Mapping[str, str]) -> None:
    """Note that `source` was the image `image_id`, and what its sender said about that."""
    make_directory(store_path(root, "remotes"))
    record = {**about, "source": source, "image": image_id}
    write_file(store_path(root, "remotes", _key(source)), dumps(record).encode())


def recall(root: str, source: str) -> dict[str, str]:
    """Return what was noted of `source`: its `image` and more; {} when nothing was."""
    record = _read(store_path(root, "remotes", _key(source)))
    known = record.get("source") == source and len(record.get("image", "")) == ID_LENGTH
    return record if known else {}


def sweep(root: str, present: set[str]) -> None:
    """Forget where images came from that are not among those `present`."""
    directory = store_path(root, "remotes")
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        if _read(f"{directory}/{name}").get("image") not in present:
            try:
                os.unlink(f"{directory}/{name}")
            except FileNotFoundError:
                pass  # another collector was quicker


def _key(source: str) -> str:
    try:
        from _blake2 import blake2b  # hashlib would load OpenSSL, and this is on the way of a launch
    except ImportError:
        from hashlib import blake2b
    return blake2b(source.encode("utf-8", "surrogateescape"), digest_size=32).hexdigest()


def _read(path: str) -> dict[str, str]:
    try:
        with open(path, "rb") as stream:
            record = loads(stream.read(_LIMIT), _LIMIT)
    except (OSError, ManifestError):
        return {}
    return {k: v for k, v in record.items() if isinstance(v, str)} if isinstance(record, dict) else {}
