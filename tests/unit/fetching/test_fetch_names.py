"""From a name or URL to an image in the store: what is asked for, in which order, and what is refused."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appc.errors import (
    AppcError,
    ArchiveError,
    HttpStatus,
    ImageMismatch,
    ImageNotFound,
    NetworkError,
    SignatureError,
    UsageError,
)
from fetch_kit import NAME, TEMPLATE, Fetcher, Signer, aci, meta, publish
from net_kit import Names, Request, Server

FILE = "/example.com/app-1.0.0-linux-amd64.aci"
PLATFORM = ",os=linux,arch=amd64"


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    return aci(tmp_path)


def test_a_name_becomes_a_verified_image(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    found = fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    assert (found.name, found.labels.get("version"), found.signer) == (NAME, "1.0.0", signer.fingerprint)
    assert server.paths() == ["/app?ac-discovery=1", f"{FILE}.asc", FILE]
    assert Path(found.path, "original").read_bytes() == image
    assert Path(found.path, "original.asc").exists()
    assert not list(Path(fetcher.store.root, "store", "downloads").iterdir())


def test_what_is_in_the_store_asks_nobody(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    first = fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    server.requests.clear()
    assert fetcher.fetch(f"{NAME}:1.0.0").id == first.id
    assert fetcher.fetch(f"https://example.com{FILE}").id == first.id
    assert fetcher.fetch(f"https://example.com{FILE}", offline=True, pull="update").id == first.id
    assert server.requests == []


def test_a_url_is_verified_by_the_signature_beside_it(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes
) -> None:
    server.pages["/x.aci"] = image
    server.pages["/x.aci.asc"] = signer.sign(image)
    assert fetcher.fetch("https://example.com/x.aci?token=1").signer == signer.fingerprint
    assert server.paths() == ["/x.aci.asc?token=1", "/x.aci?token=1"]


def test_a_version_nobody_asked_for_is_the_latest(
    fetcher: Fetcher, server: Server, signer: Signer, tmp_path: Path
) -> None:
    publish(server, signer, aci(tmp_path, version="7.1.0"), "/example.com/app-latest-linux-amd64")
    assert fetcher.fetch(f"{NAME}{PLATFORM}").labels.get("version") == "7.1.0"


# Signatures ---------------------------------------------------------------------------------------


def test_an_unsigned_image_is_refused_before_it_is_read(fetcher: Fetcher, server: Server, image: bytes) -> None:
    publish(server, None, image)
    with pytest.raises(SignatureError, match="is not signed") as raised:
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    assert "--insecure image" in raised.value.hint
    assert fetcher.left() == []
    assert fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}", insecure=["image"]).signer == ""


def test_a_key_nobody_trusts_is_refused_before_the_image_is_asked_for(
    fetcher: Fetcher, server: Server, image: bytes
) -> None:
    publish(server, Signer("other"), image)
    with pytest.raises(SignatureError, match="not trusted for example.com/app"):
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    assert FILE not in server.paths()


def test_changed_bytes_are_refused(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    server.pages[f"{FILE}.asc"] = signer.sign(image + b"x")
    with pytest.raises(SignatureError, match="does not match"):
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    assert fetcher.left() == []


def test_a_signature_that_is_made_later(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    signature = server.pages[f"{FILE}.asc"]
    answers = [(202, {}, b""), (200, {}, signature)]
    server.pages[f"{FILE}.asc"] = lambda request: request.send(*answers.pop(0))
    assert fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}").signer == signer.fingerprint
    assert server.paths()[1:] == [f"{FILE}.asc", FILE, f"{FILE}.asc"]


def test_a_signature_that_is_never_made(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    server.pages[f"{FILE}.asc"] = (202, {}, b"")
    with pytest.raises(NetworkError, match="not ready yet"):
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")


def test_a_signature_file_of_ones_own(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes, tmp_path: Path
) -> None:
    publish(server, None, image)
    (tmp_path / "x.sig").write_bytes(signer.sign(image))
    found = fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}", signature=str(tmp_path / "x.sig"))
    assert found.signer == signer.fingerprint


def test_a_page_instead_of_a_signature(fetcher: Fetcher, server: Server, image: bytes) -> None:
    publish(server, None, image)
    server.pages[f"{FILE}.asc"] = "<html>Please log in to the hotel's network</html>"
    with pytest.raises(SignatureError, match="its signature"):
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")


def test_an_endless_signature(fetcher: Fetcher, server: Server, image: bytes) -> None:
    publish(server, None, image)
    server.pages[f"{FILE}.asc"] = bytes(5 << 20)
    with pytest.raises(SignatureError, match="is larger than"):
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")


# What arrives has to be what was asked for --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("example.com/other", {}, 'is the image "example.com/other", and example.com/app was asked for'),
        (NAME, {"version": "1.0.1"}, 'the label version "1.0.1", and "1.0.0" was asked for'),
        (NAME, {"labels": (("os", "linux"),)}, 'the label arch \\(none\\), and "amd64" was asked for'),
        (NAME, {"labels": (("os", "linux"), ("arch", "aarch64"))}, "the label arch"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("insecure", [(), ("image",)])
def test_another_image_is_refused(
    insecure: tuple[str, ...],
    first: bool,
    name: str,
    fields: dict[str, object],
    message: str,
    fetcher: Fetcher,
    server: Server,
    signer: Signer,
    tmp_path: Path,
) -> None:
    publish(server, signer, aci(tmp_path, name, manifest_first=first, **fields))  # type: ignore[arg-type]
    with pytest.raises(ImageMismatch, match=message):
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}", insecure=insecure)
    assert fetcher.left() == []


def test_labels_nobody_asked_for_may_be_missing(
    fetcher: Fetcher, server: Server, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image for any platform is found on every host."""
    data = aci(tmp_path, labels=(("channel", "beta"),))
    server.pages["/app"] = meta("example.com https://example.com/{name}-{version}.{ext}")
    server.pages["/example.com/app-1.0.0.aci"] = data
    server.pages["/example.com/app-1.0.0.aci.asc"] = signer.sign(data)
    assert fetcher.fetch(f"{NAME}:1.0.0").labels.get("channel") == "beta"


# Several places -----------------------------------------------------------------------------------


def test_places_are_tried_in_order_until_one_works(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes, names: Names
) -> None:
    """Ten tags: a dead host, one that has nothing, garbage, a page for people, a wrong image, and so on."""
    good = f"https://mirror.example.com{FILE}"
    server.pages["/app"] = (
        meta("example.com hdfs://x/{name}.{ext}")
        + meta("example.com https://example.com/{name}-{channel}.{ext}")
        + meta("example.com https://example.com/{name}")
        + meta("example.com http://example.com/{name}.{ext}")
        + meta("example.com file:///etc/{name}.{ext}")
        + meta("example.com https://nowhere.example.com/{name}.{ext}")
        + meta("example.com https://example.com/missing/{name}.{ext}")
        + meta("example.com https://example.com/garbage/{name}.{ext}")
        + meta("example.com https://example.com/portal/{name}.{ext}")
        + meta(f"example.com {good.removesuffix('aci')}{{ext}}")
    )
    server.pages["/garbage/example.com/app.aci"] = b"garbage"
    server.pages["/garbage/example.com/app.aci.asc"] = signer.sign(b"garbage")
    server.pages["/portal/example.com/app.aci.asc"] = "<html>log in"
    publish_at(server, signer, image)
    found = fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    assert found.meta["source"] == good
    assert [warning.partition(": ")[0] for warning in fetcher.warnings] == [
        "https://nowhere.example.com/example.com/app.aci.asc",
        "https://example.com/garbage/example.com/app.aci",
        "https://example.com/portal/example.com/app.aci",
    ]


def publish_at(server: Server, signer: Signer, image: bytes) -> None:
    server.pages[FILE] = image
    server.pages[f"{FILE}.asc"] = signer.sign(image)


def test_when_no_place_has_it_that_is_said(fetcher: Fetcher, server: Server) -> None:
    server.pages["/app"] = meta(f"example.com {TEMPLATE}") + meta("example.com https://example.com/b/{name}.{ext}")
    with pytest.raises(ImageNotFound, match="none of the 2 places that may have it does"):
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")


def test_when_no_place_may_be_asked_the_reason_is_given(fetcher: Fetcher, server: Server) -> None:
    server.pages["/app"] = meta("example.com http://example.com/{name}.{ext}")
    with pytest.raises(UsageError) as raised:
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    assert raised.value.hint == "--insecure http"


def test_when_all_fail_the_reason_that_matters_is_given(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes
) -> None:
    server.pages["/app"] = meta("example.com https://example.com/b/{name}.{ext}") + meta(f"example.com {TEMPLATE}")
    server.pages[FILE] = b"garbage"
    server.pages[f"{FILE}.asc"] = signer.sign(b"garbage")
    with pytest.raises(ArchiveError) as raised:
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    assert raised.value.where == f"https://example.com{FILE}"


# Keeping up ---------------------------------------------------------------------------------------


def test_update_asks_whether_it_changed(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    first = fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    server.requests.clear()
    assert fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}", pull="update").id == first.id
    assert server.paths() == ["/app?ac-discovery=1", FILE]
    assert server.requests[-1][2]["if-none-match"]


def test_update_brings_what_is_new(fetcher: Fetcher, server: Server, signer: Signer, tmp_path: Path) -> None:
    latest = "/example.com/app-latest-linux-amd64"
    publish(server, signer, aci(tmp_path, version="1.0.0"), latest)
    fetcher.fetch(f"{NAME}{PLATFORM}")
    publish(server, signer, aci(tmp_path, version="1.1.0"), latest)
    assert fetcher.fetch(f"{NAME}{PLATFORM}").labels.get("version") == "1.0.0"
    assert fetcher.fetch(f"{NAME}{PLATFORM}", pull="update").labels.get("version") == "1.1.0"


def test_when_the_server_is_gone_the_store_is_offered(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes, names: Names
) -> None:
    publish(server, signer, image)
    fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    del names.hosts["example.com"]
    with pytest.raises(NetworkError) as raised:
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}", pull="update")
    assert raised.value.hint == "--pull new takes what is in the store"


def test_two_that_want_the_same_fetch_it_once(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    both = threading.Barrier(2)

    def signature(request: Request) -> None:
        both.wait(10)
        request.send_file(signer.sign(image))

    server.pages[f"{FILE}.asc"] = signature
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(fetcher.fetch, [f"{NAME}:1.0.0{PLATFORM}"] * 2))
    assert found[0].id == found[1].id
    assert server.paths().count(FILE) == 1


def test_max_age_saves_asking(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    server.pages[FILE] = (200, {"Cache-Control": "public, max-age=600"}, image)
    fetcher.fetch(f"https://example.com{FILE}")
    fetcher.fetch(f"https://example.com{FILE}", pull="update")
    assert server.paths().count(FILE) == 1


def test_what_was_fetched_unverified_does_not_count_as_verified(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes
) -> None:
    publish(server, signer, image)
    assert fetcher.fetch(f"https://example.com{FILE}", insecure=["image"]).signer == ""
    assert fetcher.fetch(f"https://example.com{FILE}").signer == signer.fingerprint


@pytest.mark.parametrize("how", [{"pull": "never"}, {"offline": True}])
def test_nothing_is_fetched_when_nothing_may_be(how: dict[str, object], fetcher: Fetcher, server: Server) -> None:
    for reference in (NAME, f"https://example.com{FILE}"):
        with pytest.raises(AppcError, match="not in the store|was not fetched before|not to be used"):
            fetcher.fetch(reference, **how)  # type: ignore[arg-type]
    assert server.requests == []


def test_plain_http(fetcher: Fetcher, plain: Server, image: bytes) -> None:
    plain.pages["/x.aci"] = image
    url = f"{plain.url}/x.aci"
    with pytest.raises(UsageError) as raised:
        fetcher.fetch(url, insecure=["image"])
    assert raised.value.hint == "--insecure http"
    assert fetcher.fetch(url, insecure=["image", "http"]).name == NAME


def test_credentials_go_with_every_request(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes, tmp_path: Path
) -> None:
    publish(server, signer, image)
    pages = dict(server.pages)

    def answer(request: Request) -> None:
        if request.headers.get("authorization") != "Bearer t":
            request.send(401, {"WWW-Authenticate": "Bearer"})
        else:
            page = pages[request.path]
            assert isinstance(page, bytes)
            request.send_file(page)

    server.pages = dict.fromkeys(pages, answer)
    with pytest.raises(ImageNotFound, match="401"):
        fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}")
    with pytest.raises(HttpStatus) as raised:
        fetcher.fetch(f"https://example.com{FILE}")
    assert "auth.d" in raised.value.hint
    auth = tmp_path / "config" / "auth.d" / "a.json"
    auth.parent.mkdir()
    auth.write_text('{"hosts": {"example.com": {"token": "t"}}}')
    auth.chmod(0o600)
    assert fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}").signer


# Mirrors ------------------------------------------------------------------------------------------


def test_mirrors_go_before_discovery(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    fetcher.settings.discovery_mirrors = {
        "example.com": ["https://nowhere.example.com/{name}.{ext}", f"https://mirror.example.com{FILE[:-3]}{{ext}}"],
        "example.com/other": ["https://nowhere.example.com/x.{ext}"],
    }
    assert fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}").meta["source"] == f"https://mirror.example.com{FILE}"
    assert "/app?ac-discovery=1" not in server.paths()


def test_discovery_is_what_remains(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    publish(server, signer, image)
    fetcher.settings.discovery_mirrors = {"": ["/no/such/directory", "https://mirror.example.com/index.json"]}
    assert fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}").meta["source"] == f"https://example.com{FILE}"


@pytest.mark.parametrize(
    "entry",
    [
        {"aci": "file:///x.aci"},
        {"aci": "FILE:///x.aci"},
        {"aci": " fi\tle:///x.aci"},
        {"aci": "x.aci", "asc": "file:///etc/shadow"},
    ],
)
def test_another_host_cannot_name_files_of_this_one(entry: dict[str, str], fetcher: Fetcher, server: Server) -> None:
    server.pages["/index.json"] = json.dumps({"images": [{"name": NAME, **entry}]})
    server.pages["/app"] = meta("example.com file:///{name}.{ext}")
    fetcher.settings.discovery_mirrors = {"example.com": ["https://example.com/index.json"]}
    with pytest.raises(AppcError, match="names a file of this host"):
        fetcher.fetch(NAME)


@pytest.mark.parametrize("url", ["https://[{name}.{ext}", "https://example.com:99999/{name}.{ext}"])
def test_what_is_no_url_is_passed_over(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes, url: str
) -> None:
    """Neither a page nor a mirror ends a command with it."""
    server.pages["/index.json"] = json.dumps({"images": [{"name": NAME, "aci": url}]})
    publish(server, signer, image)
    server.pages["/app?ac-discovery=1"] = meta(f"example.com {url}") + meta(f"example.com {TEMPLATE}")
    fetcher.settings.discovery_mirrors = {"example.com": ["https://example.com/index.json"]}
    assert fetcher.fetch(f"{NAME}:1.0.0{PLATFORM}").meta["source"] == f"https://example.com{FILE}"
    with pytest.raises(UsageError, match="is not a URL"):
        fetcher.fetch("https://[/x.aci")


def test_a_directory_of_images_serves_offline(fetcher: Fetcher, signer: Signer, tmp_path: Path) -> None:
    directory = tmp_path / "images here"
    directory.mkdir()
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        data = aci(tmp_path, version=version)
        (directory / f"some file {version}.aci").write_bytes(data)
        (directory / f"some file {version}.aci.asc").write_bytes(signer.sign(data))
    (directory / "broken.aci").write_bytes(b"garbage")
    fetcher.settings.discovery_mirrors = {"example.com": [str(directory)]}
    assert fetcher.fetch(f"{NAME}{PLATFORM}", offline=True).labels.get("version") == "1.10.0"
    assert fetcher.fetch(f"{NAME}:1.9.0{PLATFORM}", offline=True).labels.get("version") == "1.9.0"
    with pytest.raises(ImageNotFound, match="--offline"):
        fetcher.fetch(f"{NAME}:2.0.0{PLATFORM}", offline=True)
    assert fetcher.fetch(f"{NAME}{PLATFORM}", offline=True, pull="update").labels.get("version") == "1.10.0"


def test_an_index_of_a_mirror(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    server.pages["/m/index.json"] = (
        '{"images": [{"name": "example.com/app", "labels": {"version": "1.0.0"}, "aci": "../files/a.aci"}]}'
    )
    server.pages["/files/a.aci"] = image
    server.pages["/files/a.aci.asc"] = signer.sign(image)
    fetcher.settings.discovery_mirrors = {"example.com": ["https://example.com/m/index.json"]}
    assert fetcher.fetch(f"{NAME}:1.0.0").id
    assert server.paths() == ["/m/index.json", "/files/a.aci.asc", "/files/a.aci"]
