"""Who may sign what: every way a signature can be good or bad, with both programs that verify."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appc.errors import SignatureError
from appc.trust import engines, policy, sign
from appc.trust.check import SignatureCheck
from appc.trust.keystore import Keystore
from appc.trust.packets import read_signatures
from capabilities import need

NAME = "example.com/app"
DATA = b"an image file\n" * 1000
LARGE = os.urandom(1 << 20) * 6  # more than what is verified in this process


class Gpg:
    """gpg with a home directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        self.before_revocation = b""

    def run(self, *words: str, data: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--no-tty"]
        command += ["--pinentry-mode", "loopback", "--passphrase", "", "--trust-model", "always"]
        return subprocess.run([*command, *words], input=data, capture_output=True, check=True).stdout

    def make(self, name: str, kind: str = "ed25519", *options: str, expire: str = "0") -> None:
        self.run(*options, "--quick-gen-key", f"{name} <{name}@example.com>", kind, "sign", expire)

    def fingerprint(self, name: str) -> str:
        lines = self.run("--list-keys", "--with-colons", f"{name}@example.com").decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr")).lower()

    def export(self, name: str) -> bytes:
        return self.run("--export", f"{name}@example.com")

    def sign(self, name: str, data: bytes = DATA, *options: str) -> bytes:
        return self.run(*options, "--armor", "--local-user", f"{name}@example.com", "--detach-sign", data=data)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], capture_output=True, check=False)
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    need("gpg")
    home = tmp_path_factory.mktemp("gpg") / "home"
    gpg = Gpg(home)
    try:
        for name in ("good", "other", "root", "unknown", "revoked"):
            gpg.make(name)
        gpg.make("rsa", "rsa2048")
        gpg.make("weak", "rsa1024")
        gpg.make("selfsha1", "rsa2048", "--cert-digest-algo", "SHA1")
        past = ("--faked-system-time", "20200101T000000")
        gpg.make("expired", "ed25519", *past, expire="30d")
        gpg.make("early", "ed25519", *past)
        gpg.make("subkey", "ed25519")
        gpg.run("--quick-add-key", gpg.fingerprint("subkey"), "rsa2048", "sign", "0")
        gpg.before_revocation = gpg.sign("revoked")
        certificate = home / "openpgp-revocs.d" / f"{gpg.fingerprint('revoked').upper()}.rev"
        # A colon keeps it from being imported by mistake.
        gpg.run("--import", data=certificate.read_bytes().replace(b"\n:-----", b"\n-----"))
        yield gpg
    finally:
        gpg.close()


@pytest.fixture(params=["pysequoia", "gpgv"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two verifies what the tests of this file do."""
    if request.param == "pysequoia":
        pytest.importorskip("pysequoia")
    else:
        need("gpgv")
        for module in (engines, policy):
            monkeypatch.setattr(module, "load_sequoia", lambda: None)
    return str(request.param)


@pytest.fixture
def keystore(tmp_path: Path, gpg: Gpg) -> Keystore:
    store = Keystore([str(tmp_path / "system"), str(tmp_path / "local")])
    store.add(gpg.export("good"), "example.com")
    store.add(gpg.export("rsa"), NAME)
    store.add(gpg.export("subkey"), NAME)
    store.add(gpg.export("other"), "other.org")
    store.add(gpg.export("root"), "")
    return store


def trust_blindly(keystore: Keystore, gpg: Gpg, name: str) -> None:
    """Put a key that `add` would refuse where trusted keys lie: it was good when it was added."""
    path = Path(keystore.writable, "trustedkeys/prefix.d", NAME, gpg.fingerprint(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gpg.export(name))


def check(keystore: Keystore, signature: bytes, data: bytes = DATA, name: str = NAME, known: str = "") -> str:
    """Verify as an import does: everything in chunks, the name at the end."""
    verifier = SignatureCheck(keystore, signature, "app.aci", known)
    try:
        for start in range(0, len(data), 300_000):
            verifier.feed(data[start : start + 300_000])
        return verifier.finish(name)
    finally:
        verifier.close()


def refusal(*arguments: object, **keywords: object) -> str:
    with pytest.raises(SignatureError) as caught:
        check(*arguments, **keywords)  # type: ignore[arg-type]
    assert caught.value.exit_status == 1
    assert str(caught.value).startswith("app.aci: ")
    assert "\n" not in str(caught.value)
    return f"{caught.value}; {caught.value.hint}"


@pytest.mark.parametrize("data", [DATA, LARGE, b""], ids=["small", "large", "empty"])
@pytest.mark.parametrize("key", ["good", "rsa", "root", "subkey"])
def test_a_good_signature_names_its_signer(keystore: Keystore, gpg: Gpg, engine: str, key: str, data: bytes) -> None:
    assert check(keystore, gpg.sign(key, data), data) == gpg.fingerprint(key)


def test_binary_signatures_are_read_too(keystore: Keystore, gpg: Gpg, engine: str) -> None:
    signature = gpg.run("--local-user", "good@example.com", "--detach-sign", data=DATA)
    assert check(keystore, signature) == gpg.fingerprint("good")


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("change", ["flipped", "longer", "shorter", "nothing"])
def test_a_changed_file_is_refused(keystore: Keystore, gpg: Gpg, engine: str, data: bytes, change: str) -> None:
    changed = {
        "flipped": data[:500] + bytes((data[500] ^ 1,)) + data[501:],
        "longer": data + b"x",
        "shorter": data[:-1],
        "nothing": b"",
    }[change]
    said = refusal(keystore, gpg.sign("good", data), changed)
    assert "does not match" in said
    assert gpg.fingerprint("good") in said


def test_a_changed_signature_is_refused(keystore: Keystore, gpg: Gpg, engine: str) -> None:
    binary = bytearray(gpg.run("--local-user", "good@example.com", "--detach-sign", data=DATA))
    binary[-10] ^= 1
    assert "does not match" in refusal(keystore, bytes(binary))


def test_the_signature_of_another_file_is_refused(keystore: Keystore, gpg: Gpg, engine: str) -> None:
    assert "does not match" in refusal(keystore, gpg.sign("good", b"something else"))


def test_an_unknown_key_is_refused_before_anything_is_read(keystore: Keystore, gpg: Gpg, engine: str) -> None:
    signature = gpg.sign("unknown")
    with pytest.raises(SignatureError) as caught:
        SignatureCheck(keystore, signature, "app.aci", claimed_name=lambda: NAME)
    said = f"{caught.value}; {caught.value.hint}"
    assert f"signed by key {gpg.fingerprint('unknown')}" in said
    assert "not trusted for example.com/app" in said
    assert f"{gpg.fingerprint('good')} (good <good@example.com>)" in said
    assert gpg.fingerprint("other") not in said
    assert "appc trust add --prefix example.com/app KEYFILE" in said


def test_a_key_for_other_names_is_refused_with_the_command_that_would_trust_it(
    keystore: Keystore, gpg: Gpg, engine: str, tmp_path: Path
) -> None:
    said = refusal(keystore, gpg.sign("other"))
    fingerprint = gpg.fingerprint("other")
    assert f"signed by key {fingerprint} (other <other@example.com>)" in said
    assert "not trusted for example.com/app, only for other.org" in said
    path = tmp_path / "local/trustedkeys/prefix.d/other.org" / fingerprint
    assert f"appc trust add --prefix example.com/app {path}" in said
    keystore.add(path.read_bytes(), NAME)
    assert check(keystore, gpg.sign("other")) == fingerprint


def test_when_the_name_is_known_a_key_for_others_is_refused_at_once(keystore: Keystore, gpg: Gpg) -> None:
    with pytest.raises(SignatureError, match=r"only for other\.org"):
        SignatureCheck(keystore, gpg.sign("other"), "app.aci", NAME)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("example.com", True),
        ("example.com/app", True),
        ("example.com/a/b", True),
        ("example.community/app", False),
        ("example.co", False),
        ("org/example.com", False),
    ],
)
def test_prefixes_end_where_a_part_of_the_name_ends(keystore: Keystore, gpg: Gpg, name: str, good: bool) -> None:
    signature = gpg.sign("good")
    if good:
        assert check(keystore, signature, name=name) == gpg.fingerprint("good")
    else:
        assert "not trusted for " + name in refusal(keystore, signature, name=name)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("expired", "the key expired on 2020-01-31"),
        ("weak", "the key is too short (RSA, 1024 bits"),
        ("selfsha1", "use SHA1"),
    ],
)
def test_bad_keys_are_refused_with_the_reason(keystore: Keystore, gpg: Gpg, engine: str, key: str, reason: str) -> None:
    with pytest.raises(SignatureError) as caught:
        keystore.add(gpg.export(key), NAME)
    assert reason in str(caught.value)
    trust_blindly(keystore, gpg, key)
    past = ("--faked-system-time", "20200105T000000") if key == "expired" else ()
    said = refusal(keystore, gpg.sign(key, DATA, *past))
    assert reason in said
    assert gpg.fingerprint(key) in said


def test_a_revoked_key_is_refused(keystore: Keystore, gpg: Gpg, engine: str) -> None:
    with pytest.raises(SignatureError, match="revoked by its owner"):
        keystore.add(gpg.export("revoked"), NAME)
    trust_blindly(keystore, gpg, "revoked")
    with pytest.raises(SignatureError) as caught:
        keystore.add(gpg.export("revoked"), NAME)
    assert f"appc trust rm {gpg.fingerprint('revoked')}" in caught.value.hint
    assert "revoked by its owner" in refusal(keystore, gpg.before_revocation)


@pytest.mark.parametrize("digest", ["SHA1", "RIPEMD160"])
def test_weak_hashes_are_refused(keystore: Keystore, gpg: Gpg, engine: str, digest: str) -> None:
    said = refusal(keystore, gpg.sign("rsa", DATA, "--digest-algo", digest))
    assert f"the signature uses {digest}, which can be forged" in said


def test_an_expired_signature_is_refused(keystore: Keystore, gpg: Gpg, engine: str) -> None:
    keystore.add(gpg.export("early"), NAME)
    past = ("--faked-system-time", "20240101T000000!", "--default-sig-expire", "10d")
    assert "the signature expired on 2024-01-11" in refusal(keystore, gpg.sign("early", DATA, *past))


def test_of_several_signatures_one_by_a_trusted_key_is_enough(keystore: Keystore, gpg: Gpg, engine: str) -> None:
    both = gpg.sign("weak") + gpg.sign("good")
    assert check(keystore, both) == gpg.fingerprint("good")


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"nonsense",
        b"-----BEGIN PGP SIGNATURE-----\n\nAAAA",
        b"\x88\x05abc",
        b"-" * 100_000,
    ],
    ids=["empty", "text", "unended", "short", "long"],
)
def test_what_is_no_signature_is_refused(keystore: Keystore, signature: bytes) -> None:
    with pytest.raises(SignatureError, match=r"app\.aci: its signature"):
        SignatureCheck(keystore, signature, "app.aci")


def test_a_public_key_or_an_inline_message_is_no_signature(keystore: Keystore, gpg: Gpg) -> None:
    for data in (gpg.export("good"), gpg.run("--local-user", "good@example.com", "--sign", data=DATA)):
        with pytest.raises(SignatureError, match=r"not a detached OpenPGP signature|packet of unknown length"):
            SignatureCheck(keystore, data, "app.aci")


def test_a_verifier_that_dies_does_not_accept(
    keystore: Keystore, gpg: Gpg, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = gpg.sign("good", LARGE)
    (tmp_path / "gpgv").write_text("#!/bin/sh\ncat >/dev/null; kill -9 $$\n")
    (tmp_path / "gpgv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(engines.sys, "executable", str(tmp_path / "gpgv"))
    assert refusal(keystore, signature, LARGE)


def test_keys_that_gpgv_does_not_know_are_said_to_be_so(keystore: Keystore, monkeypatch: pytest.MonkeyPatch) -> None:
    need("gpgv")
    sequoia = pytest.importorskip("pysequoia")
    key = sequoia.Tsk.generate(user_id="six", profile=sequoia.Profile.RFC9580)
    keystore.add(bytes(key.extract_certificate()), NAME)
    signature = sequoia.sign(key.signer(), DATA, mode=sequoia.SignatureMode.DETACHED)
    assert check(keystore, signature) == key.extract_certificate().fingerprint
    monkeypatch.setattr(engines, "load_sequoia", lambda: None)
    assert "gpgv does not know this kind of key" in refusal(keystore, signature)


def test_giving_up_ends_the_process_that_verifies(
    keystore: Keystore, gpg: Gpg, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = gpg.sign("good", LARGE)
    started = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(engines.subprocess, "Popen", Popen)
    verifier = SignatureCheck(keystore, signature, "app.aci")
    verifier.feed(LARGE[: 5 << 20])
    verifier.close()
    verifier.close()
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_without_any_verifier_the_way_out_is_said(
    keystore: Keystore, gpg: Gpg, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = gpg.sign("good")
    monkeypatch.setattr(engines, "load_sequoia", lambda: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "install gpgv" in refusal(keystore, signature)


# -- making signatures ----------------------------------------------------------------------------


@pytest.fixture
def home(gpg: Gpg, monkeypatch: pytest.MonkeyPatch) -> Gpg:
    monkeypatch.setenv("GNUPGHOME", str(gpg.home))
    return gpg


def test_gpg_signs_with_a_key_of_the_keyring(keystore: Keystore, home: Gpg, engine: str, tmp_path: Path) -> None:
    path = tmp_path / "app.aci"
    path.write_bytes(DATA)
    signature = sign.sign_file(str(path), key="good@example.com")
    assert signature.startswith(b"-----BEGIN PGP SIGNATURE-----")
    assert check(keystore, signature) == home.fingerprint("good")


def test_a_key_that_is_not_in_the_keyring_is_named(home: Gpg, tmp_path: Path) -> None:
    path = tmp_path / "app.aci"
    path.write_bytes(DATA)
    with pytest.raises(SignatureError, match=r"nobody@example\.com is not in the gpg keyring"):
        sign.sign_file(str(path), key="nobody@example.com")
    with pytest.raises(SignatureError, match="no such file"):
        sign.sign_file(str(tmp_path / "absent"), key="good@example.com")


@pytest.mark.parametrize("passphrase", ["", "hunter 22"])
def test_a_key_file_signs_and_gpg_agrees(
    keystore: Keystore, gpg: Gpg, tmp_path: Path, passphrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequoia = pytest.importorskip("pysequoia")
    path, key_file, secret = tmp_path / "app.aci", tmp_path / "key.pgp", tmp_path / "secret"
    path.write_bytes(DATA)
    if passphrase:
        name = "locked@example.com"
        command = ["gpg", "--homedir", str(gpg.home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        command += ["--passphrase", passphrase]
        subprocess.run([*command, "--quick-gen-key", name, "ed25519", "sign", "0"], check=True, capture_output=True)
        key = subprocess.run([*command, "--export-secret-keys", name], check=True, capture_output=True).stdout
        key_file.write_bytes(key)
        secret.write_text(passphrase + "\n")
        with pytest.raises(SignatureError, match="locked by a passphrase"):
            sign.sign_file(str(path), key_file=str(key_file))
        not_text = tmp_path / "not-text"
        not_text.write_bytes(b"\xff\n")
        with pytest.raises(SignatureError, match="not UTF-8"):
            sign.sign_file(str(path), key_file=str(key_file), passphrase_file=str(not_text))
    else:
        key_file.write_bytes(bytes(sequoia.Tsk.generate(user_id="file <file@example.com>")))
    signature = sign.sign_file(str(path), key_file=str(key_file), passphrase_file=str(secret) if passphrase else "")
    public = bytes(sequoia.Tsk.from_file(str(key_file)).extract_certificate())
    (key,) = keystore.add(public, NAME)
    assert check(keystore, signature) == key.fingerprint
    gpg.run("--import", data=public)
    (tmp_path / "app.aci.asc").write_bytes(signature)
    gpg.run("--verify", str(tmp_path / "app.aci.asc"), str(path))


def test_a_passphrase_is_never_on_a_command_line(home: Gpg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, secret = tmp_path / "app.aci", tmp_path / "secret"
    path.write_bytes(DATA)
    secret.write_text("hunter 22\n")
    seen: list[list[str]] = []
    really: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run

    def run(command: list[str], **how: object) -> subprocess.CompletedProcess[bytes]:
        seen.append(command)
        return really(command, **how)

    monkeypatch.setattr(sign.subprocess, "run", run)
    sign.sign_file(str(path), key="good@example.com", passphrase_file=str(secret))
    assert not any("hunter" in word for command in seen for word in command)


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
def test_a_damaged_signature_is_refused(keystore: Keystore, gpg: Gpg, engine: str, data: bytes) -> None:
    """What it says of itself is whole, so the key is found; the rest is cut off."""
    (claim,) = read_signatures(gpg.sign("good", data))
    body = claim.data[6:-40]
    damaged = b"\xc2\xff" + len(body).to_bytes(4, "big") + body
    assert refusal(keystore, damaged, data)
