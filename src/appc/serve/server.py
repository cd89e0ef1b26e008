"""The listening socket and what goes with it: TLS, the number of clients, the end."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl

from appc.errors import HostError, UsageError
from appc.serve.connection import Connection, Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.serve.connection import Handler

CONNECTIONS = 2000
"""How many clients may be connected at once. Others wait in the backlog."""

GOODBYE_SECONDS = 30.0
"""How long transfers may take to end when the server has been told to."""

_BACKLOG = 1024
_HANDSHAKE_SECONDS = 15.0


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises UsageError, HostError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot be listened on: {error}", f"--listen {host}:{port}") from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        hint = "ports below 1024 need root, or CAP_NET_BIND_SERVICE" if isinstance(error, PermissionError) else ""
        raise HostError(f"cannot be listened on: {error.strerror}", f"{host}:{port}", hint) from error
    return sock


def tls(certificate: str, key: str) -> ssl.SSLContext:
    """The TLS settings for a certificate chain and its key, PEM files. Raises UsageError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Give `context` the certificate that the files hold now. Raises UsageError."""

    def refuse() -> str:
        raise UsageError("needs a passphrase", f"--tls-key {key}", "give a key without one, readable by nobody else")

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except ssl.SSLError as error:
        reason = (
            "does not belong to the certificate" if "MISMATCH" in str(error.reason) else "is no PEM file of its kind"
        )
        raise UsageError(f"{reason} ({certificate})", f"--tls-key {key}") from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", f"--tls-cert {certificate}, --tls-key {key}") from None


class Server:
    """Serves `respond` on `sock`. `done` gets each exchange."""

    def __init__(
        self,
        sock: socket.socket,
        respond: Handler,
        done: Callable[[Exchange], None],
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._sock = sock
        self._respond = respond
        self._done = done
        self._context = context
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._room = asyncio.Semaphore(CONNECTIONS)

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until `stopped` is set. Transfers that are on their way then may complete, within half a minute."""
        self._sock.setblocking(False)
        accepting = asyncio.create_task(self._accept())
        try:
            await stopped.wait()
        finally:
            accepting.cancel()
            self._sock.close()
        for connection in tuple(self._connections.values()):
            connection.leave()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=GOODBYE_SECONDS)
            for task in late:
                task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                sock, _ = await loop.sock_accept(self._sock)
            except OSError:
                # Out of descriptors, or the client has gone again: there will be others.
                self._room.release()
                await asyncio.sleep(0.1)
                continue
            task = asyncio.create_task(self._serve(sock))
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task, None)
        self._room.release()

    async def _serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            timeout = _HANDSHAKE_SECONDS if self._context is not None else None
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=self._context, ssl_handshake_timeout=timeout
            )
        except (OSError, TimeoutError):
            # No TLS, or none that both sides speak.
            sock.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        connection = Connection(reader, writer, self._respond, self._done)
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = connection
        await connection.run()


def raise_descriptor_limit() -> None:
    """Each transfer takes two descriptors; the soft limit is low for the sake of programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS + 256
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
