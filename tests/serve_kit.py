"""A running `appc serve` inside the test's process, and a client that sends exactly what it is told."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appc.serve.connection import Exchange
from appc.serve.files import Directory
from appc.serve.index import Index
from appc.serve.layers import Conversions
from appc.serve.memory import Memory
from appc.serve.registry import Registry
from appc.serve.server import Server, listen, tls
from appc.serve.site import Site
from appc.serve.uploads import LIMIT, Uploads

PLATFORM = (("os", "linux"), ("arch", "amd64"))
IMAGES = "/-/aci/"


class Answer:
    """What came back: `fields` by name in lower case."""

    def __init__(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()


class Hosting:
    """Serves a directory from another thread, as a context manager. `exchanges` are what was answered.

    With a `cache` directory it is a registry too, with a `token` it takes uploads of at most `limit` bytes; `prefixes`,
    `tls` (certificate, key) and `url` are as for the verb.
    """

    def __init__(self, directory: Path, **how: Any) -> None:
        self.exchanges: list[Exchange] = []
        self._directory = Directory(str(directory))
        if "cache" in how:
            os.makedirs(how["cache"], exist_ok=True)
        self._tls: tuple[str, str] | None = how.pop("tls", None)
        self._how = how
        self._sock = listen("127.0.0.1", 0)
        self.port: int = self._sock.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self) -> Hosting:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)
        self._directory.close()
        assert not self._thread.is_alive()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        cache = self._how.pop("cache", "")
        memory = Memory(str(cache), self._directory.path) if cache else None
        index = Index(self._directory, self._how.pop("prefixes", ()), memory)
        conversions = Conversions(self._directory, str(cache)) if cache else None
        if conversions is not None:
            self._how["registry"] = Registry(index, self._directory, conversions).respond
        token = self._how.pop("token", "")
        limit = self._how.pop("limit", LIMIT)
        uploads = Uploads(index, self._directory, token, limit=limit, prefixes=index.prefixes) if token else None
        site = Site(index, self._directory, uploads=uploads, **self._how)
        self._ready.set()
        try:
            context = tls(*self._tls) if self._tls else None
            await Server(self._sock, site.respond, self.exchanges.append, context=context).run(self._stopped)
        finally:
            await index.save()
            index.close()
            if conversions is not None:
                conversions.close()
            if uploads is not None:
                uploads.close()

    def get(
        self,
        path: str,
        host: str = "",
        method: str = "GET",
        context: ssl.SSLContext | None = None,
        body: bytes | None = None,
        **fields: str,
    ) -> Answer:
        """One request on a connection of its own; `if_range="…"` becomes the field If-Range."""
        connection = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
            if context
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        )
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        if host:
            headers["Host"] = host
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def raw(self, data: bytes, shut: bool = False) -> bytes:
        """Send bytes as they are; return all that comes back until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
            sock.sendall(data)
            if shut:
                sock.shutdown(socket.SHUT_WR)
            received = b""
            while data := sock.recv(65536):
                received += data
            return received


class Signer:
    """A new key that signs; `fingerprint` is in lower case."""

    def __init__(self) -> None:
        import pysequoia

        self._library = pysequoia
        self._key = pysequoia.Tsk.generate("Signer <signer@example.com>")
        certificate = self._key.extract_certificate()
        self.fingerprint: str = certificate.fingerprint.lower()
        self.certificate = str(certificate).encode()

    def sign(self, path: Path) -> Path:
        """Write the signature of a file beside it."""
        mode = self._library.SignatureMode.DETACHED
        signature = Path(f"{path}.asc")
        signature.write_bytes(self._library.sign(self._key.signer(), path.read_bytes(), mode=mode))
        return signature


def until(condition: Callable[[], bool]) -> None:
    """Wait for an event another thread brings about."""
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it never happened")
