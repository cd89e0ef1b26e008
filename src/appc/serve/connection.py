"""One client's connection: requests in, answers out, in order, each within its time."""

from __future__ import annotations

import asyncio
import os
import time
from http import HTTPStatus

import h11

from appc.serve.conditions import http_date
from appc.serve.filesender import FileSender
from appc.serve.messages import FileBody, Refusal, Request, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[Request], Awaitable[Response]]

HEAD_LIMIT = 32 * 1024
"""Bytes of a request's line and header fields together."""

IDLE_SECONDS = 60.0
HEAD_SECONDS = 15.0
STALL_SECONDS = 60.0
"""How long a client may take to send, or to take, the next piece of a body."""

_RECEIVE = 64 * 1024
_READ_PIECE = 128 * 1024
_BUFFERED = 256 * 1024
_LINGER_SECONDS = 2.0
_EVERY_ANSWER = (("X-Content-Type-Options", "nosniff"),)
_NO_BODY = (204, 304)


class Exchange:
    """What there is to say of one request when it has been answered; `sent` counts the bytes of the body."""

    __slots__ = ("agent", "client", "error", "line", "sent", "status", "version")

    def __init__(self, client: str) -> None:
        self.client = client
        self.line = "-"
        self.version = "1.1"
        self.agent = "-"
        self.status = 0
        self.sent = 0
        self.error: Exception | None = None


class Connection:
    """Serves one connection until it ends. `done` gets each exchange, answered or not."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        respond: Handler,
        done: Callable[[Exchange], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._respond = respond
        self._done = done
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._secure = writer.get_extra_info("sslcontext") is not None
        peer = writer.get_extra_info("peername")
        self._client = peer[0] if isinstance(peer, tuple) else "-"
        self._closing = False
        self.idle = True
        writer.transport.set_write_buffer_limits(high=_BUFFERED)

    async def run(self) -> None:
        """Answer requests until the client leaves, breaks the rules, or takes too long."""
        try:
            while await self._exchange():
                pass
            await self._linger()
        except (OSError, TimeoutError, h11.ProtocolError):
            self._writer.transport.abort()
        finally:
            self._writer.close()

    def leave(self) -> None:
        """Say goodbye after the answer that is on its way; at once when there is none."""
        self._closing = True
        if self.idle:
            self._writer.transport.abort()

    async def _exchange(self) -> bool:
        """One request and its answer. Returns whether another one may come."""
        exchange = Exchange(self._client)
        response: Response | None = None
        try:
            head = await self._head()
            if head is None:
                return False
            exchange.line = f"{head.method.decode('ascii')} {head.target.decode('ascii')}"
            exchange.version = head.http_version.decode("ascii")
            response = await self._answer(head, exchange)
        except h11.RemoteProtocolError as error:
            response = Refusal(error.error_status_hint, "not well-formed HTTP/1.1").response()
        except TimeoutError:
            if self.idle:
                return False
            response = Refusal(408, "the request took too long").response()
        try:
            exchange.status = response.status
            await self._send(response, exchange)
        finally:
            response.close()
            self._done(exchange)
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _answer(self, head: h11.Request, exchange: Exchange) -> Response:
        fields: dict[str, str] = {}
        size = len(head.target)
        for name, value in head.headers:
            size += len(name) + len(value) + 4
            key, text = name.decode("ascii"), value.decode("latin-1")
            fields[key] = f"{fields[key]}, {text}" if key in fields else text
        exchange.agent = fields.get("user-agent", "-")
        if size > HEAD_LIMIT:
            return Refusal(431, f"the head is longer than {HEAD_LIMIT} bytes").response()
        if "transfer-encoding" in fields and "content-length" in fields:
            # Somebody on the way may have understood the other one.
            return Refusal(400, "the body has two lengths").response()
        try:
            request = Request(
                head.method.decode("ascii"),
                head.target.decode("ascii"),
                fields,
                secure=self._secure,
                body=self._body(),
            )
            return await self._respond(request)
        except Refusal as refusal:
            return refusal.response()
        except (ConnectionError, TimeoutError, h11.ProtocolError):
            raise
        except Exception as error:
            # A defect that one request brings out is not to take the others' answers from them.
            exchange.error = error
            return Refusal(500, "the server failed").response()

    async def _head(self) -> h11.Request | None:
        """The next request's head; None when the client has gone."""
        self.idle = not self._http.trailing_data[0]
        deadline = time.monotonic() + (IDLE_SECONDS if self.idle else HEAD_SECONDS)
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self.idle = False
                return event
            if event is not h11.NEED_DATA or self._closing:
                return None
            await self._receive(deadline - time.monotonic())
            if self.idle:
                self.idle = False
                deadline = time.monotonic() + HEAD_SECONDS

    async def _receive(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            self._http.receive_data(await self._reader.read(_RECEIVE))

    async def _body(self) -> AsyncIterator[bytes]:
        """The request's body, as it comes."""
        if self._http.they_are_waiting_for_100_continue:
            go_on = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._writer.write(go_on or b"")
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                await self._receive(STALL_SECONDS)
            elif isinstance(event, h11.Data):
                yield bytes(event.data)
            else:
                return

    async def _send(self, response: Response, exchange: Exchange) -> None:
        fields = [("Date", http_date(time.time())), *response.fields, *_EVERY_ANSWER]
        if response.status not in _NO_BODY:
            fields.append(("Content-Length", str(response.length)))
        if self._closing or not self._body_is_read():
            fields.append(("Connection", "close"))
        head = h11.Response(
            status_code=response.status,
            headers=[(name.encode("ascii"), value.encode("ascii", "xmlcharrefreplace")) for name, value in fields],
            reason=HTTPStatus(response.status).phrase,
        )
        begin = self._http.send(head) or b""
        body = response.body
        if exchange.line.startswith("HEAD ") or response.status in _NO_BODY:
            body = b""
        elif isinstance(body, FileBody) and body.count <= _READ_PIECE:
            # With the head in one packet.
            body = os.pread(body.fd, body.count, body.offset)
            if len(body) != response.length:
                raise ConnectionAbortedError("the file has become shorter")
        if isinstance(body, bytes):
            await self._write(begin + (self._http.send(h11.Data(data=body)) if body else b"") + self._end())
            exchange.sent = len(body)
            return
        if not self._secure:
            # The socket is written to directly, so what the transport has must have gone.
            self._writer.transport.set_write_buffer_limits(high=0)
        await self._write(begin)
        await self._send_file(body, exchange)
        await self._write(self._end())

    def _end(self) -> bytes:
        return self._http.send(h11.EndOfMessage()) or b""

    async def _send_file(self, body: FileBody, exchange: Exchange) -> None:
        # h11 only counts: the bytes themselves go past it.
        self._http.send_with_data_passthrough(h11.Data(data=body))  # type: ignore[arg-type]
        if self._secure:
            while exchange.sent < body.count:
                data = os.pread(body.fd, min(_READ_PIECE, body.count - exchange.sent), body.offset + exchange.sent)
                if not data:
                    raise ConnectionAbortedError("the file has become shorter")
                await self._write(data)
                exchange.sent += len(data)
            return
        sock = self._writer.get_extra_info("socket").fileno()
        if sock < 0:
            raise ConnectionAbortedError("the client has gone")
        sender = FileSender(sock, body.fd, body.offset, body.count)
        try:
            await sender.run(STALL_SECONDS)
        finally:
            exchange.sent = sender.sent

    async def _write(self, data: bytes) -> None:
        if data:
            self._writer.write(data)
            async with asyncio.timeout(STALL_SECONDS):
                await self._writer.drain()

    def _body_is_read(self) -> bool:
        """Whether all of the request has arrived, so that another one can follow on this connection."""
        try:
            while self._http.their_state is h11.SEND_BODY:
                if self._http.next_event() is h11.NEED_DATA:
                    return False
        except h11.RemoteProtocolError:
            return False
        return self._http.their_state is h11.DONE

    async def _linger(self) -> None:
        """Let the client read the last answer: closing with unread bytes would reset the connection."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while await self._reader.read(_RECEIVE):
                    pass
        except (OSError, TimeoutError):
            pass
