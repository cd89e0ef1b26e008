"""The trusted keys on disk: layout, precedence, masking, adding and removing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appc.errors import AppcError, SignatureError, UsageError
from appc.trust.keystore import Keystore
from appc.trust.lookup import is_trusted
from appc.trust.packets import armor

pysequoia = pytest.importorskip("pysequoia")


def make(name: str = "someone") -> tuple[bytes, str]:
    certificate = pysequoia.Tsk.generate(user_id=f"{name} <{name}@example.com>").extract_certificate()
    return bytes(certificate), certificate.fingerprint


@pytest.fixture
def directories(tmp_path: Path) -> list[str]:
    return [str(tmp_path / name) for name in ("system", "local", "user")]


@pytest.fixture
def keystore(directories: list[str]) -> Keystore:
    return Keystore(directories)


def place(directory: str, prefix: str, fingerprint: str, data: bytes) -> Path:
    """Put a file where rkt would have it."""
    below = f"prefix.d/{prefix}" if prefix else "root.d"
    path = Path(directory, "trustedkeys", below, fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_nothing_is_trusted_at_first(keystore: Keystore) -> None:
    assert keystore.trusted() == []
    assert keystore.trusted("example.com/app") == []


@pytest.mark.parametrize("armored", [True, False])
def test_an_added_key_lies_where_rkt_has_it(keystore: Keystore, directories: list[str], armored: bool) -> None:
    data, fingerprint = make()
    (key,) = keystore.add(armor(data, "PUBLIC KEY BLOCK") if armored else data, "example.com/app")
    assert key.path == f"{directories[-1]}/trustedkeys/prefix.d/example.com/app/{fingerprint}"
    assert Path(key.path).read_bytes().startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert os.stat(key.path).st_mode & 0o777 == 0o644
    assert key.certificate.user_ids == ["someone <someone@example.com>"]
    assert [found.fingerprint for found in keystore.trusted("example.com/app/sub")] == [fingerprint]
    assert keystore.trusted("example.com") == []
    (key,) = keystore.add(data, "")
    assert key.path == f"{directories[-1]}/trustedkeys/root.d/{fingerprint}"
    assert len(keystore.trusted("anything")) == 1


def test_a_file_of_several_keys_adds_them_all(keystore: Keystore) -> None:
    one, two = make("one"), make("two")
    added = keystore.add(one[0] + two[0], "example.com")
    assert {key.fingerprint for key in added} == {one[1], two[1]}


def test_directories_are_merged_and_empty_files_mask(keystore: Keystore, directories: list[str]) -> None:
    data, fingerprint = make()
    system, local, user = directories
    place(system, "example.com", fingerprint, data)
    place(system, "", fingerprint, data)
    assert len(keystore.trusted("example.com")) == 2
    assert is_trusted(directories, fingerprint, "example.com/app")
    mask = place(local, "example.com", fingerprint, b"")
    assert [key.prefix for key in keystore.trusted()] == [""]
    place(local, "", fingerprint, b"")
    assert keystore.trusted() == []
    assert not is_trusted(directories, fingerprint, "example.com/app")
    place(user, "example.com", fingerprint, data)
    assert [key.prefix for key in keystore.trusted()] == ["example.com"]
    assert is_trusted(directories, fingerprint, "example.com/app")
    mask.unlink()
    assert not is_trusted(directories, fingerprint, "example.community/app")
    assert not is_trusted(directories, "0" * 40, "example.com/app")
    assert not is_trusted(directories, fingerprint, "x/../example.com")


def test_removing_takes_away_ones_own_and_masks_the_systems(keystore: Keystore, directories: list[str]) -> None:
    data, fingerprint = make()
    (key,) = keystore.add(data, "example.com")
    assert [removed.path for removed in keystore.remove(fingerprint[-16:].upper())] == [key.path]
    assert not os.path.exists(key.path)
    place(directories[0], "example.com", fingerprint, data)
    keystore.add(data, "other.org")
    keystore.remove(fingerprint, "example.com")
    assert [found.prefix for found in keystore.trusted()] == ["other.org"]
    assert Path(key.path).read_bytes() == b""
    with pytest.raises(UsageError, match=r"no such key is trusted for example\.com"):
        keystore.remove(fingerprint, "example.com")
    keystore.remove(fingerprint)
    assert keystore.trusted() == []


def test_which_key_is_to_be_removed_must_be_clear(keystore: Keystore) -> None:
    data, fingerprint = make()
    keystore.add(data, "example.com")
    for text in ("", "0" * 40, "zz"):
        with pytest.raises(UsageError, match="no such key"):
            keystore.remove(text)
    while True:
        other, second = make()
        if second[-1] == fingerprint[-1]:
            break
    keystore.add(other, "example.com")
    with pytest.raises(UsageError, match="more than one"):
        keystore.remove(fingerprint[-1])


@pytest.mark.parametrize("prefix", ["..", "../x", "a/../b", "/etc", "a//b", "Example.com", "a b", "."])
def test_only_image_names_can_be_prefixes(keystore: Keystore, directories: list[str], prefix: str) -> None:
    with pytest.raises(AppcError):
        keystore.add(make()[0], prefix)
    assert not os.path.exists(directories[-1])


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"\x99\x01", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n$$$$\n-----END PGP"]
)
def test_what_is_no_key_is_not_added(keystore: Keystore, data: bytes) -> None:
    with pytest.raises(SignatureError):
        keystore.add(data, "example.com")


def test_secret_keys_are_not_taken(keystore: Keystore) -> None:
    with pytest.raises(SignatureError, match="secret key") as caught:
        keystore.add(bytes(pysequoia.Tsk.generate(user_id="me")), "example.com")
    assert "gpg --armor --export" in caught.value.hint


def test_a_file_must_be_named_after_its_key(keystore: Keystore, directories: list[str]) -> None:
    data, fingerprint = make()
    place(directories[0], "example.com", "0" * 40, data)
    with pytest.raises(SignatureError, match=fingerprint):
        keystore.trusted("example.com")


def test_a_damaged_file_is_named(keystore: Keystore, directories: list[str]) -> None:
    path = place(directories[0], "example.com", make()[1], b"nonsense")
    with pytest.raises(SignatureError) as caught:
        keystore.trusted()
    assert str(path) in str(caught.value)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SignatureError, match="cannot be written: Not a directory"):
        Keystore([str(tmp_path / "file")]).add(make()[0], "example.com")
