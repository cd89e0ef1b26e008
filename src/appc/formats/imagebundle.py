"""Image bundles: images with their signatures, and the keys these were made with, in one tar archive.

    appc-bundle                 first: JSON, {"appcBundle": 1, "images": [IDs], "keys": [fingerprints]}
    keys/FINGERPRINT.asc        a public key, armored
    manifests/ID.json           the manifest of an image, as it is in the image
    images/ID.aci.asc           its detached signature, if it has one
    images/ID.aci               the image as it is distributed

The last of the images is the one that the bundle is about; the others are what it depends on. Nothing in a bundle is
believed for being in it: images are verified by their signatures, and keys are only offered.
"""

from __future__ import annotations

from appc.errors import ArchiveError, InvalidValue, ManifestError
from appc.formats.extract import Record
from appc.formats.limits import Limits
from appc.formats.ocilayout_tar import TarBlobs
from appc.formats.tar import Reader
from appc.formats.tarnames import FILE
from appc.formats.tarwrite import Writer
from appc.schema.json import dumps, loads
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from appc.formats.compress import Sink, Source

INDEX = "appc-bundle"
VERSION = 1
MOST_IMAGES = 500
MOST_KEYS = 500

_MAX_INDEX = 1 << 20
_BOUNDS = Limits(entries=1 + MOST_KEYS + 3 * MOST_IMAGES, name=256)
_HEX = frozenset("0123456789abcdef")


def is_bundle(head: bytes) -> bool:
    """Tell whether a file that begins with the 512 bytes `head` is meant to be a bundle."""
    return head.startswith(INDEX.encode() + b"\0") and head[257:262] == b"ustar"


def key_path(fingerprint: str) -> str:
    """Where a key lies in a bundle."""
    return f"keys/{fingerprint}.asc"


def manifest_path(image_id: str) -> str:
    """Where the manifest of an image lies in a bundle."""
    return f"manifests/{image_id}.json"


def image_path(image_id: str) -> str:
    """Where an image lies in a bundle; its signature is called the same with `.asc` behind."""
    return f"images/{image_id}.aci"


class Index:
    """What is in a bundle: `images` in the order of import, the one it is about last; `keys` by fingerprint."""

    __slots__ = ("images", "keys")

    def __init__(self, images: Sequence[ImageID], keys: Sequence[str]) -> None:
        self.images = tuple(images)
        self.keys = tuple(keys)

    def to_json(self) -> bytes:
        """The content of the first file."""
        document = {"appcBundle": VERSION, "images": list(self.images), "keys": list(self.keys)}
        return (dumps(document, indent=2) + "\n").encode()


def read_index(source: Source, where: str) -> Index:
    """Return the index at the beginning of a bundle. Raises ArchiveError, which names the bundle `where`."""
    entry = next(Reader(source, _BOUNDS, where), None)
    place = f"{where}: {INDEX}"
    if entry is None or entry.name != INDEX or entry.type != FILE:
        raise ArchiveError(f"does not begin with the file {INDEX}", where)
    try:
        document = loads(entry.read(_MAX_INDEX))
    except ManifestError as error:
        raise ArchiveError(error.faults[0][1], place) from None
    if not isinstance(document, dict) or document.get("appcBundle") != VERSION:
        raise ArchiveError(f"is not of version {VERSION}, the one this appc knows", place)
    images, keys = _texts(document, "images", MOST_IMAGES, place), _texts(document, "keys", MOST_KEYS, place)
    if not images:
        raise ArchiveError("names no image", place)
    for key in keys:
        if not 40 <= len(key) <= 64 or not _HEX.issuperset(key):
            raise ArchiveError(f"keys: {key[:80]!r} is no fingerprint", place)
    try:
        return Index([ImageID.parse(one) for one in images], keys)
    except InvalidValue as error:
        raise ArchiveError(f"images: {error}", place) from None


def open_bundle(fd: int, source: Source, index: Index, where: str) -> TarBlobs:
    """Return the files of a bundle by their paths, which must be those that its index asks for.

    `fd` is the file, `source` reads it from its beginning. Raises ArchiveError.
    """
    files = TarBlobs(fd, source, where, _BOUNDS)
    wanted = {INDEX, *(key_path(key) for key in index.keys)}
    wanted.update(path(one) for one in index.images for path in (manifest_path, image_path))
    allowed = wanted.union(f"{image_path(one)}.asc" for one in index.images)
    for name in sorted(files.names()):
        if name not in allowed:
            raise ArchiveError("is in the bundle, but not in its index", f"{where}: {name[:200]}")
    missing = sorted(name for name in wanted if not files.has(name))
    if missing:
        raise ArchiveError("is in the index of the bundle, but not in it", f"{where}: {missing[0]}")
    return files


class BundleWriter:
    """Writes a bundle whose bytes follow from what is put in. `add` takes files in the order given above."""

    def __init__(self, out: Sink, index: Index) -> None:
        self._tar = Writer(out)
        data = index.to_json()
        self.add(INDEX, len(data), (data,))

    def add(self, path: str, size: int, content: Iterable[bytes]) -> None:
        """Write a file of `size` bytes. Raises ArchiveError when the content is not that long."""
        self._tar.add(path, Record(path, FILE, mode=0o644, uid=0, gid=0, size=size), content)

    def close(self) -> None:
        """End the archive."""
        self._tar.close()


def _texts(document: dict[str, object], key: str, most: int, where: str) -> list[str]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ArchiveError(f"{key}: is not a list of texts", where)
    if len(value) > most:
        raise ArchiveError(f"{key}: has {len(value)} entries, more than the {most} allowed", where)
    if len(set(value)) < len(value):
        raise ArchiveError(f"{key}: names something twice", where)
    return value
