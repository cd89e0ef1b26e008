"""Encrypting image files and decrypting them: a new file each time, whole or not there."""

from __future__ import annotations

import os

from appc.build.newfile import NewFile
from appc.errors import ArchiveError
from appc.formats import compress
from appc.formats.peek import Peeked
from appc.trust import symmetric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.formats.compress import Source
    from appc.trust.symmetric import Passphrase

_CHUNK = 1 << 20


def encrypt_file(
    source: Source,
    passphrase: Passphrase,
    out: str,
    *,
    compressed: bool = True,
    overwrite: bool = False,
    mode: int = 0o666,
    where: str = "",
) -> None:
    """Write the image `source` to the file `out` encrypted with a passphrase (OpenPGP, AES-256).

    Unless `compressed`, its archive is decompressed first: how well something compresses tells of its content. The
    image ID stays the same either way. Raises ArchiveError for what is no image, UsageError, HostError.
    """
    peeked = Peeked(source)
    kind = compress.detect(peeked.head)
    if kind == "pgp":
        raise ArchiveError("is encrypted already", where)
    if kind not in ("tar", "gzip", "bzip2", "xz"):
        raise ArchiveError("is no image: neither a tar archive nor one compressed with gzip, bzip2 or xz", where)
    plain: Source = peeked if compressed else compress.reader(peeked, where=where)
    with NewFile(out, overwrite, mode) as file:
        encrypt_into(plain, passphrase, file, where)
        file.commit()


def encrypt_into(source: Source, passphrase: Passphrase, file: NewFile, where: str) -> None:
    """Append what `source` reads to a file, encrypted."""
    with symmetric.encrypt(source, passphrase, where) as stream:
        _copy(stream, file)


def decrypt_file(
    source: Source, passphrase: Passphrase, out: str, *, overwrite: bool = False, mode: int = 0o666, where: str = ""
) -> None:
    """Write what the encrypted image `source` holds to the file `out`, once all of it is known to be authentic.

    Raises ArchiveError for what is not encrypted or was changed and for a wrong passphrase, UsageError, HostError.
    """
    peeked = Peeked(source)
    if compress.detect(peeked.head) != "pgp":
        raise ArchiveError("is not encrypted", where)
    with NewFile(out, overwrite, mode) as file, symmetric.decrypt(peeked, passphrase, where) as stream:
        _copy(stream, file)
        file.commit()


def mode_of(path: str) -> int:
    """The permission bits of a file that is to be replaced."""
    return os.stat(path).st_mode & 0o777


def _copy(stream: Source, file: NewFile) -> None:
    while data := stream.read(_CHUNK):
        file.write(data)
