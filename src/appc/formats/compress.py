"""Compressed streams: which kind, reading with limits, writing the same bytes for the same input.

Kinds are "gzip", "bzip2", "xz", "zstd" (read only) and "none". Reading uses the fastest gzip decoder that is
installed. What is written depends on content, kind, level and the library that compresses (`formats.gzipwrite` says
which for gzip), but neither on the caller's writes nor on the number of processors.
"""

from __future__ import annotations

from appc.errors import ArchiveError, UsageError
from appc.formats import openpgp
from appc.formats.limits import DEFAULT, MIB, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Source(Protocol):
        """A stream of bytes; short reads are fine, an empty one is its end."""

        def read(self, size: int, /) -> bytes: ...

    class Sink(Protocol):
        """Where bytes go."""

        def write(self, data: bytes, /) -> object: ...

    class Writer(Sink, Protocol):
        """Compresses what is written; `close` completes the stream and leaves the sink open, `abort` gives up."""

        def close(self) -> None: ...
        def abort(self) -> None: ...

    class Decoder(Protocol):
        """What the incremental decoders have in common."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int) -> bytes: ...

    class Encoder(Protocol):
        """What the incremental encoders have in common."""

        def compress(self, data: bytes, /) -> bytes: ...
        def flush(self) -> bytes: ...


_MAGIC = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}
# kind: lowest, highest and usual level
LEVELS = {"gzip": (1, 9, 5), "bzip2": (1, 9, 9), "xz": (0, 9, 6)}

_HEAD = 512
_INPUT = 256 * 1024


def detect(head: bytes) -> str:
    """What a stream is, from its first 512 bytes.

    That is a kind of compression, "tar", "pgp" for an encrypted OpenPGP message, or "none" for anything else.
    """
    for kind, magic in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    return "pgp" if openpgp.is_message(head) else "none"


class Reader:
    """Decompresses `source`, one stream or several of one kind in a row, and reads it to its end.

    `kind` is what `detect` said; "tar", "pgp" and "none" pass through. Zeros behind the last stream are padding;
    anything else there is left out, as gzip(1) does, and `ignored` counts its bytes. `consumed` and
    `produced` count bytes before and after decompression. Raises ArchiveError, with `where`, for input that
    is corrupt, truncated or expands beyond the limits.
    """

    def __init__(self, source: Source, limits: Limits = DEFAULT, where: str = "") -> None:
        self._source = source
        self._limits = limits
        self._where = where
        self._input = b""
        self.consumed = 0
        self.produced = 0
        self.ignored = 0
        while len(self._input) < _HEAD:
            data = self._fill()
            if not data:
                break
            self._input += data
        self.kind = detect(self._input)
        self._plain = self.kind not in _MAGIC
        self._ended = False
        if not self._plain:
            self._decoder, self._errors = _decoder(self.kind, limits, where)

    def read(self, size: int = MIB, /) -> bytes:
        """Up to `size` bytes of the uncompressed stream, b"" at its end."""
        data = b""
        if self._plain:
            data, self._input = self._input[:size] or self._fill(size), self._input[size:]
        while not data and not self._ended and not self._plain:
            if self._decoder.eof and not self._next_stream():
                break
            if self._decoder.needs_input and not self._input:
                self._input = self._fill()
                if not self._input:
                    raise ArchiveError(f"{self.kind} stream is truncated", self._where)
            data = self._decode(size)
        self.produced += len(data)
        limits = self._limits
        if self.produced > limits.ratio_floor and self.produced > limits.ratio * self.consumed:
            hint = f"if it is to be trusted, decompress the {self.kind} stream first"
            raise ArchiveError(f"expands to more than {limits.ratio} times its size", self._where, hint)
        return data

    def _fill(self, size: int = _INPUT) -> bytes:
        data = self._source.read(size)
        self.consumed += len(data)
        return data

    def _decode(self, size: int) -> bytes:
        data, self._input = self._input, b""
        try:
            return self._decoder.decompress(data, size)
        except self._errors as error:
            what = f"{self.kind} stream is corrupt ({error})"
            if "Memory usage limit" in str(error):
                what = f"{self.kind} stream needs more memory than the {self._limits.memory >> 20} MiB allowed"
            raise ArchiveError(what, self._where) from None

    def _next_stream(self) -> bool:
        """Set out on a further stream of the same kind; False at the end of the input."""
        magic = _MAGIC[self.kind]
        rest = self._decoder.unused_data.lstrip(b"\0")
        while len(rest) < len(magic):
            data = self._fill()
            if not data:
                break
            rest = (rest + data).lstrip(b"\0")
        if rest.startswith(magic):
            self._decoder, self._errors = _decoder(self.kind, self._limits, self._where)
            self._input = rest
            return True
        while rest:
            self.ignored += len(rest)
            rest = self._fill()
        self._ended = True
        return False


def reader(source: Source, limits: Limits = DEFAULT, where: str = "") -> Reader:
    """A stream of the uncompressed bytes of `source`, whatever its compression; see `Reader`."""
    return Reader(source, limits, where)


def _decoder(kind: str, limits: Limits, where: str) -> tuple[Decoder, tuple[type[Exception], ...]]:
    """An incremental decoder and the exceptions by which it reports bad input."""
    if kind == "gzip":
        zlib = _zlib()
        return _Inflate(zlib.decompressobj(31)), (zlib.error,)
    if kind == "bzip2":
        import bz2

        return bz2.BZ2Decompressor(), (OSError, EOFError, ValueError)
    if kind == "xz":
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.memory), (lzma.LZMAError, EOFError)
    zstd = _zstd()
    if zstd is None:
        hint = "install the Python package backports.zstd"
        raise ArchiveError("is compressed with zstd, which this installation cannot read", where, hint)
    return zstd.ZstdDecompressor(), (zstd.ZstdError, EOFError)


def _zlib() -> Any:
    """The fastest library that there is with the interface of zlib."""
    try:
        # Its decoder takes three quarters of the time that igzip_lib's takes.
        from isal import isal_zlib
    except ImportError:
        try:
            from zlib_ng import zlib_ng
        except ImportError:
            import zlib

            return zlib
        return zlib_ng
    return isal_zlib


def _zstd() -> Any:
    try:
        from compression import zstd
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            return None
    return zstd


class _Inflate:
    """zlib's decompression object with the interface that the other decoders have."""

    def __init__(self, inflate: Any) -> None:
        self._inflate = inflate

    @property
    def eof(self) -> bool:
        return bool(self._inflate.eof)

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inflate.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return bytes(self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length))


# -- writing --------------------------------------------------------------------------------------


def writer(sink: Sink, kind: str, level: int | None = None) -> Writer:
    """A stream that writes to `sink` compressed as `kind` ("none" too); UsageError for a kind or level there is not."""
    if kind == "none":
        if level is not None:
            raise UsageError("there are no levels without compression")
        return _Plain(sink)
    if kind not in LEVELS:
        raise UsageError(f"{kind!r} is no kind of compression", hint=f"choose one of {', '.join(LEVELS)}, none")
    lowest, highest, usual = LEVELS[kind]
    if level is None:
        level = usual
    if not lowest <= level <= highest:
        raise UsageError(f"{kind} has levels from {lowest} to {highest}, not {level}")
    if kind == "gzip":
        from appc.formats.gzipwrite import GzipWriter

        return GzipWriter(sink, level)
    if kind == "bzip2":
        import bz2

        return _Encoded(sink, bz2.BZ2Compressor(level))
    import lzma

    return _Encoded(sink, lzma.LZMACompressor(lzma.FORMAT_XZ, preset=level))


class _Plain:
    """No compression."""

    def __init__(self, sink: Sink) -> None:
        self.write = sink.write

    def close(self) -> None:
        """Nothing is held back."""

    def abort(self) -> None:
        """Nothing is held back."""


class _Encoded:
    """One stream through an incremental encoder."""

    def __init__(self, sink: Sink, encoder: Encoder) -> None:
        self._sink = sink
        self._encoder = encoder

    def write(self, data: bytes) -> None:
        self._sink.write(self._encoder.compress(data))

    def close(self) -> None:
        self._sink.write(self._encoder.flush())

    def abort(self) -> None:
        """Nothing runs in the background."""
