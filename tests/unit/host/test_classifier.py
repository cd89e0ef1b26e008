"""Programs that tell of which app a packet is, run by a model of the kernel's machine and of what it calls."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable

import pytest

from appc.host.classifier import Members, Program, receiver, sender

NET, STRAYS = 7, 99
CLASSES = {"slow": 11, "slower": 12}
IDS = {"slow": 0x1_0000_0ABD, "slower": 0xABC}
GROUPS = Members("", IDS, 3)
# The groups from the root down to that of a socket.
APP = [1, 20, 30, IDS["slower"]]

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the model reads as little-endian machines do")


class Kernel:
    """A packet, or the socket that sends it, and what helpers answer: the `groups` of the sending socket, the `mark` of
    the one that is found.

    `asked` is what a socket was looked up by; `held` counts the sockets that were not given back.
    """

    def __init__(
        self, packet: bytes = b"", protocol: int = 0, *, groups: list[int] | None = None, mark: int | None = None
    ) -> None:
        self.packet = packet
        self.protocol = struct.unpack("<H", struct.pack(">H", protocol))[0]
        self.groups = groups
        self.mark = mark
        self.asked: tuple[str, bytes, int] | None = None
        self.held = 0
        self.stack = bytearray(512)

    def run(self, program: Program) -> int:
        """Return what the program answers."""
        code = program.encode()
        registers = [0] * 10 + [512]
        at = 0
        for _ in range(10_000):
            opcode, both, offset, number = struct.unpack_from("<BBhi", code, at * 8)
            target, source = both & 0xF, both >> 4
            at += 1
            value = registers[source] if opcode & 0x08 else number
            match opcode:
                case 0x95:
                    return registers[0]
                case 0x18:
                    (high,) = struct.unpack_from("<I", code, at * 8 + 4)
                    registers[target] = high << 32 | number & 0xFFFFFFFF
                    at += 1
                case 0x85:
                    registers[0] = self.call(number, registers[1:6])
                    registers[1:6] = [-(10**9)] * 5  # nobody relies on what a call leaves
                case 0x61 if source == 6:
                    assert offset == 16, "__sk_buff.protocol"
                    registers[target] = self.protocol
                case 0x61 if source == 9:
                    assert (offset, self.held) == (16, 1), "bpf_sock.mark"
                    assert self.mark is not None
                    registers[target] = self.mark
                case 0x69 | 0x71:
                    size = {0x69: 2, 0x71: 1}[opcode]
                    begin = registers[source] + offset
                    registers[target] = int.from_bytes(self.stack[begin : begin + size], "little")
                case 0xB7 | 0xBF:
                    registers[target] = value
                case 0x07:
                    registers[target] += number
                case 0x57:
                    registers[target] &= number
                case 0x67:
                    registers[target] <<= number
                case _:
                    comparisons: dict[int, Callable[[int, int], bool]] = {
                        0x00: lambda _a, _b: True,
                        0x10: lambda a, b: a == b,
                        0x20: lambda a, b: a > b,
                        0x40: lambda a, b: bool(a & b),
                        0xA0: lambda a, b: a < b,
                        0xC0: lambda a, b: a < b,
                    }
                    assert opcode & 0x07 == 0x05, f"no instruction that is known: {opcode:#x}"
                    at += offset if comparisons[opcode & 0xF0](registers[target], value) else 0
        raise AssertionError("it does not end")

    def call(self, helper: int, words: list[int]) -> int:
        match helper:
            case 68:
                _, offset, where, size, start = words
                assert start == 1, "from the network header on"
                if offset + size > len(self.packet):
                    return -14
                self.stack[where : where + size] = self.packet[offset : offset + size]
                return 0
            case 83:
                level = words[1]
                return self.groups[level] if self.groups is not None and level < len(self.groups) else 0
            case 84 | 85:
                _, where, size, namespace, flags = words
                assert (namespace, flags) == (NET, 0)
                self.asked = ({84: "tcp", 85: "udp"}[helper], bytes(self.stack[where : where + size]), size)
                self.held += self.mark is not None
                return int(self.mark is not None)
            case 86:
                self.held -= 1
                return 0
        raise AssertionError(f"helper {helper}")


def ipv4(kind: int, *, fragment: int = 0, options: bytes = b"", ports: bytes = b"\x12\x34\x1f\x90") -> bytes:
    """A packet from 192.0.2.1:4660 to 192.0.2.2:8080."""
    header = struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, 60, 1, fragment, 64, kind, 0)
    return header + bytes((192, 0, 2, 1, 192, 0, 2, 2)) + options + ports + bytes(16)


def ipv6(kind: int, ports: bytes = b"\x12\x34\x1f\x90") -> bytes:
    """A packet from 1::1 to 2::2, with the same ports."""
    return struct.pack(">IHBB", 6 << 28, 60, kind, 64) + bytes((1,) * 16 + (2,) * 16) + ports + bytes(16)


@pytest.mark.parametrize(
    ("groups", "answer"),
    [
        (APP, CLASSES["slower"]),
        ([1, 20, 30, IDS["slow"]], CLASSES["slow"]),
        ([*APP, 40, 50], CLASSES["slower"]),  # a group that the app made
        ([1, 2, 3, 20, 30, IDS["slow"], 6], CLASSES["slow"]),  # more levels than a namespace shows
        ([1, 20, 30, 31], 0),
        ([1], 0),
        (None, 0),  # the kernel's own
    ],
)
def test_a_sender_is_known_by_its_group(groups: list[int] | None, answer: int) -> None:
    assert Kernel(groups=groups).run(sender(GROUPS, CLASSES)) == answer


@pytest.mark.parametrize(
    ("mark", "answer"),
    [
        (GROUPS.mark("slow"), CLASSES["slow"]),
        (GROUPS.mark("slower"), CLASSES["slower"]),
        (0, 0),
        (7, 0),
        (None, STRAYS),
    ],
)
@pytest.mark.parametrize(
    ("packet", "protocol", "kind"),
    [
        pytest.param(ipv4(6), 0x0800, "tcp", id="TCP"),
        pytest.param(ipv4(17), 0x0800, "udp", id="UDP"),
        pytest.param(ipv4(6, options=bytes(12)), 0x0800, "tcp", id="options"),
        pytest.param(ipv4(17, fragment=0x2000), 0x0800, "udp", id="first-fragment"),
        pytest.param(ipv6(6), 0x86DD, "tcp", id="TCP6"),
        pytest.param(ipv6(17), 0x86DD, "udp", id="UDP6"),
    ],
)
def test_a_receiver_is_known_by_the_mark_of_its_socket(
    packet: bytes, protocol: int, kind: str, mark: int | None, answer: int
) -> None:
    kernel = Kernel(packet, protocol, mark=mark)
    assert kernel.run(receiver(GROUPS, CLASSES, NET, STRAYS)) == answer
    addresses = bytes((192, 0, 2, 1, 192, 0, 2, 2)) if protocol == 0x0800 else bytes((1,) * 16 + (2,) * 16)
    wanted = addresses + b"\x12\x34\x1f\x90"
    assert kernel.asked == (kind, wanted, len(wanted))
    assert kernel.held == 0


@pytest.mark.parametrize(
    ("packet", "protocol", "answer"),
    [
        pytest.param(ipv4(17, fragment=0x0001), 0x0800, STRAYS, id="fragment"),
        pytest.param(ipv4(1), 0x0800, STRAYS, id="ICMP"),
        pytest.param(ipv4(6)[:21], 0x0800, STRAYS, id="cut"),
        pytest.param(ipv6(0), 0x86DD, STRAYS, id="extension"),
        pytest.param(ipv6(58, b"\x80\0\0\0"), 0x86DD, STRAYS, id="echo-request"),
        # Without neighbours the link is dead.
        pytest.param(ipv6(58, b"\x85\0\0\0"), 0x86DD, 0, id="router-solicitation"),
        pytest.param(ipv6(58, b"\x89\0\0\0"), 0x86DD, 0, id="redirect"),
        pytest.param(ipv6(58, b"\x8a\0\0\0"), 0x86DD, STRAYS, id="renumbering"),
        pytest.param(b"", 0x0806, 0, id="ARP"),
    ],
)
def test_what_has_no_socket_is_a_stray(packet: bytes, protocol: int, answer: int) -> None:
    kernel = Kernel(packet, protocol, mark=GROUPS.mark("slow"))
    assert kernel.run(receiver(GROUPS, CLASSES, NET, STRAYS)) == answer
    assert kernel.asked is None
