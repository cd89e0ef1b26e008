"""`appc fetch`, `discover` and `trust` as they are called: output, exit statuses and what is said of failures."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

import image_kit
from appc.cli import key_review
from appc.cli.main import main
from fetch_kit import NAME, TEMPLATE, Fetcher, Signer, aci, meta, publish
from net_kit import Authority, Request, Server

FILE = "/example.com/app-1.0.0-linux-amd64.aci"
WANTED = f"{NAME}:1.0.0,os=linux,arch=amd64"


class Said(NamedTuple):
    status: int
    out: str
    err: str


class Cli:
    def __init__(self, directory: Path, authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = directory / "data"
        self.config = directory / "config"
        self.config.mkdir(exist_ok=True)
        self.configure(net={"caFile": str(authority.file)})
        self._capsys = capsys

    def configure(self, **sections: object) -> None:
        path = self.config / "config.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, **sections}))

    def __call__(self, *words: str) -> Said:
        status = main(["--root", str(self.root), "--config", str(self.config), *words])
        said = self._capsys.readouterr()
        return Said(status, said.out, said.err)


@pytest.fixture
def cli(tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, authority, capsys)


def test_a_name_is_found_verified_and_fetched(cli: Cli, server: Server, signer: Signer, tmp_path: Path) -> None:
    """From nothing: the keys are discovered and compared, then the image."""
    publish(server, signer, aci(tmp_path))
    server.pages["/?ac-discovery=1"] = server.pages["?ac-discovery=1"] = meta(
        "example.com https://example.com/keys.gpg", "ac-discovery-pubkeys"
    )
    server.pages["/keys.gpg"] = signer.public
    refused = cli("fetch", WANTED)
    assert refused.status == 1
    assert "no key is trusted for example.com/app yet" in refused.err
    unseen = cli("trust", "add", "--prefix", "example.com")
    assert unseen.status == 1
    assert f"has the key {signer.fingerprint}, which nobody has confirmed" in unseen.err
    assert cli("trust", "add", "--prefix", "example.com", "--fingerprint", "0" * 40).status == 1
    assert cli("trust", "list").out.count("\n") == 1
    shown = " ".join(signer.fingerprint[at : at + 4] for at in range(0, len(signer.fingerprint), 4)).upper()
    assert cli("trust", "add", "--prefix", "example.com", "--fingerprint", shown).out == f"{signer.fingerprint}\n"
    fetched = cli("fetch", WANTED)
    assert (fetched.status, fetched.err) == (0, "")
    assert fetched.out.startswith("sha512-")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answers", "status"), [("y\ny\n", 0), ("y\nn\n", 1), ("\n", 1)])
def test_on_a_terminal_the_keys_are_looked_for_when_they_are_needed(
    answers: str,
    status: int,
    cli: Cli,
    server: Server,
    signer: Signer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(server, signer, aci(tmp_path))
    server.pages["/app?ac-discovery=1"] = meta(f"example.com {TEMPLATE}") + meta(
        "example.com https://example.com/keys.gpg", "ac-discovery-pubkeys"
    )
    server.pages["/keys.gpg"] = signer.public
    screen = _Terminal()
    monkeypatch.setattr("sys.stdin", _Terminal(answers))
    monkeypatch.setattr("sys.stderr", screen)
    assert cli("fetch", WANTED).status == status
    shown = screen.getvalue()
    assert "which is not trusted for example.com/app" in shown
    assert "Look for the keys of example.com/app? [y/N]" in shown
    if answers.count("\n") == 2:
        assert key_review.grouped(signer.fingerprint) in shown
        assert "https://example.com/keys.gpg\n" in shown


def test_keys_come_over_https_unless_asked_otherwise(cli: Cli, plain: Server, signer: Signer) -> None:
    plain.pages["/k"] = signer.public
    words = ("trust", "add", "--prefix", "example.com", "--fingerprint", signer.fingerprint)
    assert cli(*words, f"{plain.url}/k").status == 2
    allowed = cli(*words, "--insecure", "pubkey", f"{plain.url}/k")
    assert allowed.status == 0
    assert "plain http was used" in allowed.err


def test_several_images_at_once(cli: Cli, server: Server, tmp_path: Path) -> None:
    for number in range(6):
        server.pages[f"/{number}.aci"] = aci(tmp_path, f"example.com/app{number}")
    urls = [f"https://example.com/{number}.aci" for number in (0, 1, 2, 9, 3, 4, 5)]
    said = cli("fetch", "--insecure", "image", *urls)
    assert said.status == 1
    assert said.out.count("sha512-") == 6
    assert "appc: https://example.com/9.aci: the server says 404 Not Found\n" in said.err
    assert said.err.count("was not verified (--insecure image)") == 6


def test_relaxations_are_said_when_they_were_used(cli: Cli, plain: Server, tmp_path: Path) -> None:
    plain.pages["/x.aci"] = aci(tmp_path)
    said = cli("fetch", "--insecure", "image,http,tls", f"{plain.url}/x.aci")
    assert said.status == 0
    assert "plain http was used" in said.err
    assert "certificates" not in said.err


def test_failures_of_the_network_have_a_status_of_their_own(cli: Cli, server: Server) -> None:
    said = cli("fetch", "nowhere.example.com/app")
    assert said.status == 125
    assert said.err.splitlines()[0] == (
        "appc: https://nowhere.example.com/app?ac-discovery=1: there is no host nowhere.example.com"
    )


def test_offline(cli: Cli, server: Server, tmp_path: Path) -> None:
    server.pages["/x.aci"] = aci(tmp_path)
    assert cli("fetch", "--insecure", "image", "https://example.com/x.aci").status == 0
    server.requests.clear()
    assert cli("fetch", "--offline", "--insecure", "image", "https://example.com/x.aci").status == 0
    cli.configure(net={"offline": True})
    assert cli("fetch", "--insecure", "image", NAME).status == 0
    missing = cli("fetch", "example.com/other")
    assert missing.status == 1
    assert "--offline" in missing.err
    assert server.requests == []


def test_dependencies_come_along(cli: Cli, server: Server, tmp_path: Path) -> None:
    def dependency(name: str) -> dict[str, object]:
        return {"imageName": name, "labels": [{"name": "version", "value": "1.0.0"}]}

    server.pages["/?ac-discovery=1"] = server.pages["?ac-discovery=1"] = meta(
        "example.com https://example.com/{name}-{version}.{ext}"
    )
    tree = {"app": ["b", "c"], "b": ["base"], "c": ["base"], "base": []}
    for name, below in tree.items():
        server.pages[f"/example.com/{name}-1.0.0.aci"] = aci(
            tmp_path, f"example.com/{name}", dependencies=[dependency(f"example.com/{one}") for one in below]
        )
    assert cli("fetch", "--insecure", "image", f"{NAME}:1.0.0").status == 0
    assert cli("image", "list", "--no-legend").out.count("\n") == 4
    assert server.paths().count("/example.com/base-1.0.0.aci") == 1
    assert server.paths().count("/?ac-discovery=1") + server.paths().count("?ac-discovery=1") == 1


@pytest.mark.parametrize(
    ("fields", "body", "message"),
    [
        ({"imageID": "sha512-" + "0" * 128}, None, "not sha512-0000"),
        ({"size": 7}, None, "has 7|should have 7|more than the"),
        ({"size": 1000}, bytes(1 << 20), "has 1048576 bytes, more than the"),
        ({"size": 1000}, "endless", "is larger than the"),
    ],
)
def test_a_dependency_that_is_not_what_its_dependant_says(
    fields: dict[str, object], body: bytes | str | None, message: str, cli: Cli, server: Server, tmp_path: Path
) -> None:
    base = aci(tmp_path, "example.com/base", files={"x": bytes(100_000)})
    server.pages["/app"] = server.pages["/base"] = meta("example.com https://example.com/{name}.{ext}")
    server.pages["/example.com/app.aci"] = aci(
        tmp_path, NAME, dependencies=[{"imageName": "example.com/base", **fields}]
    )

    def endless(request: Request) -> None:
        """An image of one file that does not end."""
        file = tarfile.TarInfo("rootfs/x")
        file.size = 1 << 40
        head = image_kit.tar({}, image_kit.manifest("example.com/base"), manifest_first=True)[:-10240]
        head = head.rstrip(b"\0") + bytes(-len(head.rstrip(b"\0")) % 512) + file.tobuf()
        request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        request.wfile.write(b"%x\r\n%b\r\n" % (len(head), head))
        while True:
            request.wfile.write(b"1000\r\n" + bytes(4096) + b"\r\n")

    server.pages["/example.com/base.aci"] = endless if isinstance(body, str) else body or base
    said = cli("fetch", "--insecure", "image", NAME)
    assert said.status in (1, 125)
    assert "its dependency example.com/base cannot be had" in said.err
    assert re.search(message, said.err), said.err
    assert "example.com/base" not in cli("image", "list").out


def test_a_file_may_wait_for_its_dependencies(cli: Cli, server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.aci").write_bytes(aci(tmp_path, dependencies=[{"imageName": "example.com/base"}]))
    said = cli("fetch", "--insecure", "image", str(tmp_path / "x.aci"))
    assert said.status == 0
    assert "its dependency example.com/base cannot be had" in said.err


# discover -----------------------------------------------------------------------------------------


def test_discover_shows_every_step(cli: Cli, server: Server) -> None:
    server.pages["/app?ac-discovery=1"] = (302, {"Location": "/elsewhere"}, b"")
    server.pages["/elsewhere"] = b"<p>nothing"
    server.pages["/?ac-discovery=1"] = server.pages["?ac-discovery=1"] = (
        meta(f"example.com {TEMPLATE}")
        + meta("example.com hdfs://x/{name}.{ext}")
        + meta("example.com https://example.com/keys.gpg", "ac-discovery-pubkeys")
        + meta("example.org x")
    )
    said = cli("discover", WANTED)
    assert (said.status, said.err) == (0, "")
    assert said.out == (
        "example.com/app os=linux,arch=amd64,version=1.0.0\n"
        "  asked      https://example.com/app?ac-discovery=1\n"
        "             sent on to https://example.com/elsewhere\n"
        "             the page has no tags for discovery\n"
        "  asked      https://example.com?ac-discovery=1\n"
        "             3 of the page's 4 tags are about this name\n"
        f"  image      https://example.com{FILE}\n"
        f"  signature  https://example.com{FILE}.asc\n"
        "  skipped    hdfs://x/{name}.{ext}: nothing installed here can fetch hdfs URLs\n"
        "  keys       https://example.com/keys.gpg\n"
    )
    document = json.loads(cli("discover", "--format", "json", WANTED).out)
    assert document[0]["images"] == [
        {
            "template": TEMPLATE,
            "image": f"https://example.com{FILE}",
            "signature": f"https://example.com{FILE}.asc",
        }
    ]
    assert document[0]["steps"][0]["redirects"] == [{"status": 302, "to": "https://example.com/elsewhere"}]
    assert document[0]["error"] is None


def test_discover_of_nothing(cli: Cli, server: Server) -> None:
    said = cli("discover", "example.com/none", "nowhere.example.com/x")
    assert said.status == 1
    assert "there is no host nowhere.example.com" in said.out
    assert said.out.count("(no place found)") == 2


# trust explain ------------------------------------------------------------------------------------


def test_explain_says_why(cli: Cli, signer: Signer, fetcher: Fetcher, tmp_path: Path) -> None:
    assert cli("trust", "explain", "example.com/app:1.0").status == 0
    other = Signer("other")
    fetcher.trust(other, "example.org")
    said = cli("trust", "explain", "--format", "json", "example.com/app")
    verdicts = {key["fingerprint"]: (key["accepted"], key["reason"]) for key in json.loads(said.out)}
    assert verdicts == {
        signer.fingerprint: (True, "is trusted for example.com and all below"),
        other.fingerprint: (False, "is trusted for example.org and all below only"),
    }
    refused = cli("trust", "explain", "example.net/app")
    assert refused.status == 1
    assert "no key is accepted for example.net/app" in refused.err


def test_explain_shows_what_was_masked(signer: Signer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from appc.cli import trust_explain
    from appc.cli.context import Context
    from appc.cli.options import parse
    from appc.trust.keystore import Keystore

    system, local = str(tmp_path / "system"), str(tmp_path / "local")
    Keystore((system,)).add(signer.public, "example.com")
    Keystore((system, local)).remove(signer.fingerprint)
    context = Context(config=(system, local))
    assert trust_explain.run(parse(trust_explain.VERB, ["example.com/app"]), context) == 1
    assert "was trusted for example.com and all below, and removed by" in capsys.readouterr().out
