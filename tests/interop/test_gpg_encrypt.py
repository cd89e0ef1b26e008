"""Encrypted images (aci.md, "Image Archives"): gpg reads ours, appc reads gpg's, and both read pysequoia's."""

from __future__ import annotations

import filecmp
import gzip
import hashlib
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import image_kit
from appc.cli.main import main
from appc.store.images import ImageStore
from appc.trust import symmetric
from capabilities import need

SECRET = "sekr3t with spaces \N{SNOWMAN}"
NAME = "example.com/reduce-worker"
APP = {"exec": ["/bin/reduce-worker"], "user": "0", "group": "0"}
# Incompressible, so that it is longer than every buffer on the way.
FILES: dict[str, image_kit.Entry] = {"bin/reduce-worker": os.urandom(3 << 20), "etc/conf": "x"}

Gpg = Callable[..., bytes]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home directory of gpg's with a key that signs and encrypts."""
    need("gpg")
    home = tmp_path_factory.mktemp("gpg") / "home"
    home.mkdir(mode=0o700)
    try:
        run_gpg(home, "--passphrase", "", "--quick-gen-key", "signer <signer@example.com>", "default", "default", "0")
        yield home
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], capture_output=True, check=False)
        shutil.rmtree(home, ignore_errors=True)


def run_gpg(home: Path, *words: str, data: bytes = b"") -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]
    return subprocess.run([*command, *words], input=data, capture_output=True, check=True).stdout


@pytest.fixture
def gpg(home: Path) -> Gpg:
    return lambda *words, data=b"": run_gpg(home, *words, data=data)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPC_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "pass").write_text(f"{SECRET}\nanother line\n")
    (tmp_path / "wrong").write_text("wrong\n")
    return tmp_path


@pytest.fixture(params=["gpg", "pysequoia"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two does the work of the tests of this file."""
    if request.param == "pysequoia":
        pytest.importorskip("pysequoia")
        monkeypatch.setattr(symmetric.shutil, "which", lambda _: None)
    else:
        need("gpg")
    return str(request.param)


def made(place: Path, compress: str = "gzip") -> str:
    return image_kit.aci(place / "app.aci", FILES, NAME, compress=compress, app=APP)


# -- ours and theirs ------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", ["none", "gzip", "xz"])
def test_gpg_decrypts_what_is_encrypted_here(place: Path, gpg: Gpg, engine: str, compress: str) -> None:
    made(place, compress)
    assert main(["image", "encrypt", "app.aci", "out.aci", "--passphrase-file", "pass"]) == 0
    assert gpg("--passphrase", SECRET, "--decrypt", "out.aci") == (place / "app.aci").read_bytes()
    assert b"AES256" in subprocess.run(["gpg", "--list-packets", "--batch", "--passphrase", SECRET, "--pinentry-mode",
        "loopback", "out.aci"], capture_output=True, check=True).stderr  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("--digest-algo", "sha256", "--cipher-algo", "AES256"),  # as the specification has it
        ("--cipher-algo", "AES128", "--compress-algo", "zlib"),
        ("--armor", "--cipher-algo", "AES256", "--s2k-mode", "1"),
        ("--rfc4880", "--cipher-algo", "AES192", "--set-filename", "app.aci"),
    ],
    ids=["specification", "compressed", "armored", "aes192"],
)
def test_images_that_gpg_encrypted_are_read(
    place: Path, gpg: Gpg, engine: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    image_id = made(place)
    gpg("--output", "enc.aci", "--passphrase", SECRET, *words, "--symmetric", "app.aci")
    assert main(["image", "decrypt", "enc.aci", "dec.aci", "--passphrase-file", "pass"]) == 0
    assert (place / "dec.aci").read_bytes() == (place / "app.aci").read_bytes()
    assert main(["fetch", "--insecure", "image", "enc.aci", "--passphrase-file", "pass"]) == 0
    assert capsys.readouterr().out == f"dec.aci\n{image_id}\n"


def test_what_either_program_encrypts_the_other_decrypts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("gpg")
    pysequoia = pytest.importorskip("pysequoia")
    made(place)
    pysequoia.encrypt_file("app.aci", "sequoia.aci", passwords=[SECRET], armor=False)
    assert main(["image", "decrypt", "sequoia.aci", "one.aci", "--passphrase-file", "pass"]) == 0
    assert main(["image", "encrypt", "app.aci", "gpg.aci", "--passphrase-file", "pass"]) == 0
    monkeypatch.setattr(symmetric.shutil, "which", lambda _: None)
    assert main(["image", "decrypt", "gpg.aci", "two.aci", "--passphrase-file", "pass"]) == 0
    assert (place / "one.aci").read_bytes() == (place / "two.aci").read_bytes() == (place / "app.aci").read_bytes()


def test_without_compression_the_archive_is_encrypted_plain(
    place: Path, gpg: Gpg, capsys: pytest.CaptureFixture[str]
) -> None:
    """aci.md: "Implementations supporting encryption SHOULD include an option to disable compression"."""
    image_id = made(place)
    assert main(["image", "encrypt", "app.aci", "out.aci", "--no-compress", "--passphrase-file", "pass"]) == 0
    assert gpg("--passphrase", SECRET, "--decrypt", "out.aci")[257:262] == b"ustar"
    assert main(["image", "id", "out.aci", "--passphrase-file", "pass"]) == 0
    assert capsys.readouterr().out.split() == ["out.aci", image_id]


# -- the store ------------------------------------------------------------------------------------


def test_the_signature_covers_the_file_and_the_id_the_plain_archive(
    place: Path, gpg: Gpg, capsys: pytest.CaptureFixture[str]
) -> None:
    """aci.md: "the ACI is compressed, encrypted, and signed"."""
    image_id = made(place)
    (place / "key").write_bytes(gpg("--export", "signer"))
    assert main(["trust", "add", "--prefix", "example.com", "key"]) == 0
    assert main(["image", "encrypt", "app.aci", "--replace", "--passphrase-file", "pass"]) == 0
    gpg("--armor", "--output", "app.aci.asc", "--detach-sig", "app.aci")
    encrypted = (place / "app.aci").read_bytes()
    capsys.readouterr()
    assert main(["image", "verify", "app.aci", "--passphrase-file", "pass", "--format", "json"]) == 0
    assert main(["fetch", "app.aci", "--passphrase-file", "pass"]) == 0
    assert capsys.readouterr().out.endswith(f"{image_id}\n")
    store = ImageStore(str(place / "data"))
    image = store.get(image_id)
    assert image.signer
    assert store.check(image) == []
    # What was signed is what is given back, and an unchanged file is known without its passphrase.
    assert main(["image", "export", image_id, "back.aci"]) == 0
    assert (place / "back.aci").read_bytes() == encrypted
    assert main(["fetch", "app.aci"]) == 0


def test_a_damaged_image_is_repaired_from_its_encrypted_file(place: Path, gpg: Gpg) -> None:
    image_id = made(place)
    (place / "key").write_bytes(gpg("--export", "signer"))
    assert main(["trust", "add", "--prefix", "example.com", "key"]) == 0
    assert main(["image", "encrypt", "app.aci", "--replace", "--passphrase-file", "pass"]) == 0
    gpg("--armor", "--output", "app.aci.asc", "--detach-sig", "app.aci")
    assert main(["fetch", "app.aci", "--passphrase-file", "pass"]) == 0
    conf = Path(ImageStore(str(place / "data")).get(image_id).tree, "etc/conf")
    conf.write_text("changed")
    assert main(["image", "check", "--repair", "--passphrase-file", "wrong"]) == 1
    assert conf.read_text() == "changed"
    assert main(["image", "check", "--repair", "--passphrase-file", "pass"]) == 0
    assert conf.read_text() == "x"


def test_an_unsigned_image_is_given_back_plain_and_that_is_said(
    place: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image_id = made(place)
    assert main(["image", "encrypt", "app.aci", "enc.aci", "--passphrase-file", "pass"]) == 0
    assert main(["fetch", "--insecure", "image", "enc.aci", "--passphrase-file", "pass"]) == 0
    assert main(["image", "export", image_id, "back.aci"]) == 0
    assert "back.aci: is not encrypted, as the file was that was imported" in capsys.readouterr().err
    assert main(["image", "validate", "back.aci"]) == 0


def test_a_signature_of_the_plain_file_does_not_do(place: Path, gpg: Gpg) -> None:
    made(place)
    (place / "key").write_bytes(gpg("--export", "signer"))
    assert main(["trust", "add", "--prefix", "example.com", "key"]) == 0
    gpg("--armor", "--output", "out.aci.asc", "--detach-sig", "app.aci")
    assert main(["image", "encrypt", "app.aci", "out.aci", "--passphrase-file", "pass"]) == 0
    assert main(["fetch", "out.aci", "--passphrase-file", "pass"]) == 1
    assert ImageStore(str(place / "data")).list() == []


# -- the passphrase -------------------------------------------------------------------------------


def test_the_passphrase_comes_by_descriptor_or_from_the_configuration(place: Path) -> None:
    need("gpg")
    made(place)
    reader, writer = os.pipe()
    os.write(writer, f"{SECRET}\nnot the passphrase".encode())
    assert main(["image", "encrypt", "app.aci", "out.aci", "--passphrase-fd", str(reader)]) == 0
    assert os.read(reader, 100) == b"not the passphrase"
    (place / "config/appc").mkdir(parents=True)
    (place / "config/appc/config.json").write_text(f'{{"images": {{"passphraseFile": "{place}/pass"}}}}')
    assert main(["image", "decrypt", "out.aci", "dec.aci"]) == 0
    assert main(["image", "decrypt", "out.aci", "dec2.aci", "--passphrase-file", "wrong"]) == 1


def test_no_command_line_shows_the_passphrase(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("gpg")
    made(place)
    (place / "bin").mkdir()
    (place / "bin/gpg").write_text(
        f'#!/bin/sh\necho "$@" >> {place}/argv\nenv >> {place}/argv\nexec {shutil.which("gpg")} "$@"\n'
    )
    (place / "bin/gpg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}/bin:{os.environ['PATH']}")
    assert main(["image", "encrypt", "app.aci", "out.aci", "--passphrase-file", "pass"]) == 0
    assert main(["--log-level", "debug", "image", "decrypt", "out.aci", "dec.aci", "--passphrase-file", "pass"]) == 0
    seen = (place / "argv").read_text()
    assert seen.count("--passphrase-fd") == 2
    assert "sekr3t" not in seen


def test_without_a_terminal_or_an_option_nothing_waits(place: Path) -> None:
    need("gpg")
    made(place)
    assert main(["image", "encrypt", "app.aci", "out.aci", "--passphrase-file", "pass"]) == 0
    command = [sys.executable, "-m", "appc", "fetch", "--insecure", "image", "out.aci"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True)
    assert done.returncode == 1
    assert done.stderr == (
        "appc: out.aci: needs a passphrase, and there is no terminal to ask for it\n"
        "hint: --passphrase-file FILE, --passphrase-fd N or --passphrase-agent gives it\n"
    )


def test_gpgs_agent_is_left_to_ask(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("gpg", "gpg-agent")
    made(place)
    home = tmp_path_factory.mktemp("agent")
    pinentry = home / "pinentry"
    pinentry.write_text(
        f"#!/bin/sh\necho OK\nwhile read -r word rest; do\n"
        f'case $word in GETPIN) echo "D {SECRET}" ;; BYE) echo OK; exit ;; esac; echo OK\ndone\n'
    )
    pinentry.chmod(0o755)
    (home / "gpg-agent.conf").write_text(f"pinentry-program {pinentry}\n")
    monkeypatch.setenv("GNUPGHOME", str(home))
    try:
        assert main(["image", "encrypt", "app.aci", "out.aci", "--passphrase-agent"]) == 0
        assert main(["image", "decrypt", "out.aci", "dec.aci", "--passphrase-agent"]) == 0
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], capture_output=True, check=False)
    assert main(["image", "decrypt", "out.aci", "dec2.aci", "--passphrase-file", "pass"]) == 0
    assert (place / "dec.aci").read_bytes() == (place / "dec2.aci").read_bytes() == (place / "app.aci").read_bytes()


@pytest.mark.parametrize(("second", "status"), [(SECRET, 0), ("something else", 2)])
def test_the_terminal_is_asked_twice_when_a_mistake_would_be_for_good(place: Path, second: str, status: int) -> None:
    need("gpg")
    made(place)
    pid, terminal = pty.fork()
    if pid == 0:
        words = ["image", "encrypt", "app.aci", "out.aci"]
        os.execv(sys.executable, [sys.executable, "-m", "appc", *words])
    said = ""
    try:
        for prompt, answer in (("Passphrase of app.aci: ", SECRET), ("The same again: ", second)):
            while not said.endswith(prompt):
                said += os.read(terminal, 1000).decode()
            os.write(terminal, answer.encode() + b"\n")
        while data := _read(terminal):
            said += data
    finally:
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    assert "sekr3t" not in said
    assert ("out.aci\r\n" in said, "the two passphrases differ" in said) == (status == 0, status != 0)
    if status == 0:
        assert main(["image", "decrypt", "out.aci", "dec.aci", "--passphrase-file", "pass"]) == 0


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 1000).decode()
    except OSError:  # nobody has it open any more
        return ""


# -- refusals -------------------------------------------------------------------------------------


def refused(place: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    before = sorted(os.listdir(place))
    assert main(["image", "decrypt", "bad.aci", "new.aci", *words]) == 1
    assert sorted(os.listdir(place)) == before
    said = capsys.readouterr().err
    assert main(["fetch", "--insecure", "image", "bad.aci", *words]) == 1
    assert ImageStore(str(place / "data")).list() == []
    assert not os.listdir(place / "data/store/staging")
    assert capsys.readouterr().err == said
    assert "sekr3t" not in said
    return said.splitlines()[0]


def test_a_wrong_passphrase(place: Path, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    made(place)
    assert main(["image", "encrypt", "app.aci", "bad.aci", "--passphrase-file", "pass"]) == 0
    capsys.readouterr()
    said = refused(place, capsys, "--passphrase-file", "wrong")
    assert said == "appc: bad.aci: cannot be decrypted: the passphrase is wrong"


@pytest.mark.parametrize("at", [40, 100_000, -10])
def test_a_changed_file(place: Path, engine: str, capsys: pytest.CaptureFixture[str], at: int) -> None:
    made(place, "none")
    assert main(["image", "encrypt", "app.aci", "bad.aci", "--passphrase-file", "pass"]) == 0
    data = bytearray((place / "bad.aci").read_bytes())
    data[at] ^= 1
    (place / "bad.aci").write_bytes(data)
    capsys.readouterr()
    assert main(["image", "decrypt", "bad.aci", "new.aci", "--passphrase-file", "pass"]) == 1
    assert main(["fetch", "--insecure", "image", "bad.aci", "--passphrase-file", "pass"]) == 1
    assert ImageStore(str(place / "data")).list() == []
    assert not (place / "new.aci").exists()


@pytest.mark.parametrize("length", [20, 70_000, -1])
def test_a_file_that_is_cut_short(place: Path, engine: str, length: int) -> None:
    made(place, "none")
    assert main(["image", "encrypt", "app.aci", "bad.aci", "--passphrase-file", "pass"]) == 0
    (place / "bad.aci").write_bytes((place / "bad.aci").read_bytes()[:length])
    assert main(["image", "decrypt", "bad.aci", "new.aci", "--passphrase-file", "pass"]) == 1
    assert main(["fetch", "--insecure", "image", "bad.aci", "--passphrase-file", "pass"]) == 1
    assert ImageStore(str(place / "data")).list() == []
    assert not (place / "new.aci").exists()


def test_what_is_encrypted_for_a_key(place: Path, gpg: Gpg, capsys: pytest.CaptureFixture[str]) -> None:
    made(place)
    gpg("--output", "bad.aci", "--trust-model", "always", "--recipient", "signer", "--encrypt", "app.aci")
    assert re.search("is encrypted for a key; images", refused(place, capsys, "--passphrase-file", "pass"))


def test_what_is_not_protected_against_changes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A symmetrically encrypted data packet without a modification detection code (tag 9, RFC 9580 section 5.7)."""
    session = bytes.fromhex("8c0d0409030a9185a3ac88731e39ff")
    (place / "bad.aci").write_bytes(session + b"\xc9\xff" + (1000).to_bytes(4, "big") + bytes(1000))
    assert "without protection against changes" in refused(place, capsys, "--passphrase-file", "pass")


def test_other_verbs_say_that_an_image_is_encrypted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("gpg")
    made(place)
    assert main(["image", "encrypt", "app.aci", "out.aci", "--passphrase-file", "pass"]) == 0
    capsys.readouterr()
    assert main(["image", "validate", "out.aci", "--passphrase-file", "pass"]) == 0
    assert main(["image", "encrypt", "out.aci", "new.aci", "--passphrase-file", "pass"]) == 1
    assert main(["image", "decrypt", "app.aci", "new.aci", "--passphrase-file", "pass"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("appc: ")]
    assert [line.partition(": is ")[2] for line in lines] == [
        "encrypted already", "not encrypted",
    ]  # fmt: skip


def test_an_encrypted_image_is_converted(place: Path, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    made(place)
    secret = ("--passphrase-file", "pass")
    assert main(["image", "encrypt", "app.aci", "out.aci", *secret]) == 0
    before = sorted(os.listdir(place))
    for words in (("--passphrase-file", "wrong"), ()):
        assert main(["image", "convert", "out.aci", "oci:layout", *words]) == 1
    data = bytearray((place / "out.aci").read_bytes())
    (place / "bad.aci").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert main(["image", "convert", "bad.aci", "new.aci", *secret]) == 1
    (place / "bad.aci").unlink()
    assert sorted(os.listdir(place)) == before
    assert main(["image", "convert", "out.aci", "oci:layout", *secret]) == 0
    assert main(["image", "convert", "oci:layout", "back.aci"]) == 0
    assert main(["image", "convert", "out.aci", "plain.aci", *secret]) == 0
    capsys.readouterr()
    assert (
        main(["image", "id", "app.aci"]) == main(["image", "id", "back.aci"]) == main(["image", "id", "plain.aci"]) == 0
    )
    assert len(set(capsys.readouterr().out.splitlines())) == 1


def test_a_patched_image_is_encrypted_again_with_its_passphrase(
    place: Path, gpg: Gpg, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made(place)
    secret = ("--passphrase-file", "pass")
    assert main(["image", "encrypt", "app.aci", "out.aci", *secret]) == 0
    for words in (("out.aci", "new.aci"), ("out.aci", "--replace")):
        assert main(["image", "patch", *words, "--name", "example.com/renamed", *secret]) == 0
        image_id = capsys.readouterr().out.splitlines()[-1]
        name = words[1] if words[1].endswith(".aci") else words[0]
        decrypted = gpg("--passphrase", SECRET, "--decrypt", name)
        assert decrypted[:2] == b"\x1f\x8b"
        assert f"sha512-{hashlib.sha512(gzip.decompress(decrypted)).hexdigest()}" == image_id
        assert main(["image", "manifest", name, *secret]) == 0
        assert '"name":"example.com/renamed"' in capsys.readouterr().out
    before = sorted(os.listdir(place))
    # A wrong passphrase, none, and a file that was changed: nothing is made.
    assert main(["image", "patch", "new.aci", "x.aci", "--name", "x", "--passphrase-file", "wrong"]) == 1
    assert main(["image", "patch", "new.aci", "x.aci", "--name", "x"]) == 1
    data = bytearray((place / "new.aci").read_bytes())
    data[-1] ^= 1
    (place / "new.aci").write_bytes(data)
    assert main(["image", "patch", "new.aci", "x.aci", "--name", "x", *secret]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("hint: ")]
    assert [line.startswith("appc: new.aci: ") for line in lines] == [True] * 3
    assert sorted(os.listdir(place)) == before


@pytest.mark.slow
def test_an_image_of_a_gigabyte_takes_no_more_memory_either_way(place: Path, gpg: Gpg) -> None:
    """Encrypted and signed here for gpg, and by gpg for appc; and neither program grows with the image."""
    (place / "layout/rootfs").mkdir(parents=True)
    (place / "layout/manifest").write_bytes(image_kit.manifest(NAME))
    piece = os.urandom(1 << 20)
    with (place / "layout/rootfs/big").open("wb") as file:
        for _ in range(1024):
            file.write(piece)
    (place / "public.pgp").write_bytes(gpg("--export"))
    (place / "secret.pgp").write_bytes(gpg("--export-secret-keys"))
    secret = ("--passphrase-file", "pass")

    image_id = measured("image", "build", "--compress", "none", "layout", "app.aci")
    assert (place / "app.aci").stat().st_size > 1 << 30
    shutil.rmtree(place / "layout")
    measured("trust", "add", "--root", "public.pgp")

    measured("image", "encrypt", "app.aci", "ours.aci", *secret)
    measured("image", "sign", "--key-file", "secret.pgp", "ours.aci")
    gpg("--verify", "ours.aci.asc", "ours.aci")
    gpg("--passphrase-file", "pass", "--output", "plain.tar", "--decrypt", "ours.aci")
    assert filecmp.cmp("plain.tar", "app.aci", shallow=False)
    for name in ("plain.tar", "ours.aci", "ours.aci.asc"):
        (place / name).unlink()

    gpg("--passphrase-file", "pass", "--compress-algo", "none", "--output", "theirs.aci", "--symmetric", "app.aci")
    gpg("--armor", "--detach-sign", "--output", "theirs.aci.asc", "theirs.aci")
    (place / "app.aci").unlink()
    assert f"id={image_id}" in measured("image", "verify", "theirs.aci", *secret)
    assert measured("fetch", "theirs.aci", *secret) == image_id
    measured("image", "decrypt", "theirs.aci", "dec.aci", *secret)
    assert hashlib.file_digest((place / "dec.aci").open("rb"), "sha512").hexdigest() == image_id[7:]


def measured(*words: str) -> str:
    """Run one command, with what it starts in less than 120 MB; return what it prints."""
    # What getrusage() says of a process itself includes what it was forked from.
    script = (
        "import resource, sys; from appc.cli.main import main; status = main(sys.argv[1:]); "
        "own = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'));"
        "print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *printed, kibibytes = done.stdout.splitlines()
    print(" ".join(words[:2]), kibibytes, "KiB")
    assert int(kibibytes) < 120_000
    return "\n".join(printed)
