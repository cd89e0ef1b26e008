"""Reading OpenPGP packets from strangers: what is understood, and that nothing else gets through as an exception."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from appc.errors import SignatureError
from appc.trust.packets import MAX_KEYS, MAX_SIGNATURE, armor, dearmor, read_certificates, read_signatures

pysequoia = pytest.importorskip("pysequoia")


@pytest.fixture(scope="module")
def key() -> object:
    return pysequoia.Tsk.generate(user_ids=["One <one@example.com>", "Two\x1b[31m <two@example.com>"])


@pytest.fixture(scope="module")
def public(key: object) -> bytes:
    return bytes(key.extract_certificate())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def signature(key: object) -> bytes:
    made: bytes = pysequoia.sign(key.signer(), b"data", mode=pysequoia.SignatureMode.DETACHED)  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    ("profile", "suite"),
    [("RFC4880", "Cv25519"), ("RFC4880", "P256"), ("RFC4880", "RSA3k"), ("RFC9580", "Cv25519"), ("RFC9580", "P521")],
)
def test_keys_are_read_as_another_implementation_reads_them(profile: str, suite: str) -> None:
    tsk = pysequoia.Tsk.generate(
        user_id="One <one@example.com>",
        profile=getattr(pysequoia.Profile, profile),
        cipher_suite=getattr(pysequoia.CipherSuite, suite),
        validity_seconds=86400,
    )
    theirs = tsk.extract_certificate()
    (ours,) = read_certificates(bytes(theirs))
    assert ours.fingerprint == theirs.fingerprint
    assert ours.primary.expires == int(theirs.expiration.timestamp())
    assert ours.primary.bits == (3072 if suite == "RSA3k" else 0)
    assert ours.user_ids == ["One <one@example.com>"]
    made = pysequoia.sign(tsk.signer(), b"data", mode=pysequoia.SignatureMode.DETACHED)
    (claim,) = read_signatures(made)
    assert claim.issuer == pysequoia.Sig.from_bytes(made).issuer_fingerprint
    assert ours.made(claim) in ours.subkeys
    (again,) = read_certificates(ours.data)
    assert again.fingerprint == ours.fingerprint
    assert pysequoia.Cert.from_bytes(ours.data).fingerprint == ours.fingerprint


def test_user_ids_cannot_steer_a_terminal(public: bytes) -> None:
    (certificate,) = read_certificates(public)
    assert certificate.user_ids == ["One <one@example.com>", "Two?[31m <two@example.com>"]


def test_armor_is_undone(public: bytes) -> None:
    text = armor(public, "PUBLIC KEY BLOCK")
    assert dearmor(text) == public
    assert dearmor(b"From: me\r\n\r\n" + text.replace(b"\n", b"\r\n") + b"\nbye\n") == public
    headers = text.replace(b"BLOCK-----\n\n", b"BLOCK-----\nVersion: 1\nComment: hi\n\n", 1)
    lines = headers.split(b"\n")
    assert [len(line) for line in lines if line.startswith(b"=")] == [5]
    assert dearmor(b"\n".join(line for line in lines if not line.startswith(b"="))) == public
    assert pysequoia.Cert.from_bytes(text).fingerprint == read_certificates(text)[0].fingerprint


def test_armor_has_the_checksum_that_old_readers_want() -> None:
    """The check value of CRC-24/OPENPGP, for the digits from 1 to 9, is 21CF02."""
    assert armor(b"123456789", "SIGNATURE").splitlines()[-2] == b"=Ic8C"


def test_sizes_are_bounded() -> None:
    with pytest.raises(SignatureError, match="too many"):
        read_signatures(b"\x88" * (MAX_SIGNATURE + 1))
    with pytest.raises(SignatureError, match="too many"):
        read_certificates(b"\x99" * (MAX_KEYS + 1))


def test_damaged_packets_are_refused_and_nothing_else(public: bytes, signature: bytes) -> None:
    """Cut and changed at every place a few thousand times: a sentence or a result, never another exception."""
    chance = random.Random(2)
    for data, read in ((public, read_certificates), (dearmor(signature), read_signatures)):
        for cut in range(len(data)):
            try:
                read(data[:cut])  # type: ignore[operator]
            except SignatureError:
                pass
        for _ in range(3000):
            changed = bytearray(data)
            for _ in range(chance.randrange(1, 4)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            try:
                read(bytes(changed))  # type: ignore[operator]
            except SignatureError:
                pass


_READ = """
from appc.errors import SignatureError
from appc.trust.packets import MAX_KEYS, read_certificates
begin, end = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\\n\\n", b"-----END PGP PUBLIC KEY BLOCK-----\\n"
try:
    read_certificates(begin + b"AA\\n" * ((MAX_KEYS - len(begin + end)) // 3) + end)
except SignatureError as error:
    print(error)
"""


def test_a_large_key_file_takes_no_longer_than_its_size() -> None:
    """Discovery takes keys from anybody; joined line by line these would take the better part of an hour."""
    done = subprocess.run([sys.executable, "-c", _READ], capture_output=True, timeout=100, check=True)
    assert done.stdout.count(b"\n") == 1


def test_the_packets_of_a_key_file_are_bounded(public: bytes) -> None:
    with pytest.raises(SignatureError, match="more than 100000 packets"):
        read_certificates(public + b"\xb4\x00" * 100_001)
