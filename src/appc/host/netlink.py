"""Netlink: requests to the kernel about links, addresses, routes and packet filters (netlink(7)).

A socket belongs to the network namespace in which it was made, for good: one made inside a pod's namespace configures
that namespace from wherever it is used.
"""

from __future__ import annotations

import _socket
import os
from struct import pack, unpack_from

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLA_F_NESTED = 0x8000

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NETLINK_EXT_ACK = 11
_SOL_NETLINK = 270
_HEADER = 16
_NLMSGERR_ATTR_MSG = 1
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_LARGEST = 1 << 16


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute (struct nlattr), padded to four bytes."""
    size = 4 + len(value)
    return pack("=HH", size, kind) + value + bytes(-size % 4)


def number(kind: int, value: int) -> bytes:
    """An attribute that holds 32 bits in the order of this machine (rtnetlink's)."""
    return attribute(kind, pack("=I", value))


def network_number(kind: int, value: int) -> bytes:
    """An attribute that holds 32 bits in network order (netfilter's)."""
    return attribute(kind, pack(">I", value))


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a string, with its NUL."""
    return attribute(kind, value.encode() + b"\0")


def nest(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in `data` from `offset` on, the last of each kind; what is malformed ends them."""
    found = {}
    while offset + 4 <= len(data):
        size, kind = unpack_from("=HH", data, offset)
        if size < 4 or offset + size > len(data):
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    return found


class Netlink:
    """A netlink socket of this thread's network namespace; a context manager.

    Failures are OSError, whose `filename` is what the caller said the request is about.
    """

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, protocol)
        self.sequence = 0  # of the last message made
        try:
            self._socket.bind((0, 0))
            # The kernel then says in words what it did not like.
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def message(self, kind: int, flags: int, body: bytes) -> bytes:
        """Return a message with the next sequence number, for `send`."""
        self.sequence += 1
        return pack("=IHHII", _HEADER + len(body), kind, flags | NLM_F_REQUEST, self.sequence, 0) + body

    def change(self, kind: int, flags: int, body: bytes, about: str) -> None:
        """Ask for a change and wait until it is done. Raises OSError."""
        message = self.message(kind, flags | NLM_F_ACK, body)
        self.transact([message], about, self.sequence)

    def transact(self, messages: list[bytes], about: str, last: int) -> None:
        """Send messages in one packet, wait for the acknowledgement of number `last`; OSError for the first error."""
        self._socket.sendall(b"".join(messages))
        while True:
            for kind, flags, sequence, body in self._receive():
                if kind != _NLMSG_ERROR:
                    continue
                _raise(body, flags, about)
                if sequence == last:
                    return

    def ask(self, kind: int, flags: int, body: bytes, about: str) -> list[bytes]:
        """Return the bodies of the messages that answer a question, all of a dump. Raises OSError."""
        self._socket.sendall(self.message(kind, flags, body))
        found: list[bytes] = []
        while True:
            for answer, answer_flags, sequence, content in self._receive():
                if sequence != self.sequence:
                    continue
                if answer == _NLMSG_ERROR:
                    _raise(content, answer_flags, about)
                    return found
                if answer == _NLMSG_DONE:
                    return found
                found.append(content)
                if not flags & NLM_F_DUMP:
                    return found

    def _receive(self) -> list[tuple[int, int, int, bytes]]:
        """Return the (type, flags, sequence, body) of each message of one packet."""
        data = self._socket.recv(_LARGEST)
        messages = []
        offset = 0
        while offset + _HEADER <= len(data):
            size, kind, flags, sequence, _ = unpack_from("=IHHII", data, offset)
            if size < _HEADER:
                break
            messages.append((kind, flags, sequence, data[offset + _HEADER : offset + size]))
            offset += (size + 3) & ~3
        return messages


def _raise(body: bytes, flags: int, about: str) -> None:
    """Raise the OSError of a struct nlmsgerr, unless it says that all is well."""
    (negative,) = unpack_from("=i", body)
    if negative == 0:
        return
    words = ""
    if flags & _NLM_F_ACK_TLVS:
        (size,) = unpack_from("=I", body, 4)
        echoed = _HEADER if flags & _NLM_F_CAPPED else size
        told = attributes(body, 4 + ((echoed + 3) & ~3)).get(_NLMSGERR_ATTR_MSG, b"")
        words = told.rstrip(b"\0").decode("utf-8", "replace")
    raise OSError(-negative, words or os.strerror(-negative), about)
