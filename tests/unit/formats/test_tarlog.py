"""From the log of a stream and the files that were in it, the very same stream can be made again."""

from __future__ import annotations

import io
import zlib

import pytest

from appc.errors import ArchiveError
from appc.formats import compress
from appc.formats.aci import read_aci
from appc.formats.tar import FILE, Entry
from appc.formats.tarlog import MAGIC, TarLog, replay
from hostile.corpus import Case, cases
from hostile.tarbuild import directory, file, image, sparse, symlink


class Kept:
    """A sink that keeps every file's content, as a store does."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def entry(self, entry: Entry) -> None:
        if entry.type == FILE:
            self.files[entry.path] = b"".join(entry.chunks())

    def open(self, path: str) -> io.BytesIO:
        return io.BytesIO(self.files[path])


def logged(data: bytes) -> tuple[bytes, Kept]:
    """The log of an image, and its files."""
    out = io.BytesIO()
    kept = Kept()
    found = read_aci(io.BytesIO(data), kept, log=TarLog(out))
    kept.files["manifest"] = found.manifest_bytes
    return out.getvalue(), kept


@pytest.mark.parametrize("case", [case for case in cases() if not case.refusal], ids=lambda case: case.name)
def test_every_odd_archive_comes_back_byte_for_byte(case: Case) -> None:
    log, kept = logged(case.data)
    plain = compress.reader(io.BytesIO(case.data))
    assert b"".join(replay(io.BytesIO(log), kept.open)) == b"".join(iter(plain.read, b""))


def test_the_log_is_small_and_holds_no_content() -> None:
    secret = bytes(range(256)) * 2000
    log, kept = logged(image(*(file(b"rootfs/%d" % n, secret) for n in range(20)), symlink(b"rootfs/l", b"0")))
    assert len(log) < 2000
    assert kept.files["rootfs/7"] == secret


def test_files_without_content_are_not_opened() -> None:
    log, kept = logged(image(file(b"rootfs/a", b""), directory(b"rootfs/d"), sparse(b"rootfs/s", [], 9, b"")))
    opened: list[str] = []

    def open_file(path: str) -> io.BytesIO:
        opened.append(path)
        return kept.open(path)

    assert b"".join(replay(io.BytesIO(log), open_file))
    assert opened == ["manifest"]


def test_a_changed_file_is_noticed() -> None:
    log, kept = logged(image(file(b"rootfs/a", b"x" * 5000)))
    kept.files["rootfs/a"] = b"x" * 4999 + b"y"
    with pytest.raises(ArchiveError, match="not those of the archive any more"):
        b"".join(replay(io.BytesIO(log), kept.open))
    kept.files["rootfs/a"] = b"x" * 4999
    with pytest.raises(ArchiveError, match=r"^rootfs/a: file is shorter"):
        b"".join(replay(io.BytesIO(log), kept.open))


@pytest.mark.parametrize("cut", [0, 5, len(MAGIC), len(MAGIC) + 10, -1])
def test_a_log_that_is_cut_short_is_noticed(cut: int) -> None:
    log, kept = logged(image(file(b"rootfs/a")))
    with pytest.raises(ArchiveError):
        b"".join(replay(io.BytesIO(log[:cut]), kept.open))


def test_a_damaged_log_never_gives_another_stream() -> None:
    data = image(file(b"rootfs/a"))
    log, kept = logged(data)
    refused = 0
    for at in range(len(log)):
        damaged = bytearray(log)
        damaged[at] ^= 0x55
        try:
            # Some bits make no difference: where in a run of zeros a copy of zeros is taken from.
            assert b"".join(replay(io.BytesIO(damaged), lambda path: io.BytesIO(kept.files.get(path, b"")))) == data
        except ArchiveError:
            refused += 1
    assert refused > len(log) * 0.9


@pytest.mark.parametrize("record", [b"R\xff\xff\xff\xff", b"F\xff\xff\xff\x7f"])
def test_a_record_that_claims_gigabytes_is_refused_before_they_are_read(record: bytes) -> None:
    class Endless:
        """The magic, and then zeros without end, in little space."""

        def __init__(self) -> None:
            self.deflate = zlib.compressobj(9)
            self.waiting = [MAGIC, self.deflate.compress(record)]
            self.given = 0

        def read(self, size: int) -> bytes:
            data = self.waiting.pop(0) if self.waiting else self.deflate.compress(bytes(1 << 20))
            self.given += 1
            assert self.given < 100
            return data or self.deflate.flush(zlib.Z_SYNC_FLUSH)

    with pytest.raises(ArchiveError, match="is damaged"):
        list(replay(Endless(), lambda path: io.BytesIO()))  # type: ignore[arg-type]
