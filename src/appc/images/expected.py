"""What an image that arrives has to be: discovery.md, "Validation", and what its dependant says of it."""

from __future__ import annotations

from appc.errors import ImageMismatch
from appc.values import Labels, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.schema.image import ImageManifest


class Expected:
    """An image called `name` (any, when empty), with `labels`.

    `defaults` are labels that were filled in because nobody asked for others: an image may lack them, not contradict
    them. `size`, when it is not 0, is that of the image or of its file, in bytes.
    """

    def __init__(self, name: str = "", labels: Labels | None = None, defaults: Labels | None = None, size: int = 0):
        self.name = name
        self.labels = labels or Labels()
        self.defaults = Labels(pair for pair in defaults or () if self.labels.get(pair[0]) is None)
        self.size = size

    @property
    def limit(self) -> int | None:
        """The most bytes that the file may have; None when nothing is known.

        If the size is that of the archive, a file in which nothing could be compressed has a few more.
        """
        return self.size + self.size // 1000 + (64 << 10) if self.size else None

    def admit(self, where: str, manifest: ImageManifest, sizes: tuple[int, ...]) -> None:
        """Raise ImageMismatch, which calls the image `where`, when this is not it; `sizes` are () before the end."""
        self.admit_name(where, manifest.name)
        fault = self._label_fault(manifest.labels)
        if fault:
            version = self.labels.get("version") == "latest"
            hint = "without a version the server is asked for the latest" if version else ""
            raise ImageMismatch(fault, where, hint)
        if self.size and sizes and self.size not in sizes:
            shown = " or ".join(str(size) for size in sorted(set(sizes)))
            raise ImageMismatch(f"has {shown} bytes, and should have {self.size}", where)

    def admit_name(self, where: str, name: str) -> None:
        """Raise ImageMismatch when an image of that name is not this one."""
        if self.name and name != self.name:
            raise ImageMismatch(f"is the image {quoted(name)}, and {self.name} was asked for", where)

    def fits(self, name: str, labels: Labels) -> bool:
        """Tell whether an image of that name and those labels would be admitted, whatever its size."""
        return (not self.name or name == self.name) and not self._label_fault(labels)

    def _label_fault(self, found: Labels) -> str:
        for key, value in self.labels:
            if found.get(key) != value:
                return f"has the label {key} {_shown(found.get(key))}, and {_shown(value)} was asked for"
        for key, value in self.defaults:
            if found.get(key) not in (None, value):
                return f"is for {key} {_shown(found.get(key))}, and this host is {_shown(value)}"
        return ""


def _shown(value: str | None) -> str:
    return "(none)" if value is None else quoted(value)
