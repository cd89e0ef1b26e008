"""Programs that tell of which app a packet is, for the queues of a pod's links (tc-bpf(8), bpf-helpers(7)).

A socket belongs to the group of the unified hierarchy in which it was opened; one that was accepted, to that of the
one that listens. What a pod sends carries its socket as far as the host's end of the link. For what is sent to it the
socket is looked up among those of the pod's network namespace; programs that do this cannot ask for its group, but for
its mark (host/marks.py).
"""

from __future__ import annotations

from struct import pack
from sys import byteorder

from appc.host.cgroupfs import place
from appc.host.ebpf import (
    ADD_NUMBER,
    AND_NUMBER,
    CALL,
    EXIT,
    FIRST,
    JUMP,
    JUMP_ABOVE_NUMBER,
    JUMP_BELOW_NUMBER,
    JUMP_BITS_NUMBER,
    JUMP_EQUAL_NUMBER,
    JUMP_NEGATIVE_NUMBER,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_WORD,
    MOVE,
    MOVE_NUMBER,
    RESULT,
    SHIFT_LEFT_NUMBER,
    STACK,
    Program,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from appc.host.probe import HostFacts

# linux/bpf.h
KIND = 3  # BPF_PROG_TYPE_SCHED_CLS
_BPF_HDR_START_NET = 1
_SKB_LOAD_BYTES_RELATIVE = 68
_SKB_ANCESTOR_CGROUP_ID = 83
_SK_LOOKUP_TCP = 84
_SK_LOOKUP_UDP = 85
_SK_RELEASE = 86
_SKB_PROTOCOL = 16  # where struct __sk_buff has it
_SOCK_MARK = 16  # where struct bpf_sock has it

# Registers that calls leave as they are.
_PACKET, _LEVEL, _PROTOCOL, _SOCKET = 6, 7, 8, 9
_TUPLE, _SIZE = _LEVEL, _SOCKET  # before there is a socket
_CLASS = _PROTOCOL  # after that

_TCP, _UDP, _ICMPV6 = 6, 17, 58
_FIRST_NEIGHBOUR, _LAST_NEIGHBOUR = 133, 137  # the messages of neighbour discovery (RFC 4861, section 4)
_NO_CLASS = 0
# As many more levels than are seen here a host has above a control group namespace, at most.
_HIDDEN_LEVELS = 16


class Members:
    """The groups of a pod's apps in the unified hierarchy: directories below that of the pod, `path`, with `ids` by
    name, at a level that is `level` or, within a control group namespace, more."""

    __slots__ = ("ids", "level", "path")

    def __init__(self, path: str, ids: Mapping[str, int], level: int) -> None:
        self.path = path
        self.ids = ids
        self.level = level

    def mark(self, app: str) -> int:
        """Return the mark of the sockets of an app, which no other app of the pod has."""
        return self.ids[app] & 0xFFFFFFFF


def members(name: str, apps: Iterable[str], facts: HostFacts) -> Members:
    """Return the groups of `apps` of the pod whose groups are called `name`, as `cgroupfs.place` takes it.

    Raises OSError where there is none.
    """
    from appc.host import libc

    path = place(facts.bases[facts.unified], name)
    ids = {app: int.from_bytes(libc.name_to_handle_at(f"{path}/{app}"), byteorder) for app in apps}
    return Members(path, ids, f"{path}/".removeprefix(facts.unified).count("/"))


def sender(groups: Members, classes: Mapping[str, int]) -> Program:
    """Return the program that gives what an app sent the class of the app in `classes`, and all else none."""
    program = Program()
    program.put(MOVE, _PACKET, FIRST)
    program.put(MOVE_NUMBER, _LEVEL, number=groups.level)
    program.place("level")
    program.call(_SKB_ANCESTOR_CGROUP_ID, _PACKET, _LEVEL)
    program.put(JUMP_EQUAL_NUMBER, RESULT, offset="nobody", number=0)
    for app, identity in groups.ids.items():
        program.jump_if_equal(RESULT, identity, f"app {app}")
    program.put(ADD_NUMBER, _LEVEL, number=1)
    program.put(JUMP_BELOW_NUMBER, _LEVEL, offset="level", number=groups.level + _HIDDEN_LEVELS)
    program.place("nobody")
    program.answer(_NO_CLASS)
    for app in groups.ids:
        program.place(f"app {app}")
        program.answer(classes[app])
    return program


def receiver(groups: Members, classes: Mapping[str, int], namespace: int, strays: int) -> Program:
    """Return the program that gives what an app will receive the class of the app in `classes`.

    `namespace` is the pod's network namespace, as that of the link knows it. What no socket is known for (ICMP, all
    fragments but first ones, sockets that are bound to a link) is of the class `strays`, what keeps the link itself
    going and what is for others of none.
    """
    program = Program()
    program.put(MOVE, _PACKET, FIRST)
    program.put(LOAD_WORD, 2, _PACKET, _SKB_PROTOCOL)
    program.put(JUMP_EQUAL_NUMBER, 2, offset="IPv4", number=_network_order(0x0800))
    program.put(JUMP_EQUAL_NUMBER, 2, offset="IPv6", number=_network_order(0x86DD))
    program.place("nobody")
    program.answer(_NO_CLASS)
    _read_ipv4(program)
    _read_ipv6(program)
    _look_up(program, namespace)
    program.put(LOAD_WORD, 2, _SOCKET, _SOCK_MARK)
    program.put(MOVE_NUMBER, _CLASS, number=_NO_CLASS)
    for app in groups.ids:
        program.jump_if_equal(2, groups.mark(app), f"app {app}")
    program.put(JUMP, offset="release")
    for app in groups.ids:
        program.place(f"app {app}")
        program.put(MOVE_NUMBER, _CLASS, number=classes[app])
        program.put(JUMP, offset="release")
    program.place("release")
    program.call(_SK_RELEASE, _SOCKET)
    program.put(MOVE, RESULT, _CLASS)
    program.put(EXIT)
    program.place("stray")
    program.answer(strays)
    return program


def _read_ipv4(program: Program) -> None:
    """The header and the ports behind it, so that addresses and ports are a struct bpf_sock_tuple."""
    start = -40
    program.place("IPv4")
    program.put(MOVE_NUMBER, 2, number=0)
    _read(program, start, 20)
    program.put(LOAD_HALF, 2, STACK, start + 6)
    program.put(JUMP_BITS_NUMBER, 2, offset="stray", number=_network_order(0x1FFF))
    program.put(LOAD_BYTE, _PROTOCOL, STACK, start + 9)
    program.put(LOAD_BYTE, 2, STACK, start)
    program.put(AND_NUMBER, 2, number=0xF)
    program.put(SHIFT_LEFT_NUMBER, 2, number=2)
    _read(program, start + 20, 4)
    _point(program, start + 12, 12)
    program.put(JUMP, offset="look up")


def _read_ipv6(program: Program) -> None:
    """The same; what has headers of extension is left without a socket."""
    start = -56
    program.place("IPv6")
    program.put(MOVE_NUMBER, 2, number=0)
    _read(program, start, 40)
    program.put(LOAD_BYTE, _PROTOCOL, STACK, start + 6)
    program.put(MOVE_NUMBER, 2, number=40)
    _read(program, start + 40, 4)
    _point(program, start + 8, 36)
    program.put(LOAD_BYTE, 2, STACK, start + 40)
    program.put(JUMP_EQUAL_NUMBER, _PROTOCOL, offset="ICMPv6", number=_ICMPV6)


def _look_up(program: Program, namespace: int) -> None:
    """Find the socket, from whatever was read."""
    program.place("look up")
    program.put(JUMP_EQUAL_NUMBER, _PROTOCOL, offset="TCP", number=_TCP)
    program.put(JUMP_EQUAL_NUMBER, _PROTOCOL, offset="UDP", number=_UDP)
    program.put(JUMP, offset="stray")
    program.place("ICMPv6")
    program.put(JUMP_BELOW_NUMBER, 2, offset="stray", number=_FIRST_NEIGHBOUR)
    program.put(JUMP_ABOVE_NUMBER, 2, offset="stray", number=_LAST_NEIGHBOUR)
    program.put(JUMP, offset="nobody")
    program.place("UDP")
    program.call(_SK_LOOKUP_UDP, _PACKET, _TUPLE, _SIZE, numbers=(namespace, 0))
    program.put(JUMP, offset="found")
    program.place("TCP")
    program.call(_SK_LOOKUP_TCP, _PACKET, _TUPLE, _SIZE, numbers=(namespace, 0))
    program.place("found")
    program.put(JUMP_EQUAL_NUMBER, RESULT, offset="stray", number=0)
    program.put(MOVE, _SOCKET, RESULT)


def _read(program: Program, where: int, size: int) -> None:
    """Read what register 2 is the offset of from the packet onto the stack; what is too short for it is a stray."""
    program.put(MOVE, 1, _PACKET)
    program.put(MOVE, 3, STACK)
    program.put(ADD_NUMBER, 3, number=where)
    program.put(MOVE_NUMBER, 4, number=size)
    program.put(MOVE_NUMBER, 5, number=_BPF_HDR_START_NET)
    program.put(CALL, number=_SKB_LOAD_BYTES_RELATIVE)
    program.put(JUMP_NEGATIVE_NUMBER, RESULT, offset="stray", number=0)


def _point(program: Program, where: int, size: int) -> None:
    """Have the tuple be what lies on the stack at `where`."""
    program.put(MOVE, _TUPLE, STACK)
    program.put(ADD_NUMBER, _TUPLE, number=where)
    program.put(MOVE_NUMBER, _SIZE, number=size)


def _network_order(number: int) -> int:
    """Return 16 bits as a packet has them, read by this machine."""
    return int.from_bytes(pack(">H", number), byteorder)
