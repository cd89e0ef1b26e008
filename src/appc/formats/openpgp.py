"""Recognising encrypted OpenPGP messages by how they begin (RFC 9580, section 4)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLIC_KEY_SESSION = 1
PASSPHRASE_SESSION = 3
UNPROTECTED = 9
PROTECTED = 18
GNUPG_PROTECTED = 20

_ARMOR = b"-----BEGIN PGP MESSAGE-----"
_VERSIONS = {PUBLIC_KEY_SESSION: (2, 3, 6), PASSPHRASE_SESSION: (4, 5, 6)}


def is_message(head: bytes) -> bool:
    """Whether a stream that begins with `head` is encrypted, for a passphrase or a key, armored or not."""
    if head.startswith(_ARMOR):
        return True
    first = next(packets(head), None)
    return first is not None and first[1] in _VERSIONS.get(first[0], ())


def packets(head: bytes) -> Iterator[tuple[int, int]]:
    """Yield (tag, version) of the packets that begin in `head`, the first bytes of a binary message.

    The version is the packet's first byte. Ends at the packet with the encrypted data, or where `head` or its sense
    ends.
    """
    at = 0
    while at + 6 < len(head) and head[at] & 0x80:
        first, octet = head[at], head[at + 1]
        if first & 0x40:
            tag = first & 0x3F
            if octet < 192:
                start, length = at + 2, octet
            elif octet < 224:
                start, length = at + 3, ((octet - 192) << 8) + head[at + 2] + 192
            elif octet == 255:
                start, length = at + 6, int.from_bytes(head[at + 2 : at + 6], "big")
            else:
                start, length = at + 2, len(head)
        else:
            tag = first >> 2 & 0x0F
            size = (1, 2, 4, 0)[first & 3]
            start = at + 1 + size
            length = int.from_bytes(head[at + 1 : start], "big") if size else len(head)
        if start >= len(head) or length < 1:
            return
        yield tag, head[start]
        at = start + length
