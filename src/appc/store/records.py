"""One line of JSON for every entry of an image: what checking, copying and rendering it needs to know.

Format, version 1: the line `appc entries 1`; for each entry, in the order of the archive, an array
    [type, path, mode, uid, gid, size, mtime in ns, sha256, link target, device major, minor, {attribute: base64}]
without the members at the end that are "", 0 or {}; and last the number of entries. Paths and link targets are as in
`formats.extract.Record`; bytes that are not UTF-8 are lone surrogates, escaped.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64

from appc.errors import StoreError
from appc.formats.extract import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

HEADER = b"appc entries 1\n"
_EMPTY: tuple[Any, ...] = ("", 0, {})
_encode = json.JSONEncoder(separators=(",", ":")).encode


class RecordWriter:
    """Writes the records of one image to `out`; `close` completes them."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.count = 0
        out.write(HEADER)

    def add(self, record: Record) -> None:
        """Write one record."""
        fields: list[Any] = [
            record.type,
            record.path,
            record.mode,
            record.uid,
            record.gid,
            record.size,
            record.mtime_ns,
            record.sha256,
        ]
        if record.linkname or record.devmajor or record.devminor or record.xattrs:
            xattrs = {name: b2a_base64(value, newline=False).decode() for name, value in record.xattrs.items()}
            fields += (record.linkname, record.devmajor, record.devminor, xattrs)
        while fields[-1] in _EMPTY:
            fields.pop()
        self._out.write(_encode(fields).encode() + b"\n")
        self.count += 1

    def close(self) -> None:
        """Write the line that tells a whole file from a truncated one."""
        self._out.write(b"%d\n" % self.count)


def read_records(path: str) -> Iterator[Record]:
    """Yield the records in the file `path`. Raises StoreError when it is missing, damaged or not complete."""
    try:
        with open(path, "rb") as stream:
            if stream.readline() != HEADER:
                raise StoreError("is of a version this appc does not know", path)
            for count, line in enumerate(stream):
                fields = json.loads(line)
                if isinstance(fields, int):
                    if fields != count or stream.read(1):
                        raise StoreError("is damaged", path)
                    return
                yield _record(fields)
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", path) from None
    except (ValueError, TypeError):
        raise StoreError("is damaged", path) from None
    raise StoreError("is cut short", path)


def _record(fields: list[Any]) -> Record:
    kind, path, mode, uid, gid, size, mtime, sha256, linkname, major, minor, xattrs = (
        fields + ["", "", 0, 0, 0, 0, 0, "", "", 0, 0, {}][len(fields) :]
    )
    return Record(
        path,
        kind,
        mode=mode,
        uid=uid,
        gid=gid,
        size=size,
        mtime_ns=mtime,
        linkname=linkname,
        devmajor=major,
        devminor=minor,
        xattrs={name: a2b_base64(value) for name, value in xattrs.items()},
        sha256=sha256,
    )
