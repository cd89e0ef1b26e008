"""Stages that read ahead of each other: everything arrives in order, nothing piles up, and errors keep their turn."""

from __future__ import annotations

import hashlib

import pytest

from appc.errors import ArchiveError
from appc.formats.pipeline import ReadAhead

CHUNK = b"0123456789abcdef" * 4096
FEW = 4


class _Source:
    """Gives `count` chunks, then raises `error` or ends."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.given = 0
        self._count = count
        self._error = error

    def read(self, size: int, /) -> bytes:
        if self.given < self._count:
            self.given += 1
            return CHUNK
        if self._error is not None:
            raise self._error
        return b""


def test_all_of_a_source_passes_two_stages_and_is_hashed() -> None:
    digest = hashlib.sha512()
    with ReadAhead(_Source(50), chunks=FEW) as first, ReadAhead(first, digest, chunks=FEW) as second:
        data = b"".join(iter(second.read, b""))
        assert digest.digest() == hashlib.sha512(data).digest()
    assert data == 50 * CHUNK


def test_no_more_is_read_than_may_wait() -> None:
    source = _Source(200)
    taken = 0
    with ReadAhead(source, hashlib.sha512(), chunks=FEW) as ahead:
        while ahead.read():
            # One more may be in the hands of each side.
            assert source.given <= taken + FEW + 2
            taken += 1
    assert taken == 200


def test_an_error_comes_after_what_was_read_before_it() -> None:
    source = _Source(20, ArchiveError("is broken"))
    with ReadAhead(source, chunks=FEW) as first, ReadAhead(first, hashlib.sha512(), chunks=FEW) as second:
        for _ in range(20):
            assert second.read() == CHUNK
        with pytest.raises(ArchiveError, match="is broken"):
            second.read()


def test_who_stops_early_waits_for_no_end() -> None:
    source = _Source(1 << 40)
    with ReadAhead(source, chunks=FEW) as first, ReadAhead(first, hashlib.sha512(), chunks=FEW) as second:
        assert second.read() == CHUNK
    assert source.given < 100
