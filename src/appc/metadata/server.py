"""The metadata service's one process: an epoll loop over keepers, pods' sockets and their clients.

A keeper hands over the listening socket of a pod when its first client has come, and takes the watch
back when the service closes the connection they spoke over. The socket stays open in the keeper all
along, so a client that comes while the service leaves waits in its backlog and is served by the next.
"""

from __future__ import annotations

import _socket
import os
import select
import struct
import sys
import time

from appc.metadata import endpoints
from appc.metadata.http import Conversation
from appc.metadata.messages import Question, Refusal, Response
from appc.metadata.pods import Pod, is_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.metadata.verifier import Process

    Watched = _socket.socket | Process

IDLE_SECONDS = 28.0
"""How long the service stays after the last request: it is to be gone when 30 s have passed."""

REQUEST_SECONDS = 10.0
"""How long a request may take to arrive, and an answer to be taken."""

VERIFIER_SECONDS = 10.0
"""How long the host's verifier may take."""

CLIENTS_PER_POD = 32
_QUESTIONS = 16  # verifiers at work at a time
_ACCEPT_PAUSE_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 3600.0
_CHUNK = 64 * 1024
_PACKET_LIMIT = 64
_DESCRIPTORS_LIMIT = 4
_INT = struct.Struct("i")
_IN, _OUT, _NOTHING = select.EPOLLIN, select.EPOLLOUT, 0


class _Endpoint:
    """Something the loop watches. `deadline` (monotonic seconds) is when `expire` is called."""

    deadline = float("inf")

    def __init__(self, loop: Server, sock: Watched) -> None:
        sock.setblocking(False)
        self.loop = loop
        self.sock = sock
        loop.watch(self)

    def ready(self, events: int) -> None:
        """Act on readiness."""
        raise NotImplementedError

    def expire(self) -> None:
        """Act on the deadline."""
        self.close()

    def close(self) -> None:
        """Leave the loop."""
        self.loop.forget(self)
        self.sock.close()


class _Acceptor(_Endpoint):
    """A listening socket."""

    sock: _socket.socket

    def accept(self) -> _socket.socket | None:
        """Return a new connection, if there is one; out of descriptors, try again a little later."""
        try:
            fd, _ = self.sock._accept()  # type: ignore[attr-defined]
        except (BlockingIOError, ConnectionError, InterruptedError):
            return None
        except OSError:
            self.loop.watch(self, _NOTHING)
            self.deadline = time.monotonic() + _ACCEPT_PAUSE_SECONDS
            return None
        return _socket.socket(fileno=fd)

    def expire(self) -> None:
        self.deadline = float("inf")
        self.loop.watch(self)


class _Door(_Acceptor):
    """The unix socket on which keepers come."""

    def ready(self, events: int) -> None:
        sock = self.accept()
        if sock is not None:
            _Keeper(self.loop, sock)


class _Keeper(_Endpoint):
    """A pod's keeper: it says which pod and hands over its socket, and is there as long as the pod."""

    sock: _socket.socket
    listener: _Listener | None = None

    def ready(self, events: int) -> None:
        try:
            packet, descriptors = _receive(self.sock)
        except BlockingIOError:
            return
        except OSError:
            packet, descriptors = b"", []
        uuid = packet.decode("ascii", "replace").strip()
        if self.listener is None and len(descriptors) == 1 and is_uuid(uuid):
            self.listener = _Listener(self.loop, _socket.socket(fileno=descriptors[0]), Pod(self.loop.root, uuid))
            return
        for descriptor in descriptors:
            os.close(descriptor)
        self.close()

    def close(self) -> None:
        super().close()
        if self.listener is not None:
            self.listener.close()


class _Listener(_Acceptor):
    """The listening socket of one pod."""

    def __init__(self, loop: Server, sock: _socket.socket, pod: Pod) -> None:
        self.pod = pod
        self.clients: set[_Client] = set()
        super().__init__(loop, sock)
        loop.pod_came()

    def ready(self, events: int) -> None:
        sock = self.accept()
        if sock is None:
            return
        self.loop.touch()
        self.clients.add(_Client(self.loop, sock, self))
        if len(self.clients) >= CLIENTS_PER_POD:
            # The others wait in the backlog until one of these has gone.
            self.loop.watch(self, _NOTHING)

    def left(self, client: _Client) -> None:
        """Note that `client` has gone."""
        self.clients.discard(client)
        if self.sock.fileno() >= 0:
            self.loop.watch(self)

    def close(self) -> None:
        super().close()
        for client in tuple(self.clients):
            client.close()
        self.loop.pod_left()


class _Asked(_Endpoint):
    """The host's verifier, at work for a client."""

    sock: Process

    def __init__(self, loop: Server, process: Process, client: _Client) -> None:
        self._client: _Client | None = client
        super().__init__(loop, process)
        self.deadline = time.monotonic() + VERIFIER_SECONDS

    def ready(self, events: int) -> None:
        status = self.sock.status()
        super().close()
        if self._client is not None:
            self._client.settle(endpoints.verdict(status))

    def expire(self) -> None:
        # Its end is what the client is told, as soon as it is there.
        self.deadline = float("inf")
        self.sock.kill()

    def abandon(self) -> None:
        """Nobody waits for it any more; it is still to be collected."""
        self._client = None
        self.expire()

    def close(self) -> None:
        self.sock.kill()
        super().close()


class _Client(_Endpoint):
    """One connection of an app: requests are read and answered in order, one at a time."""

    sock: _socket.socket
    asked: _Asked | None = None

    def __init__(self, loop: Server, sock: _socket.socket, listener: _Listener) -> None:
        self.listener = listener
        self.conversation = Conversation()
        self.unsent = b""
        self.answered = False
        self.finished = False
        super().__init__(loop, sock)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self.deadline = time.monotonic() + IDLE_SECONDS

    @property
    def busy(self) -> bool:
        """Whether a request (the first one is taken for granted) or an answer is on its way."""
        if self.asked is not None:
            return True
        return not self.finished and (not self.answered or bool(self.unsent) or self.conversation.incomplete)

    def ready(self, events: int) -> None:
        try:
            if self.unsent:
                self._send(b"")
            else:
                self._receive()
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def expire(self) -> None:
        if self.conversation.incomplete and not self.unsent and not self.finished:
            self.conversation.open = False
            refusal = Refusal(408, f"the request took longer than {REQUEST_SECONDS:.0f} s")
            try:
                self.sock.send(self.conversation.answer(refusal.response()))
            except OSError:
                pass
        self.close()

    def close(self) -> None:
        super().close()
        if self.asked is not None:
            self.asked.abandon()
            self.asked = None
        self.listener.left(self)

    def settle(self, response: Response) -> None:
        """Go on with the answer to what was asked of another program."""
        self.asked = None
        try:
            self.loop.watch(self)
            due, self.conversation.to_send = self.conversation.to_send, b""
            self._reply(due, response)
            self._answer()
        except OSError:
            self.close()

    def _receive(self) -> None:
        data = self.sock.recv(_CHUNK)
        if not data:
            self.close()
        elif not self.finished:
            if not self.conversation.incomplete:
                self.deadline = time.monotonic() + REQUEST_SECONDS
            self.conversation.feed(data)
            self._answer()

    def _answer(self) -> None:
        """Answer the requests that have arrived, as far as the client takes the answers."""
        while self.conversation.open and not self.unsent and self.asked is None:
            try:
                request = self.conversation.next_request()
                due, self.conversation.to_send = self.conversation.to_send, b""
                if request is None:
                    if due:
                        self._send(due)
                    return
                found = endpoints.respond(request, self.listener.pod)
                response = self._ask(found) if isinstance(found, Question) else found
            except Refusal as refusal:
                due, response = b"", refusal.response()
            except Exception:
                # A defect that one pod's request brings out is not to take the service from the others.
                sys.excepthook(*sys.exc_info())
                self.conversation.open = False
                due, response = b"", Refusal(500, "the service failed").response()
            if response is None:
                self.conversation.to_send = due
            else:
                self._reply(due, response)

    def _ask(self, question: Question) -> Response | None:
        """Ask another program, and read nothing from the client meanwhile; or return what answers at once."""
        from appc.metadata.verifier import Process

        if self.loop.questions() >= _QUESTIONS:
            return Refusal(503, "the host's verifier has too much to do").response()
        try:
            process = Process(question)
        except OSError as error:
            print(
                f"metadata.verifier: {question.argv[0]}: {os.strerror(error.errno or 0)}", file=sys.stderr, flush=True
            )
            return endpoints.verdict(-1)
        self.asked = _Asked(self.loop, process, self)
        self.deadline = float("inf")
        self.loop.watch(self, _NOTHING)
        return None

    def _reply(self, due: bytes, response: Response) -> None:
        self.deadline = time.monotonic() + (REQUEST_SECONDS if self.conversation.incomplete else IDLE_SECONDS)
        self._send(due + self.conversation.answer(response))
        self.answered = True
        self.loop.answered()

    def _send(self, data: bytes) -> None:
        self.unsent += data
        try:
            sent = self.sock.send(self.unsent)
        except BlockingIOError:
            sent = 0
        self.unsent = self.unsent[sent:]
        if self.unsent:
            if data:
                self.deadline = time.monotonic() + REQUEST_SECONDS
                self.loop.watch(self, _OUT)
            return
        if not data:
            self.loop.watch(self)
        if not self.conversation.open and not self.finished:
            # Closing now, with unread bytes, would reset the connection and take the answer with it.
            self.finished = True
            self.deadline = min(self.deadline, time.monotonic() + REQUEST_SECONDS)
            self.sock.shutdown(_socket.SHUT_WR)
        elif not data:
            self._answer()


class Server:
    """The loop. It serves the pods below `root` whose keepers come to `door`; `idle` is in seconds.

    `first_answer` is called when the first request has been answered.
    """

    def __init__(
        self,
        root: str,
        door: _socket.socket,
        idle: float = IDLE_SECONDS,
        first_answer: Callable[[], None] | None = None,
    ) -> None:
        self.root = root
        self._idle = idle
        self._first_answer = first_answer
        self._epoll = select.epoll()
        self._endpoints: dict[int, _Endpoint] = {}
        self._last = time.monotonic()
        self._pods = 0
        self._deserted = False
        _Door(self, door)

    def watch(self, endpoint: _Endpoint, events: int = _IN) -> None:
        """Watch `endpoint` for `events`."""
        fd = endpoint.sock.fileno()
        if fd in self._endpoints:
            self._epoll.modify(fd, events)
        else:
            self._endpoints[fd] = endpoint
            self._epoll.register(fd, events)

    def forget(self, endpoint: _Endpoint) -> None:
        """Watch `endpoint` no more."""
        fd = endpoint.sock.fileno()
        if self._endpoints.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def questions(self) -> int:
        """How many verifiers are at work."""
        return sum(isinstance(one, _Asked) for one in self._endpoints.values())

    def touch(self) -> None:
        """Note that somebody needs the service."""
        self._last = time.monotonic()

    def answered(self) -> None:
        """Note that a request has been answered."""
        self.touch()
        if self._first_answer is not None:
            self._first_answer()
            self._first_answer = None

    def pod_came(self) -> None:
        """Note that there is a pod more to serve."""
        self.touch()
        self._pods += 1
        self._deserted = False

    def pod_left(self) -> None:
        """Note that a pod has ended. After the last one there is nobody to stay for."""
        self._pods -= 1
        self._deserted = self._pods == 0 and self._idle < float("inf")

    def run(self) -> None:
        """Serve until nobody has asked anything for the idle time, or no pod is left."""
        while True:
            now = time.monotonic()
            for endpoint in [one for one in self._endpoints.values() if one.deadline <= now]:
                endpoint.expire()
            due = now if self._deserted else self._last + self._idle
            busy = any(isinstance(one, _Client) and one.busy for one in self._endpoints.values())
            next_deadline = min((one.deadline for one in self._endpoints.values()), default=due)
            wait = min(next_deadline, next_deadline if busy else due) - now
            events = self._epoll.poll(max(0.0, min(wait, _LONGEST_WAIT_SECONDS)))
            if not events and not busy and time.monotonic() >= due:
                return
            for fd, event in events:
                endpoint_ready = self._endpoints.get(fd)
                if endpoint_ready is not None:
                    endpoint_ready.ready(event)

    def close(self) -> None:
        """Let go of every pod: their keepers watch again."""
        for endpoint in tuple(self._endpoints.values()):
            if endpoint.sock.fileno() >= 0:
                endpoint.close()
        self._epoll.close()


def _receive(sock: _socket.socket) -> tuple[bytes, list[int]]:
    """Receive a packet and the descriptors that came with it."""
    packet, ancillary, _, _ = sock.recvmsg(
        _PACKET_LIMIT, _socket.CMSG_SPACE(_DESCRIPTORS_LIMIT * _INT.size), _socket.MSG_CMSG_CLOEXEC
    )
    descriptors = [
        descriptor
        for level, kind, data in ancillary
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
        for (descriptor,) in _INT.iter_unpack(data[: len(data) - len(data) % _INT.size])
    ]
    return packet, descriptors
