"""What targets about archives have in common: their limits, a strict sink, and reading without a thread."""

from __future__ import annotations

import hashlib

from appc.formats import compress
from appc.formats.limits import Limits
from appc.formats.tar import HARDLINK, Entry, safe_name

LIMITS = Limits(size=1 << 20, entries=200, pax=1 << 14, ratio_floor=1 << 18)


class Inside:
    """A sink that insists on what `formats.aci` promises of every entry."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}

    def entry(self, entry: Entry) -> None:
        parts = entry.path.split("/")
        assert parts[0] == "rootfs"
        assert not {"", ".", ".."} & set(parts)
        assert safe_name(entry.path) == entry.path
        assert entry.path not in self.kinds, "twice"
        for count in range(1, len(parts)):
            assert self.kinds.get("/".join(parts[:count]), "dir") == "dir", "below something else"
        if entry.type == HARDLINK:
            assert self.kinds[entry.link_path] != "dir"
        else:
            assert not any(path.startswith(entry.path + "/") for path in self.kinds) or entry.type == "dir"
        self.kinds[entry.path] = entry.type
        for _ in entry.chunks():
            pass


class NoThread:
    """In the place of a thread that reads ahead: it is not what is fuzzed, and waiting for it takes longest."""

    def __init__(self, source: compress.Reader, digest: hashlib._Hash | None = None, chunks: int = 0) -> None:
        self._source = source
        self._digest = digest

    def __enter__(self) -> NoThread:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int = 1 << 20, /) -> bytes:
        data = self._source.read(size)
        if self._digest is not None:
            self._digest.update(data)
        return data

    def close(self) -> None:
        pass
