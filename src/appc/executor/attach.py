"""Attaching to the streams of an app that runs: a connection to the pod's keeper (native/keep_attach.c)."""

from __future__ import annotations

import errno
import os
import socket
import struct

from appc.errors import HostError, PodStateError
from appc.plan.compile_pod import ATTACH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.pods.layout import Pod

STREAMS = ("stdin", "stdout", "stderr")
# The most a packet holds, and the most that is sent at once beside its kind.
_PACKET = 64 * 1024
_INPUT = 4000
_SOURCES = {b"o": "stdout", b"r": "stderr"}


class Attachment:
    """The streams of one app. `tty` tells that they are a terminal, all of whose output is stdout."""

    def __init__(self, pod: Pod, app: str, streams: Sequence[str] = STREAMS) -> None:
        """Attach to `streams` of `app`; what it writes from now on is received.

        Raises PodStateError when the app does not run, HostError when its keeper is not to be reached.
        """
        self.tty = False
        self._socket = _connect(pod)
        bits = sum(1 << STREAMS.index(stream) for stream in streams)
        try:
            self._socket.send(b"a" + bytes((bits,)) + app.encode())
            answer = self._socket.recv(_PACKET)
        except OSError as error:
            answer = b"n" + bytes((error.errno or 0,))
        if answer[:1] != b"y":
            self.close()
            if answer[1:] in (b"", bytes((errno.ESRCH,)), bytes((errno.ECONNRESET,)), bytes((errno.EPIPE,))):
                raise PodStateError(f"app {app} is not running", f"pod {pod.uuid}")
            raise HostError(os.strerror(answer[1]), f"app {app} of pod {pod.uuid}")
        self.tty = answer[1:] == b"\1"

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to `receive`."""
        return self._socket.fileno()

    def receive(self) -> tuple[str, bytes] | None:
        """Wait for output: (stdout or stderr, bytes); None when the app has ended, or we were too slow for it."""
        while True:
            try:
                packet = self._socket.recv(_PACKET)
            except ConnectionResetError:
                return None
            if not packet:
                return None
            if packet[:1] in _SOURCES:
                return _SOURCES[packet[:1]], packet[1:]

    def send(self, data: bytes) -> None:
        """Write to the app's stdin; waits while the app does not read. BrokenPipeError when the app has ended."""
        for at in range(0, len(data), _INPUT):
            self._socket.send(b"i" + data[at : at + _INPUT])

    def end(self) -> None:
        """End the app's stdin for good, unless it is a terminal."""
        self._socket.send(b"e")

    def resize(self, rows: int, columns: int) -> None:
        """Tell the app's terminal its size."""
        self._socket.send(b"w" + struct.pack("<HH", rows, columns))

    def close(self) -> None:
        """Detach; the app goes on."""
        self._socket.close()


def _connect(pod: Pod) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The pod's own path may be too long for a socket's address.
    directory = os.open(pod.refresh().path, os.O_PATH | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{ATTACH}")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise PodStateError(f"is {pod.state()}, not running", f"pod {pod.uuid}") from None
    except OSError as error:
        connection.close()
        raise HostError(f"its keeper is not to be reached ({error.strerror})", f"pod {pod.uuid}") from None
    finally:
        os.close(directory)
    return connection
