"""Who may put images on a host, which ones, and what is there when something goes wrong on the way."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appc.errors import HttpStatus, UsageError
from appc.net.http import Client, Settings
from appc.serve.push import push
from appc.serve.uploads import read_token
from image_kit import aci, listing
from serve_kit import IMAGES, PLATFORM, Answer, Hosting, Signer, until

TOKEN = "0123456789abcdef-token"
BEARER = f"Bearer {TOKEN}"
APP = f"{IMAGES}example.com/app-1.0-linux-amd64.aci"


@pytest.fixture
def hosting(images: Path) -> Iterator[Hosting]:
    with Hosting(images, token=TOKEN, limit=1 << 20) as hosting:
        yield hosting


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client(Settings(insecure=("http",), proxies={}))
    yield client
    client.close()


def _put(hosting: Hosting, path: str, body: bytes, **fields: str) -> Answer:
    return hosting.get(path, method="PUT", body=body, **{"authorization": BEARER, **fields})


def _image(place: Path, content: str = "", **fields: object) -> bytes:
    aci(place / "made.aci", {"content": content}, **{"version": "1.0", "labels": PLATFORM, **fields})  # type: ignore[arg-type]
    return (place / "made.aci").read_bytes()


def _base(hosting: Hosting) -> str:
    return f"http://127.0.0.1:{hosting.port}"


def test_an_image_is_had_where_it_was_put(hosting: Hosting, images: Path, tmp_path: Path) -> None:
    body = _image(tmp_path)
    answer = _put(hosting, APP, body)
    assert (answer.status, answer.fields["location"]) == (201, APP)
    assert hosting.get(APP).body == body
    assert (images / "example.com/app-1.0-linux-amd64.aci").stat().st_mode & 0o777 == 0o644
    assert list((images / ".uploads").iterdir()) == []


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Basic abc", f"Bearer {TOKEN}x", "Bearer \xff"])
def test_nobody_uploads_without_the_token(hosting: Hosting, images: Path, tmp_path: Path, given: str) -> None:
    answer = hosting.get(APP, method="PUT", body=_image(tmp_path), authorization=given)
    assert answer.status == 401
    assert answer.fields["www-authenticate"] == 'Bearer realm="appc"'
    assert [path for path in listing(images) if path != ".uploads"] == []


def test_a_host_without_a_token_takes_nothing(images: Path, tmp_path: Path) -> None:
    with Hosting(images) as hosting:
        assert _put(hosting, APP, _image(tmp_path)).status == 405


@pytest.mark.parametrize(
    ("path", "fields", "reason"),
    [
        (f"{IMAGES}example.com/app-2.0-linux-amd64.aci", {}, "its place is /-/aci/example.com/app-1.0-linux-amd64.aci"),
        (APP, {"repr_digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"}, "Repr-Digest"),
    ],
)
def test_what_is_not_what_it_is_said_to_be_is_refused(
    hosting: Hosting, images: Path, tmp_path: Path, path: str, fields: dict[str, str], reason: str
) -> None:
    answer = _put(hosting, path, _image(tmp_path), **fields)
    assert answer.status == 422
    assert reason in answer.text
    assert [name for name in listing(images) if name != ".uploads"] == []


def test_what_is_no_image_is_refused(hosting: Hosting, images: Path) -> None:
    assert _put(hosting, APP, b"hello").status == 422
    assert [name for name in listing(images) if name != ".uploads"] == []


def test_no_name_leads_out_of_the_directory(hosting: Hosting, images: Path, tmp_path: Path) -> None:
    body = _image(tmp_path, name="example.com/x/../../../evil")
    assert _put(hosting, f"{IMAGES}example.com/x/../../../evil-1.0-linux-amd64.aci", body).status == 422
    (images / "example.com").symlink_to(tmp_path)
    assert _put(hosting, APP, _image(tmp_path)).status == 409
    assert not list(tmp_path.glob("app-*"))


def test_the_limit_holds(hosting: Hosting, images: Path) -> None:
    assert _put(hosting, APP, b"x" * ((1 << 20) + 1)).status == 413
    head = f"PUT {APP} HTTP/1.1\r\nHost: a\r\nAuthorization: {BEARER}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    assert hosting.raw(head.encode() + chunk * 17, shut=True).startswith(b"HTTP/1.1 413 ")
    assert [name for name in listing(images) if name != ".uploads"] == []


def test_a_broken_upload_leaves_nothing(hosting: Hosting, images: Path, tmp_path: Path) -> None:
    body = _image(tmp_path)
    head = f"PUT {APP} HTTP/1.1\r\nHost: a\r\nAuthorization: {BEARER}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", hosting.port)) as sock:
        sock.sendall(head.encode() + body[:100])
        until(lambda: bool(list((images / ".uploads").iterdir())))
    until(lambda: not list((images / ".uploads").iterdir()))
    assert hosting.get(APP).status == 404


def test_another_image_is_replaced_only_on_purpose(hosting: Hosting, tmp_path: Path) -> None:
    first = _image(tmp_path, "first")
    tag = _put(hosting, APP, first).fields["etag"]
    second = _image(tmp_path, "second")
    assert _put(hosting, APP, second).status == 409
    assert _put(hosting, APP, second, if_match='"other"').status == 409
    assert hosting.get(APP).body == first
    assert _put(hosting, APP, second, if_match=tag).status == 200
    assert hosting.get(APP).body == second


def test_a_file_in_the_way_is_kept(hosting: Hosting, images: Path, tmp_path: Path) -> None:
    (images / "example.com").mkdir()
    (images / "example.com/app-1.0-linux-amd64.aci").write_text("something else")
    assert _put(hosting, APP, _image(tmp_path)).status == 409
    assert (images / "example.com/app-1.0-linux-amd64.aci").read_text() == "something else"


def test_only_names_below_a_prefix_are_taken(images: Path, tmp_path: Path) -> None:
    with Hosting(images, token=TOKEN, prefixes=("example.com/app",)) as hosting:
        assert _put(hosting, APP, _image(tmp_path)).status == 201
        other = _image(tmp_path, name="example.com/other")
        assert _put(hosting, f"{IMAGES}example.com/other-1.0-linux-amd64.aci", other).status == 403


def test_an_image_is_never_there_without_its_signature(hosting: Hosting, images: Path, tmp_path: Path) -> None:
    signer = Signer()
    (images / "pubkeys.gpg").write_bytes(signer.certificate)
    body = _image(tmp_path)
    signature = signer.sign(tmp_path / "made.aci").read_bytes()
    sha256 = hashlib.sha256(body).hexdigest()
    assert _put(hosting, f"{APP}.asc?sha256={sha256}", signature).status == 202
    assert hosting.get(f"{APP}.asc").status == 404
    assert _put(hosting, APP, body).status == 201
    assert hosting.get(f"{APP}.asc").body == signature


def test_a_wrong_signature_is_refused_with_its_image(hosting: Hosting, images: Path, tmp_path: Path) -> None:
    signer = Signer()
    (images / "pubkeys.gpg").write_bytes(signer.certificate)
    _image(tmp_path, "signed")
    signature = signer.sign(tmp_path / "made.aci").read_bytes()
    body = _image(tmp_path, "another")
    assert _put(hosting, f"{APP}.asc?sha256={hashlib.sha256(body).hexdigest()}", signature).status == 202
    answer = _put(hosting, APP, body)
    assert answer.status == 422
    assert "does not match" in answer.text
    assert hosting.get(APP).status == 404


@pytest.mark.parametrize(("query", "body", "status"), [("", b"", 400), ("?sha256=" + "0" * 64, b"hello", 422)])
def test_what_is_no_signature_is_refused(hosting: Hosting, query: str, body: bytes, status: int) -> None:
    assert _put(hosting, f"{APP}.asc{query}", body).status == status


def test_push_brings_image_and_signature(hosting: Hosting, images: Path, tmp_path: Path, client: Client) -> None:
    signer = Signer()
    (images / "pubkeys.gpg").write_bytes(signer.certificate)
    body = _image(tmp_path)
    path = tmp_path / "made.aci"
    signature = signer.sign(path).read_bytes()
    url = push(client, str(path), _base(hosting), token=TOKEN)
    assert url == f"{_base(hosting)}{APP}"
    assert hosting.get(APP).body == body
    assert hosting.get(f"{APP}.asc").body == signature
    # Once more changes nothing; a signature that is new goes to the image that is there.
    again = Signer().sign(path).read_bytes()
    assert push(client, str(path), _base(hosting), token=TOKEN) == url
    assert hosting.get(f"{APP}.asc").body == again


def test_push_replaces_only_when_told_to(hosting: Hosting, tmp_path: Path, client: Client) -> None:
    path = str(tmp_path / "made.aci")
    _image(tmp_path, "first")
    push(client, path, _base(hosting), token=TOKEN)
    second = _image(tmp_path, "second")
    with pytest.raises(UsageError, match="another image of this name"):
        push(client, path, _base(hosting), token=TOKEN)
    push(client, path, _base(hosting), token=TOKEN, overwrite=True)
    assert hosting.get(APP).body == second


def test_push_says_what_is_wrong(hosting: Hosting, tmp_path: Path, client: Client) -> None:
    _image(tmp_path)
    with pytest.raises(HttpStatus, match="401") as failure:
        push(client, str(tmp_path / "made.aci"), _base(hosting), token="wrong-wrong-wrong-wrong")
    assert "--token-file" in failure.value.hint
    (tmp_path / "empty").mkdir()
    with Hosting(tmp_path / "empty") as closed, pytest.raises(HttpStatus, match="405") as failure:
        push(client, str(tmp_path / "made.aci"), _base(closed), token=TOKEN)
    assert "--upload-token-file" in failure.value.hint


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [(TOKEN, 0o644, "read by others"), ("short", 0o600, "16 characters"), ("with space in it here", 0o600, "token")],
)
def test_a_token_nobody_should_use_is_refused(tmp_path: Path, content: str, mode: int, reason: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(UsageError, match=reason):
        read_token(str(file))
