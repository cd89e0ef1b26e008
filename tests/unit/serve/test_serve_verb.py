"""The verb: what it refuses before it begins, and how it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from appc.cli.main import main
from appc.serve import server
from appc.serve.templates import precedence
from capabilities import need
from image_kit import aci
from net_kit import Authority
from serve_kit import IMAGES, PLATFORM, Hosting, until

APP = f"{IMAGES}example.com/app-1.0-linux-amd64.aci"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone"], "gone: is no directory"),
        (["--listen", "nonsense", "."], "is not ADDR:PORT"),
        (["--listen", "::1:80", "."], "stands in brackets"),
        (["--listen", "127.0.0.1:99999", "."], "is not ADDR:PORT"),
        (["--tls-cert", "x", "."], "--tls-cert and --tls-key go together"),
        (["--tls-cert", "x", "--tls-key", "y", "."], "cannot be read: No such file"),
        (["--tls-cert", "text", "--tls-key", "text", "."], "is no PEM file"),
        (["--url", "ftp://x", "."], "is no URL"),
        (["--url", "https://x y", "."], "is no URL"),
        (["--name-prefix", "No Name", "."], "is not an AC Identifier"),
        (["--upload-token-file", "gone", "."], "gone: cannot be read"),
        (["--upload-token-file", "text", "--listen", "0.0.0.0:0", "."], "where others can read it"),
        (["--export", "out", "--listen", ":80", "."], "cannot go together"),
        (["--export", "out", "."], "has no image that could be served"),
        (["--access-log", "gone/log", "."], "--access-log gone/log: cannot be written"),
        (["--cache", "open", "."], "can be written by others"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "text").write_text("hello")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    cache = [] if "--cache" in words or "--export" in words else ["--cache", "cache"]
    assert main(["serve", *cache, *words]) in (1, 2, 125)
    message = capfd.readouterr().err
    assert said in message
    assert len([line for line in message.splitlines() if line.startswith("appc: ")]) == 1


def test_a_port_that_is_taken_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--cache", f"{tmp_path}/cache", "--listen", f"127.0.0.1:{port}", str(tmp_path)]) == 125
    assert f"127.0.0.1:{port}: cannot be listened on: Address already in use" in capfd.readouterr().err


@contextmanager
def _served(images: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of its own, and its port."""
    command = [sys.executable, "-m", "appc", "serve", "--listen", "127.0.0.1:0", "--cache", f"{images}/../cache"]
    with subprocess.Popen([*command, *words, str(images)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        yield process, int(process.stderr.readline().rpartition(":")[2])


def test_a_transfer_may_end_before_the_server_does(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    size = 32 << 20
    aci(images / "a.aci", {"x": bytes(size)}, version="1.0", labels=PLATFORM, compress="none")
    with _served(images) as (process, port), socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET {APP} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        received = len(sock.recv(65536))
        process.send_signal(signal.SIGTERM)
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) != 0)
        while data := sock.recv(1 << 20):
            received += len(data)
        assert received > size
        assert process.wait(20) == 0


def test_who_asks_twice_does_not_wait_for_transfers(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    aci(images / "a.aci", {"x": bytes(32 << 20)}, version="1.0", labels=PLATFORM, compress="none")
    with _served(images) as (process, port), socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET {APP} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert sock.recv(1024).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGINT)
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) != 0)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_renewed_certificate_is_taken_up(tmp_path: Path) -> None:
    need("openssl")
    images = tmp_path / "images"
    images.mkdir()
    authority = Authority(tmp_path / "ca")
    for name, made in zip(("first", "second"), (("localhost",), ("localhost", "127.0.0.1")), strict=True):
        certificate, key = authority.certificate(*made)
        shutil.copy(certificate, tmp_path / f"{name}.crt")
        shutil.copy(key, tmp_path / f"{name}.key")
    for end in ("crt", "key"):
        shutil.copy(tmp_path / f"first.{end}", tmp_path / f"now.{end}")
    words = ("--tls-cert", f"{tmp_path}/now.crt", "--tls-key", f"{tmp_path}/now.key")
    with _served(images, *words) as (process, port):
        first, second = ((tmp_path / f"{name}.crt").read_text() for name in ("first", "second"))
        assert ssl.get_server_certificate(("127.0.0.1", port)) == first
        for end in ("crt", "key"):
            shutil.copy(tmp_path / f"second.{end}", tmp_path / f"now.{end}")
        process.send_signal(signal.SIGHUP)
        until(lambda: ssl.get_server_certificate(("127.0.0.1", port)) == second)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_an_idle_client_does_not_keep_the_server(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with _served(tmp_path / "images") as (process, port), socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_more_clients_than_there_is_room_for_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    aci(tmp_path / "a.aci", {}, version="1.0", labels=PLATFORM)
    with Hosting(tmp_path) as hosting:
        assert hosting.get(APP).status == 200
        idle = [socket.create_connection(("127.0.0.1", hosting.port)) for _ in range(2)]
        waiting = socket.create_connection(("127.0.0.1", hosting.port))
        waiting.sendall(f"GET {APP} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        idle[0].close()
        waiting.settimeout(20)
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200")
        idle[1].close()
        waiting.close()


@pytest.mark.parametrize("secure", [False, True])
def test_two_hundred_clients_at_once_take_bounded_memory(tmp_path: Path, secure: bool) -> None:
    """All of them are in the middle of their transfer when it is measured; then each gets every byte."""
    images = tmp_path / "images"
    images.mkdir()
    aci(images / "a.aci", {"x": os.urandom(2 << 20)}, version="1.0", labels=PLATFORM, compress="none")
    whole = (images / "a.aci").read_bytes()
    words: tuple[str, ...] = ()
    context = ssl.create_default_context()
    if secure:
        need("openssl")
        authority = Authority(tmp_path / "ca")
        certificate, key = authority.certificate("localhost")
        words = ("--tls-cert", str(certificate), "--tls-key", str(key))
        context.load_verify_locations(authority.file)
    with _served(images, *words) as (process, port), ExitStack() as stack:
        clients = []
        for _ in range(200):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 120))
            if secure:
                sock = stack.enter_context(context.wrap_socket(sock, server_hostname="localhost"))
            sock.sendall(f"GET {APP} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            clients.append(sock)
        received = [bytearray(sock.recv(1024)) for sock in clients]
        peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        assert peak is not None
        assert int(peak[1]) < 200 << 10, "KiB; all of what is sent together is twice as much"
        for sock, data in zip(clients, received, strict=True):
            while piece := sock.recv(1 << 20):
                data += piece
            assert data.partition(b"\r\n\r\n")[2] == whole
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_the_log_says_what_was_asked(tmp_path: Path) -> None:
    from appc.serve.accesslog import AccessLog
    from appc.serve.connection import Exchange

    log = AccessLog(str(tmp_path / "log"))
    exchange = Exchange("192.0.2.1")
    exchange.line, exchange.agent, exchange.status, exchange.sent = 'GET /"\x1b[31m', 'a"b\nc', 404, 12
    log.write(exchange)
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.startswith("192.0.2.1 - - [")
    assert line.endswith('] "GET /\\x22\\x1b[31m HTTP/1.1" 404 12 "-" "a\\x22b\\x0ac"')
    assert os.stat(tmp_path / "log").st_mode & 0o007 == 0


def test_versions_have_an_order() -> None:
    ordered = [
        "",
        "edge",
        "stable2",
        "stable10",
        "1.0-rc1",
        "2.0.0-alpha",
        "0.9",
        "v1.0",
        "1.0.1",
        "1.9",
        "1.10",
        "2.0+5",
    ]
    assert sorted(ordered, key=precedence) == ordered
