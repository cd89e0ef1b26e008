"""Compressing layers with zstd, which images other than OCI ones may not use."""

from __future__ import annotations

from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.formats.compress import Sink

_LOWEST, _HIGHEST, _USUAL = 1, 19, 3


class ZstdWriter:
    """Compresses what is written, as the writers of `formats.compress` do. One frame, whose bytes depend on content,
    level and the version of the library. Raises UsageError for a level there is not, and without the library."""

    def __init__(self, sink: Sink, level: int | None) -> None:
        if level is not None and not _LOWEST <= level <= _HIGHEST:
            raise UsageError(f"zstd has levels from {_LOWEST} to {_HIGHEST}, not {level}")
        self._sink = sink
        self._encoder = _library().ZstdCompressor(_USUAL if level is None else level)

    def write(self, data: bytes) -> None:
        """Compress `data`."""
        self._sink.write(self._encoder.compress(data))

    def close(self) -> None:
        """Complete the stream."""
        self._sink.write(self._encoder.flush())

    def abort(self) -> None:
        """Nothing runs in the background."""


def _library() -> Any:
    try:
        from compression import zstd
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            hint = "install the Python package backports.zstd"
            raise UsageError("this installation cannot compress with zstd", "--compress", hint) from None
    return zstd
