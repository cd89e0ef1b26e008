"""Stands in for a pod's keeper: it owns the listening socket and hands it over, as appc-keep does."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from appc.metadata import access
from pod_directory import TOKEN, UUID


class Keeper:
    """The keeper of pod `uuid`; its clients connect to `address`."""

    def __init__(self, root: Path, state: Path, uuid: str = UUID) -> None:
        self.root, self.state, self.uuid = str(root), str(state), uuid
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address: tuple[str, int] = self.listener.getsockname()
        self.link: socket.socket | None = None

    def hand_over(self, start: Callable[[], None] = lambda: None) -> None:
        """Connect to the service and send it the pod and its socket.

        While nobody answers, `start` is called, which starts a service when none runs or is starting.
        """
        end = time.monotonic() + 10
        while True:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                link.connect(access.socket_path(self.root, self.state))
                socket.send_fds(link, [f"{self.uuid}\n".encode()], [self.listener.fileno()])
            except OSError:
                link.close()
                if time.monotonic() > end:
                    raise
                start()
                time.sleep(0.002)
            else:
                self.link = link
                return

    def given_back(self, timeout: float) -> bool:
        """Wait until the service lets go of the pod."""
        assert self.link is not None
        self.link.settimeout(timeout)
        try:
            return self.link.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def client(self, timeout: float = 20) -> socket.socket:
        """Connect as an app would."""
        return socket.create_connection(self.address, timeout=timeout)

    def close(self) -> None:
        """End as a keeper does when its pod has ended."""
        self.listener.close()
        if self.link is not None:
            self.link.close()


def get(path: str, token: str = TOKEN, fields: str = "") -> bytes:
    """Return the bytes of a request for `path` below the service's base."""
    return f"GET /{token}/acMetadata/v1/{path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()


def receive(client: socket.socket) -> tuple[bytes, bytes]:
    """Receive one answer with a Content-Length: its head and its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            return data, b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536)
    return head, body


def spawn(root: Path, state: Path) -> int:
    """Start the service as a keeper does; return its process ID."""
    argv = access.service_argv(str(root), str(state))
    return os.posix_spawn(sys.executable, argv, {})


def end(process: int) -> None:
    """Kill the service and wait for its end."""
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
