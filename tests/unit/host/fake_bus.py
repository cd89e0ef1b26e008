"""A bus of D-Bus for tests: it answers each call with what it was told to, and keeps the calls."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jeepney import HeaderFields, Message, MessageType, Parser, new_error, new_method_return, new_signal
from jeepney.wrappers import DBusAddress

MANAGER = DBusAddress(
    "/org/freedesktop/systemd1", bus_name="org.freedesktop.systemd1", interface="org.freedesktop.systemd1.Manager"
)


class Error(Exception):
    """An answer that is an error: its D-Bus name, and what it says."""


class Bus:
    """One connection at a time. `calls` are (method, arguments); `answer` gives (signature, values, signals after)."""

    def __init__(self, place: Path, answer: Callable[[str, tuple[Any, ...]], tuple[str, tuple[Any, ...], list[Any]]]):
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen()
        self.address = f"unix:path={place}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def methods(self) -> list[str]:
        """The methods of services that were called, in their order."""
        return [name for name, _ in self.calls]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                self._converse(client)

    def _converse(self, client: socket.socket) -> None:
        with client.makefile("rb", buffering=0) as lines:
            assert client.recv(1) == b"\0"
            assert lines.readline() == b"AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n"
            client.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
            assert lines.readline() == b"BEGIN\r\n"
        parser, serial = Parser(), 0
        while data := client.recv(65536):
            parser.add_data(data)
            while (message := parser.get_next_message()) is not None:
                for reply in self._replies(message):
                    serial += 1
                    client.sendall(reply.serialise(serial=serial))

    def _replies(self, message: Message) -> list[Message]:
        fields = message.header.fields
        assert message.header.message_type is MessageType.method_call
        name = fields[HeaderFields.member]
        if fields[HeaderFields.destination] == "org.freedesktop.DBus":
            return [new_method_return(message, "s", (":1.1",)) if name == "Hello" else new_method_return(message)]
        self.calls.append((name, message.body))
        try:
            signature, values, signals = self._answer(name, message.body)
        except Error as error:
            return [new_error(message, error.args[0], "s", (error.args[1],))]
        return [new_method_return(message, signature or None, values), *signals]


def job_removed(job: str, unit: str, result: str = "done") -> Message:
    """The signal that a job is over."""
    return new_signal(MANAGER, "JobRemoved", "uoss", (1, job, unit, result))
