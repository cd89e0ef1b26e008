"""Clients that break the rules get an answer that says so, or none, and nobody else notices."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appc.serve import connection
from image_kit import aci
from serve_kit import IMAGES, PLATFORM, Hosting, until

APP = f"{IMAGES}example.com/app-1.0-linux-amd64.aci"


@pytest.fixture
def hosting(tmp_path: Path) -> Iterator[Hosting]:
    aci(tmp_path / "a.aci", {}, version="1.0", labels=PLATFORM)
    with Hosting(tmp_path) as hosting:
        yield hosting


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a<script>\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /%0d%0aX:y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /?" + b"a=1&" * 50 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * connection.HEAD_LIMIT + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
        (b"PUT " + APP.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", 405),
    ],
)
def test_what_is_wrong_is_said(hosting: Hosting, data: bytes, status: int) -> None:
    answer = hosting.raw(data, shut=True)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/-/aci/../../../etc/passwd", "/-/aci/%2e%2e/%2e%2e/etc/passwd", "/-/aci//etc/passwd.aci"],
)
def test_no_path_leads_out_of_the_directory(hosting: Hosting, path: str) -> None:
    answer = hosting.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_requests_follow_each_other_on_one_connection(hosting: Hosting) -> None:
    one = f"GET {APP} HTTP/1.1\r\nHost: a\r\n".encode()
    answers = hosting.raw((one + b"\r\n") * 3 + one + b"Connection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200 OK") == 4


def test_the_whole_url_may_be_the_target(hosting: Hosting) -> None:
    answer = hosting.raw(b"GET http://example.com/app HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n")
    assert b'content="example.com/app http://example.com/-/aci/' in answer


def test_a_body_nobody_asked_for_ends_the_connection(hosting: Hosting) -> None:
    """What follows the head is never taken for another request."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
    answer = hosting.raw(head + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", shut=True)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


def test_a_client_that_never_finishes_its_request_is_let_go(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    assert hosting.raw(b"GET / HTTP/1.1\r\nHos").startswith(b"HTTP/1.1 408 ")


def test_a_client_that_says_nothing_is_let_go(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.2)
    assert hosting.raw(b"") == b""


def test_a_client_that_does_not_read_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    aci(tmp_path / "big.aci", {"x": os.urandom(32 << 20)}, version="1.0", labels=PLATFORM, compress="none")
    with Hosting(tmp_path) as hosting:
        assert hosting.get(APP, method="HEAD").status == 200
        monkeypatch.setattr(connection, "STALL_SECONDS", 0.3)
        with socket.create_connection(("127.0.0.1", hosting.port)) as sock:
            sock.sendall(f"GET {APP} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            until(lambda: len(hosting.exchanges) == 2)
        assert hosting.exchanges[1].sent < 32 << 20


def test_a_defect_ends_one_request_only(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appc.serve.pages.name_page", lambda *_: 1 // 0)
    assert hosting.get("/").status == 500
    until(lambda: len(hosting.exchanges) == 1)
    assert isinstance(hosting.exchanges[-1].error, ZeroDivisionError)
    assert hosting.get(APP).status == 200


def test_two_hundred_clients_at_once(tmp_path: Path) -> None:
    import os
    from concurrent.futures import ThreadPoolExecutor

    aci(tmp_path / "a.aci", {"x": os.urandom(1 << 20)}, version="1.0", labels=PLATFORM, compress="none")
    whole = (tmp_path / "a.aci").read_bytes()
    with Hosting(tmp_path) as hosting, ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: hosting.get(APP), range(200)))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.body == whole for answer in answers)


def test_tls_serves_the_same(tmp_path: Path) -> None:
    from appc.serve import selfsigned
    from capabilities import need

    need("openssl")
    (tmp_path / "images").mkdir()
    (tmp_path / "cache").mkdir()
    aci(tmp_path / "images/a.aci", {"x": b"x" * (1 << 20)}, version="1.0", labels=PLATFORM, compress="none")
    certificate, key = selfsigned.certificate(str(tmp_path / "cache"), ("localhost", "127.0.0.1"))
    assert Path(key).stat().st_mode & 0o077 == 0
    assert selfsigned.certificate(str(tmp_path / "cache"), ("localhost", "127.0.0.1")) == (certificate, key)
    first = selfsigned.fingerprint(certificate)
    almost = time.time() - (selfsigned.DAYS - 1) * 86400
    os.utime(certificate, (almost, almost))
    selfsigned.certificate(str(tmp_path / "cache"), ("localhost", "127.0.0.1"))
    assert selfsigned.fingerprint(certificate) != first
    trusting = ssl.create_default_context(cafile=certificate)
    with Hosting(tmp_path / "images", tls=(certificate, key)) as hosting:
        assert hosting.get(APP, context=trusting).body == (tmp_path / "images/a.aci").read_bytes()
        page = hosting.get("/app", host="example.com", context=trusting).text
        assert 'content="example.com/app https://example.com/-/aci/' in page
        assert not _plain(hosting).startswith(b"HTTP")


def _plain(hosting: Hosting) -> bytes:
    try:
        return hosting.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    except ConnectionError:
        return b""
