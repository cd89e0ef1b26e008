"""Packet filter rules: tables of nftables, made and removed as one transaction each (nft(8), nfnetlink).

A rule is a list of expressions that the kernel evaluates in order, on registers. What is here is the little that
pods need: comparisons of addresses, ports and links, and the verdicts of address translation.
"""

from __future__ import annotations

import errno
from struct import pack

from appc.host.links import packed
from appc.host.netlink import (
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    Netlink,
    attribute,
    attributes,
    nest,
    network_number,
    text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# linux/netfilter.h: hooks, and priorities as nft(8) names them.
PREROUTING, OUTPUT, POSTROUTING = 0, 3, 4
RAW, DSTNAT, SRCNAT = -300, -100, 100

_NFPROTO_INET = 1
_SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = (_SUBSYSTEM | number for number in (0, 1, 2, 3, 6))
_REGISTER = 1
_PORT_REGISTER = 2
_ELEMENT = 1  # NFTA_LIST_ELEM

IPV4, IPV6 = 2, 10
# (offset, size) of the source and destination address in the network header.
_ADDRESSES = {IPV4: (12, 16, 4), IPV6: (8, 24, 16)}
_PROTOCOLS = {"tcp": 6, "udp": 17}


class Chain:
    """A base chain: `kind` is nat or filter, `rules` are lists of expressions, evaluated in order."""

    __slots__ = ("hook", "kind", "name", "priority", "rules")

    def __init__(self, name: str, kind: str, hook: int, priority: int, rules: Sequence[Sequence[bytes]]) -> None:
        self.name = name
        self.kind = kind
        self.hook = hook
        self.priority = priority
        self.rules = rules


def make_table(name: str, chains: Sequence[Chain]) -> None:
    """Make a table of family inet with its chains and rules, all or nothing; one of that name is replaced.

    Raises OSError; EOPNOTSUPP and EPROTONOSUPPORT say that the kernel lacks nftables or a part of it.
    """
    with Netlink(NETLINK_NETFILTER) as netlink:
        table = text(1, name)
        # Making it first lets the removal succeed when there is none.
        steps = [(_NEWTABLE, NLM_F_CREATE, table), (_DELTABLE, 0, table), (_NEWTABLE, NLM_F_CREATE, table)]
        for chain in chains:
            hook = nest(4, network_number(1, chain.hook), attribute(2, pack(">i", chain.priority)))
            body = text(1, name) + text(3, chain.name) + hook + text(7, chain.kind)
            steps.append((_NEWCHAIN, NLM_F_CREATE, body))
            for rule in chain.rules:
                body = text(1, name) + text(2, chain.name) + nest(4, *(nest(_ELEMENT, part) for part in rule))
                steps.append((_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, body))
        _commit(netlink, steps, name)


def remove_table(name: str) -> None:
    """Remove a table and all it holds; one that is not there is fine, and so is a kernel without nftables."""
    try:
        with Netlink(NETLINK_NETFILTER) as netlink:
            _commit(netlink, [(_DELTABLE, 0, text(1, name))], name)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP):
            raise


def table_names() -> list[str]:
    """Return the names of the tables of family inet."""
    with Netlink(NETLINK_NETFILTER) as netlink:
        answers = netlink.ask(_GETTABLE, NLM_F_DUMP, _family(_NFPROTO_INET), "tables")
    return [attributes(answer, 4)[1].rstrip(b"\0").decode() for answer in answers]


def _family(family: int, resource: int = 0) -> bytes:
    return pack(">BBH", family, 0, resource)


def _commit(netlink: Netlink, steps: Sequence[tuple[int, int, bytes]], about: str) -> None:
    messages = [netlink.message(_BATCH_BEGIN, 0, _family(0, 10))]
    for index, (kind, flags, body) in enumerate(steps):
        if index == len(steps) - 1:
            flags |= NLM_F_ACK
        messages.append(netlink.message(kind, flags, _family(_NFPROTO_INET) + body))
    last = netlink.sequence
    messages.append(netlink.message(_BATCH_END, 0, _family(0, 10)))
    netlink.transact(messages, about, last)


# Expressions


def _expression(name: str, *parts: bytes) -> bytes:
    return text(1, name) + nest(2, *parts)


def _compare(value: bytes, *, equal: bool = True) -> bytes:
    return _expression(
        "cmp", network_number(1, _REGISTER), network_number(2, 0 if equal else 1), nest(3, attribute(1, value))
    )


def _meta(key: int) -> bytes:
    return _expression("meta", network_number(2, key), network_number(1, _REGISTER))


def _immediate(register: int, value: bytes) -> bytes:
    return _expression("immediate", network_number(1, register), nest(2, attribute(1, value)))


def _payload(base: int, offset: int, size: int) -> bytes:
    numbers = ((1, _REGISTER), (2, base), (3, offset), (4, size))
    return _expression("payload", *(network_number(kind, value) for kind, value in numbers))


def family(version: int) -> list[bytes]:
    """Match packets of IPV4 or IPV6."""
    return [_meta(15), _compare(bytes((version,)))]


def _address(field: int, address: str, prefix: int, equal: bool) -> list[bytes]:
    raw = packed(address)
    size = len(raw)
    version = IPV4 if size == 4 else IPV6
    expressions = [*family(version), _payload(1, _ADDRESSES[version][field], size)]
    if prefix < size * 8:
        mask = ((1 << prefix) - 1 << size * 8 - prefix).to_bytes(size, "big")
        raw = bytes(a & b for a, b in zip(raw, mask, strict=True))
        registers = (network_number(1, _REGISTER), network_number(2, _REGISTER), network_number(3, size))
        expressions.append(
            _expression("bitwise", *registers, nest(4, attribute(1, mask)), nest(5, attribute(1, bytes(size))))
        )
    expressions.append(_compare(raw, equal=equal))
    return expressions


def source(address: str, prefix: int, *, equal: bool = True) -> list[bytes]:
    """Match packets from (or, not `equal`, from elsewhere than) `address`/`prefix`."""
    return _address(0, address, prefix, equal)


def destination(address: str, prefix: int, *, equal: bool = True) -> list[bytes]:
    """Match packets to (or, not `equal`, to elsewhere than) `address`/`prefix`."""
    return _address(1, address, prefix, equal)


def local_destination() -> list[bytes]:
    """Match packets to any address of this host (fib daddr type local)."""
    local = 2
    numbers = ((1, _REGISTER), (2, 3), (3, 1 << 1))
    return [_expression("fib", *(network_number(kind, value) for kind, value in numbers)), _compare(pack("=I", local))]


def from_link(name: str) -> list[bytes]:
    """Match packets that came in over a link."""
    return [_meta(6), _compare(name.encode().ljust(16, b"\0"))]


def to_link(name: str) -> list[bytes]:
    """Match packets that go out over a link."""
    return [_meta(7), _compare(name.encode().ljust(16, b"\0"))]


def port(protocol: str, first: int, count: int = 1) -> list[bytes]:
    """Match tcp or udp packets to one of `count` ports."""
    expressions = [_meta(16), _compare(bytes((_PROTOCOLS[protocol],))), _payload(2, 2, 2)]
    if count == 1:
        return [*expressions, _compare(pack(">H", first))]
    ends = (nest(3, attribute(1, pack(">H", first))), nest(4, attribute(1, pack(">H", first + count - 1))))
    return [*expressions, _expression("range", network_number(1, _REGISTER), network_number(2, 0), *ends)]


def drop() -> list[bytes]:
    """End the packet."""
    return [_expression("immediate", network_number(1, 0), nest(2, nest(2, network_number(1, 0))))]


def masquerade() -> list[bytes]:
    """Let the packet leave with this host's own address."""
    return [_expression("masq")]


def redirect_to(address: str, port_number: int = 0) -> list[bytes]:
    """Send the packet to another address, and to another port unless that is 0 (destination NAT)."""
    raw = packed(address)
    expressions = [_immediate(_REGISTER, raw)]
    version = IPV4 if len(raw) == 4 else IPV6
    parts = [network_number(1, 1), network_number(2, version), network_number(3, _REGISTER)]
    if port_number:
        # 16-byte registers: the address fills the first.
        expressions.append(_immediate(_PORT_REGISTER, pack(">H", port_number)))
        parts.append(network_number(5, _PORT_REGISTER))
    return [*expressions, _expression("nat", *parts)]
