"""An index of image files: what a directory or a mirror has, as one JSON document.

    {"images": [{"name": "example.com/app", "labels": {"version": "1.0.0", "os": "linux", "arch": "amd64"},
                 "aci": "app-1.0.0.aci", "asc": "app-1.0.0.aci.asc"}]}

`aci` and `asc` are URLs, or relative to where the index is; `asc` is `aci` and `.asc` when it is left out.
"""

from __future__ import annotations

from appc.errors import AppcError, ManifestError
from appc.schema.json import loads
from appc.values import ACIdentifier, Labels, version_rank

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_INDEX = 16 << 20  # bytes
MAX_IMAGES = 100_000


class Entry:
    """One image of an index."""

    __slots__ = ("aci", "asc", "labels", "name")

    def __init__(self, name: str, labels: Labels, aci: str, asc: str) -> None:
        self.name = name
        self.labels = labels
        self.aci = aci
        self.asc = asc


def parse(data: bytes) -> list[Entry]:
    """Read an index. Raises ManifestError with all its faults; what it has besides is passed over."""
    document = loads(data, MAX_INDEX)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list) or len(images) > MAX_IMAGES:
        raise ManifestError([("images", f"is not a list of up to {MAX_IMAGES} images")])
    faults: list[tuple[str, str]] = []
    found = []
    for number, image in enumerate(images):
        path = f"images[{number}]"
        if not isinstance(image, dict):
            faults.append((path, "is not an object"))
            continue
        try:
            found.append(_entry(image))
        except (AppcError, ValueError) as error:
            faults.append((path, str(error)))
    if faults:
        raise ManifestError(faults)
    return found


def matching(entries: Iterable[Entry], name: str, labels: Labels, prefer: Labels) -> list[Entry]:
    """Return the entries for an image called `name` with all of `labels` and none that contradict `prefer`.

    The best comes first: that which agrees with most of `prefer`, then the latest version, then the first.
    """
    fit = [
        entry
        for entry in entries
        if entry.name == name
        and labels.matches(entry.labels)
        and all(entry.labels.get(key) in (None, value) for key, value in prefer)
    ]
    return sorted(fit, key=lambda entry: _rank(entry, prefer), reverse=True)


def _rank(entry: Entry, prefer: Labels) -> tuple[object, ...]:
    return sum(pair in entry.labels for pair in prefer), version_rank(entry.labels.get("version"))


def _entry(image: dict[str, object]) -> Entry:
    name, labels, aci = image.get("name"), image.get("labels", {}), image.get("aci")
    if not isinstance(name, str) or not isinstance(aci, str) or not aci:
        raise ValueError("has no name, or no aci")
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ValueError("has labels that are not an object of texts")
    asc = image.get("asc", f"{aci}.asc")
    if not isinstance(asc, str):
        raise ValueError("has an asc that is not a text")
    return Entry(ACIdentifier.parse(name), Labels.of(labels), aci, asc)
