"""Just enough of OpenPGP (RFC 4880, RFC 9580) to say who signed and what a key file holds, before anything is verified.

Everything read here is a claim. It serves to choose keys, to refuse early and to explain; whether a signature holds is
decided by engines.py. Input is foreign: sizes are bounded, and what is not understood is skipped or refused.
"""

from __future__ import annotations

import binascii
import hashlib

from appc.errors import SignatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIGNATURE = 64 << 10
MAX_KEYS = 8 << 20
_MAX_PACKETS = 100_000

HASHES = {
    1: "MD5",
    2: "SHA1",
    3: "RIPEMD160",
    8: "SHA256",
    9: "SHA384",
    10: "SHA512",
    11: "SHA224",
    12: "SHA3-256",
    14: "SHA3-512",
}
KEY_ALGORITHMS = {
    1: "RSA",
    2: "RSA",
    3: "RSA",
    16: "ElGamal",
    17: "DSA",
    18: "ECDH",
    19: "ECDSA",
    22: "EdDSA",
    25: "X25519",
    26: "X448",
    27: "Ed25519",
    28: "Ed448",
}

_SIGNATURE, _SECRET_KEY, _PUBLIC_KEY, _SECRET_SUBKEY, _USER_ID, _PUBLIC_SUBKEY = 2, 5, 6, 7, 13, 14
_CERTIFICATIONS = (0x10, 0x11, 0x12, 0x13, 0x1F)
_SUBKEY_BINDING, _KEY_REVOCATION, _SUBKEY_REVOCATION = 0x18, 0x20, 0x28


class Signature:
    """A signature packet. Times are seconds since the epoch, durations seconds, 0 when absent."""

    __slots__ = (
        "created",
        "data",
        "expires_after",
        "hash",
        "issuer",
        "issuer_id",
        "key_expires_after",
        "type",
        "user_id",
    )

    def __init__(self) -> None:
        self.data = b""  # the packet alone, not armored
        self.type = 0
        self.hash = ""
        self.created = 0
        self.expires_after = 0
        self.issuer = ""  # fingerprint of the signing (sub)key, lower-case hexadecimal
        self.issuer_id = ""  # its 64-bit key ID
        self.key_expires_after = 0
        self.user_id = ""

    @property
    def shown_issuer(self) -> str:
        """The best name the signature gives its key."""
        return self.issuer or self.issuer_id


class Key:
    """A primary key or subkey. `expires` is seconds since the epoch, 0 for never."""

    __slots__ = ("algorithm", "bits", "created", "expires", "fingerprint", "revoked", "stated", "version")

    def __init__(self, body: bytes) -> None:
        self.version = _byte(body, 0)
        if self.version not in (4, 6):
            raise SignatureError(f"OpenPGP keys of version {self.version} are not supported")
        self.created = int.from_bytes(body[1:5], "big")
        number = _byte(body, 5)
        self.algorithm = KEY_ALGORITHMS.get(number, f"algorithm {number}")
        material = 6 if self.version == 4 else 10
        self.bits = int.from_bytes(body[material : material + 2], "big") if self.algorithm in ("RSA", "DSA") else 0
        if self.version == 4:
            prefix = b"\x99" + len(body).to_bytes(2, "big")
            self.fingerprint = hashlib.sha1(prefix + body, usedforsecurity=False).hexdigest()
        else:
            self.fingerprint = hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest()
        self.expires = 0
        self.stated = 0  # when the signature was made that says so
        self.revoked = False

    @property
    def key_id(self) -> str:
        """The 64-bit key ID."""
        return self.fingerprint[-16:] if self.version == 4 else self.fingerprint[:16]


class Certificate:
    """One public key with its user IDs and subkeys; `data` are its packets, not armored."""

    __slots__ = ("data", "primary", "self_hashes", "subkeys", "user_ids")

    def __init__(self, primary: Key) -> None:
        self.data = b""
        self.primary = primary
        self.subkeys: list[Key] = []
        self.user_ids: list[str] = []
        self.self_hashes: set[str] = set()

    @property
    def fingerprint(self) -> str:
        """The primary key's fingerprint, lower-case hexadecimal."""
        return self.primary.fingerprint

    @property
    def label(self) -> str:
        """The fingerprint and, when there is one, the first user ID, for messages."""
        return f"{self.fingerprint} ({self.user_ids[0]})" if self.user_ids else self.fingerprint

    def made(self, signature: Signature) -> Key | None:
        """The key of this certificate that `signature` says it was made by."""
        for key in (self.primary, *self.subkeys):
            if signature.issuer == key.fingerprint or (not signature.issuer and signature.issuer_id == key.key_id):
                return key
        return None


def read_signatures(data: bytes) -> list[Signature]:
    """Return the signatures in a detached signature file, armored or binary. Raises SignatureError."""
    if len(data) > MAX_SIGNATURE:
        raise SignatureError(f"{len(data)} bytes are too many for a detached signature")
    found = []
    for tag, body in _packets(dearmor(data)):
        if tag != _SIGNATURE:
            raise SignatureError("is not a detached OpenPGP signature")
        signature = _signature(body)
        if signature is not None and signature.type in (0x00, 0x01):
            signature.data = _packet(tag, body)
            found.append(signature)
    if not found:
        raise SignatureError("holds no OpenPGP signature of a kind that is understood")
    return found


def read_certificates(data: bytes, where: str = "") -> list[Certificate]:
    """Return the public keys in a key file, armored or binary. Raises SignatureError, also for secret keys."""
    try:
        return _read_certificates(data)
    except SignatureError as error:
        raise SignatureError(error.what, where, error.hint) from None


def _read_certificates(data: bytes) -> list[Certificate]:
    if len(data) > MAX_KEYS:
        raise SignatureError(f"{len(data)} bytes are too many for a key file")
    certificates: list[Certificate] = []
    packets: list[list[bytes]] = []
    key: Key | None = None
    for tag, body in _packets(dearmor(data)):
        if tag in (_SECRET_KEY, _SECRET_SUBKEY):
            raise SignatureError("holds a secret key", hint="export the public one: gpg --armor --export KEY")
        if tag == _PUBLIC_KEY:
            key = Key(body)
            certificates.append(Certificate(key))
            packets.append([])
        elif not certificates:
            raise SignatureError("is not an OpenPGP public key")
        elif tag == _PUBLIC_SUBKEY:
            key = Key(body)
            certificates[-1].subkeys.append(key)
        elif tag == _USER_ID:
            certificates[-1].user_ids.append(_printable(body))
        elif tag == _SIGNATURE and key is not None:
            _apply(_signature(body), certificates[-1], key)
        packets[-1].append(_packet(tag, body))
    if not certificates:
        raise SignatureError("holds no OpenPGP public key")
    for certificate, own in zip(certificates, packets, strict=True):
        certificate.data = b"".join(own)
    return certificates


def dearmor(data: bytes) -> bytes:
    """Return the binary form of OpenPGP data; several armored blocks are joined. Binary data is returned as it is."""
    if not data:
        raise SignatureError("is empty")
    if data[0] & 0x80:
        return data
    blocks = []
    lines = iter(data.splitlines())
    for line in lines:
        if line.startswith(b"-----BEGIN PGP ") and line.rstrip().endswith(b"-----"):
            blocks.append(_armored_block(lines))
    if not any(blocks):
        raise SignatureError("is neither armored nor binary OpenPGP data")
    return b"".join(blocks)


def armor(data: bytes, kind: str) -> bytes:
    """Return binary OpenPGP data in ASCII armor; `kind` is "PUBLIC KEY BLOCK" or "SIGNATURE".

    With the checksum that RFC 9580 (section 6.1) leaves out but for readers that want one: rkt and actool are such.
    """
    text = binascii.b2a_base64(data, newline=False)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    checksum = b"=" + binascii.b2a_base64(_crc24(data).to_bytes(3, "big"), newline=False)
    begin, end = (f"-----{word} PGP {kind}-----".encode() for word in ("BEGIN", "END"))
    return b"\n".join((begin, b"", *lines, checksum, end, b""))


def _crc24(data: bytes) -> int:
    """The checksum of ASCII armor (RFC 9580, section 6.1)."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc


def _armored_block(lines: Iterator[bytes]) -> bytes:
    text: list[bytes] = []
    headers = True
    for line in lines:
        line = line.strip()
        if line.startswith(b"-----END PGP "):
            try:
                return binascii.a2b_base64(b"".join(text), strict_mode=True)
            except binascii.Error:
                raise SignatureError("its ASCII armor is damaged") from None
        if headers:
            headers = bool(line)
        elif not (line.startswith(b"=") and len(line) == 5):  # the checksum, which RFC 9580 says to ignore
            text.append(line)
    raise SignatureError("its ASCII armor has no end")


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, body) of each packet."""
    position = count = 0
    while position < len(data):
        count += 1
        if count > _MAX_PACKETS:
            raise SignatureError(f"has more than {_MAX_PACKETS} packets")
        first = data[position]
        position += 1
        if not first & 0x80:
            raise SignatureError("is not OpenPGP data")
        if first & 0x40:
            tag = first & 0x3F
            octet = _byte(data, position)
            if octet < 192:
                size, length = 1, octet
            elif octet < 224:
                size, length = 2, ((octet - 192) << 8) + _byte(data, position + 1) + 192
            elif octet == 255:
                size, length = 5, int.from_bytes(data[position + 1 : position + 5], "big")
            else:
                raise SignatureError("has a packet of unknown length")
        else:
            tag = (first >> 2) & 0x0F
            if first & 3 == 3:
                raise SignatureError("has a packet of unknown length")
            size = 1 << (first & 3)
            length = int.from_bytes(data[position : position + size], "big")
        position += size
        if position + length > len(data):
            raise SignatureError("is cut short")
        yield tag, data[position : position + length]
        position += length


def _packet(tag: int, body: bytes) -> bytes:
    return bytes((0xC0 | tag, 0xFF)) + len(body).to_bytes(4, "big") + body


def _signature(body: bytes) -> Signature | None:
    """Read a signature packet; None for versions nobody makes any more."""
    version = _byte(body, 0)
    if version not in (4, 6):
        return None
    signature = Signature()
    signature.type = _byte(body, 1)
    signature.hash = HASHES.get(_byte(body, 3), f"hash algorithm {_byte(body, 3)}")
    width = 2 if version == 4 else 4
    hashed_end = 4 + width + int.from_bytes(body[4 : 4 + width], "big")
    unhashed_end = hashed_end + width + int.from_bytes(body[hashed_end : hashed_end + width], "big")
    if unhashed_end > len(body):
        raise SignatureError("its signature packet is cut short")
    # What is hashed comes first and wins: the rest can be changed by anybody.
    for start, end in ((4 + width, hashed_end), (hashed_end + width, unhashed_end)):
        for kind, value in _subpackets(body[start:end]):
            _note(signature, kind, value)
    return signature


def _note(signature: Signature, kind: int, value: bytes) -> None:
    if kind == 2 and not signature.created:
        signature.created = int.from_bytes(value[:4], "big")
    elif kind == 3 and not signature.expires_after:
        signature.expires_after = int.from_bytes(value[:4], "big")
    elif kind == 9 and not signature.key_expires_after:
        signature.key_expires_after = int.from_bytes(value[:4], "big")
    elif kind == 16 and not signature.issuer_id:
        signature.issuer_id = value[:8].hex()
    elif kind == 33 and not signature.issuer:
        signature.issuer = value[1:].hex()
    elif kind == 28 and not signature.user_id:
        signature.user_id = _printable(value)


def _subpackets(area: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(area):
        octet = area[position]
        if octet < 192:
            size, length = 1, octet
        elif octet < 255:
            size, length = 2, ((octet - 192) << 8) + _byte(area, position + 1) + 192
        else:
            size, length = 5, int.from_bytes(area[position + 1 : position + 5], "big")
        position += size
        if not length or position + length > len(area):
            raise SignatureError("its signature packet is damaged")
        yield area[position] & 0x7F, area[position + 1 : position + length]
        position += length


def _apply(signature: Signature | None, certificate: Certificate, key: Key) -> None:
    """Note what a signature on a key says of it; only what the key says of itself counts."""
    primary = certificate.primary
    if signature is None or (signature.issuer or signature.issuer_id) not in (primary.fingerprint, primary.key_id):
        return
    if signature.type == _KEY_REVOCATION:
        primary.revoked = True
    elif signature.type == _SUBKEY_REVOCATION:
        key.revoked = True
    elif signature.type in _CERTIFICATIONS or signature.type == _SUBKEY_BINDING:
        if signature.type in _CERTIFICATIONS:
            key = primary
            certificate.self_hashes.add(signature.hash)
        # Of several the last made counts.
        if signature.created >= key.stated:
            key.stated = signature.created
            key.expires = key.created + signature.key_expires_after if signature.key_expires_after else 0


def _byte(data: bytes, index: int) -> int:
    if index >= len(data):
        raise SignatureError("is cut short")
    return data[index]


def _printable(data: bytes) -> str:
    """A user ID as it may be shown: no control characters, at most 200 characters."""
    text = data[:800].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
