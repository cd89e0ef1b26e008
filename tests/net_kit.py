"""Servers on loopback with certificates of an authority of their own, and the names of hosts that lead to them."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = bytes | str | tuple[int, dict[str, str], bytes] | Callable[["Request"], None]


class Authority:
    """A certificate authority; `file` holds its own certificate."""

    def __init__(self, directory: Path, name: str = "test authority") -> None:
        self.directory = directory
        self._made: dict[tuple[tuple[str, ...], int], tuple[Path, Path]] = {}
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "ca.pem"
        self._key = directory / "ca.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"),
            *("-subj", f"/CN={name}", "-keyout", self._key, "-out", self.file),
        )

    def certificate(self, *names: str, days: int = 30) -> tuple[Path, Path]:
        """Issue a certificate for DNS names and addresses, expired when `days` is negative; (certificate, key)."""
        if (names, days) in self._made:
            return self._made[names, days]
        stem = f"{len(self._made)}-{names[0]}{'-expired' if days < 0 else ''}"
        key, request, made = (self.directory / f"{stem}.{end}" for end in ("key", "csr", "pem"))
        alternatives = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names)
        extensions = self.directory / f"{stem}.ext"
        extensions.write_text(f"subjectAltName={alternatives}\n")
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={names[0]}"),
            *("-keyout", key, "-out", request),
        )
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key, "-CAcreateserial"),
            *("-days", days, "-extfile", extensions, "-out", made),
        )
        self._made[names, days] = made, key
        return made, key


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Request(BaseHTTPRequestHandler):
    """One request, for answers that are functions: `send` a whole answer, or write to `wfile` what no server should."""

    protocol_version = "HTTP/1.1"
    server: Server

    def send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        given = {"Content-Length": str(len(body)), **(headers or {})}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        self.server.requests.append((self.command, self.path, dict(self.headers.items())))
        path = self.path.partition("?")[0]
        answer = self.server.pages.get(self.path, self.server.pages.get(path))
        if callable(answer):
            answer(self)
        elif isinstance(answer, tuple):
            self.send(*answer)
        elif answer is None:
            self.send(404, {}, b"nothing here")
        else:
            self.send_file(answer.encode() if isinstance(answer, str) else answer)

    def send_file(self, body: bytes, etag: str = "") -> None:
        """Send a body as a good server does: validators, conditional requests and one range."""
        etag = etag or f'"{hash(body) & 0xFFFFFFFF:x}-{len(body)}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if self.headers.get("If-None-Match") == etag:
            self.send(304, headers)
            return
        wanted = self.headers.get("Range", "")
        if wanted and self.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(body):
                self.send(416, {"Content-Range": f"bytes */{len(body)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.send(206, headers, body[start:])
            return
        self.send(200, headers, body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A web server on a port of its own; `pages` says what it answers, `requests` what was asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, certificate: tuple[Path, Path] | None = None, address: str = "127.0.0.1", port: int = 0) -> None:
        self.pages: dict[str, Answer] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        super().__init__((address, port), Request)
        self.scheme = "http"
        if certificate is not None:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The beginning of its URLs, without the slash."""
        return f"{self.scheme}://localhost:{self.port}"

    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [path for _, path, _ in self.requests]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what many tests are about."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Names:
    """Stands in for the name server: `names[host] = server` leads https://host there, whatever its port is."""

    def __init__(self) -> None:
        self.hosts: dict[str, int] = {}
        self._real = socket.getaddrinfo

    def __setitem__(self, host: str, server: Server | int) -> None:
        self.hosts[host] = server if isinstance(server, int) else server.port

    def lookup(self, host: str, port: int, *arguments: object, **options: object) -> list[tuple[object, ...]]:
        """What takes the place of socket.getaddrinfo. Only names that were given, and loopback, are known."""
        if host in self.hosts:
            host, port = "127.0.0.1", self.hosts[host]
        elif host not in ("localhost", "127.0.0.1"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
