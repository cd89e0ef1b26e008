"""Network links, their addresses and routes, by rtnetlink (rtnetlink(7), RFC 3549)."""

from __future__ import annotations

import _socket
import os
from struct import pack, unpack_from

from appc.host.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    attribute,
    attributes,
    nest,
    number,
    text,
)

_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_GETLINK = 18
_RTM_NEWADDR = 20
_RTM_NEWROUTE = 24
_RTM_NEWNSID = 88
_RTM_GETNSID = 90

_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_LINK = 5
_IFLA_LINKINFO = 18
_IFLA_NET_NS_FD = 28
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_VETH_INFO_PEER = 1
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_F_NODAD = 0x02
_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PREFSRC = 7

_NETNSA_NSID = 1
_NETNSA_FD = 3
_ANY = -1

_IFF_UP = 1
_RT_TABLE_MAIN = 254
_RTPROT_BOOT = 3
_RT_SCOPE_UNIVERSE = 0
_RT_SCOPE_LINK = 253
_RTN_UNICAST = 1


class NoLink(OSError):
    """There is no link of that name."""


def packed(address: str) -> bytes:
    """Return an IPv4 or IPv6 address as the kernel takes it."""
    return _socket.inet_pton(_family(address), address)


def _family(address: str) -> int:
    return _socket.AF_INET6 if ":" in address else _socket.AF_INET


def _link_header(index: int = 0, flags: int = 0) -> bytes:
    return pack("=BxHiII", 0, 0, index, flags, flags)


def make_veth(netlink: Netlink, name: str, peer: str, peer_namespace: int, *, mtu: int = 0) -> None:
    """Make a pair of links, both down: `name` here, and `peer` in the network namespace behind a descriptor.

    `mtu` is the largest packet in bytes, 0 for the kernel's default. Raises OSError.
    """
    size = number(_IFLA_MTU, mtu) if mtu else b""
    other = _link_header() + text(_IFLA_IFNAME, peer) + number(_IFLA_NET_NS_FD, peer_namespace) + size
    body = (
        _link_header()
        + text(_IFLA_IFNAME, name)
        + size
        + nest(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "veth"), nest(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, other)))
    )
    netlink.change(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, name)


def make(netlink: Netlink, name: str, kind: str) -> None:
    """Make a link of a kind that needs no more than its name, such as ifb; it is down. Raises OSError."""
    body = _link_header() + text(_IFLA_IFNAME, name) + nest(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, kind))
    netlink.change(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, name)


def peer_of(netlink: Netlink, name: str) -> int:
    """Return the index that the other end of a pair (veth) has where it is; 0 for a link of any other kind."""
    answer = netlink.ask(_RTM_GETLINK, 0, _link_header() + text(_IFLA_IFNAME, name), name)
    found = attributes(answer[0], len(_link_header()))
    kind = attributes(found.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")
    if kind.rstrip(b"\0") != b"veth" or _IFLA_LINK not in found:
        return 0
    return int(unpack_from("=I", found[_IFLA_LINK])[0])


def name_of(netlink: Netlink, index: int) -> str:
    """Return the name of a link. Raises OSError."""
    answer = netlink.ask(_RTM_GETLINK, 0, _link_header(index), f"link {index}")
    return attributes(answer[0], len(_link_header()))[_IFLA_IFNAME].rstrip(b"\0").decode()


def index_of(netlink: Netlink, name: str) -> int:
    """Return the index of a link; NoLink when there is none."""
    try:
        answer = netlink.ask(_RTM_GETLINK, 0, _link_header() + text(_IFLA_IFNAME, name), name)
    except OSError as error:
        raise NoLink(error.errno, error.strerror, name) from None
    (index,) = unpack_from("=i", answer[0], 4)
    return int(index)


def set_up(netlink: Netlink, index: int) -> None:
    """Bring a link up."""
    netlink.change(_RTM_NEWLINK, 0, _link_header(index, _IFF_UP), f"link {index}")


def number_of(netlink: Netlink, namespace: str) -> int:
    """Return the number by which this network namespace knows the one pinned at a path; it gets one if it has none.

    It has it for as long as it is there. Raises OSError.
    """
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = bytes(4) + number(_NETNSA_FD, fd)  # a struct rtgenmsg
        try:
            netlink.change(_RTM_NEWNSID, 0, header + attribute(_NETNSA_NSID, pack("=i", _ANY)), namespace)
        except FileExistsError:
            pass
        answer = netlink.ask(_RTM_GETNSID, 0, header, namespace)
    finally:
        os.close(fd)
    return int(unpack_from("=i", attributes(answer[0], 4)[_NETNSA_NSID])[0])


def delete(netlink: Netlink, name: str) -> None:
    """Remove a link, and its peer with it; one that is not there is fine."""
    try:
        netlink.change(_RTM_DELLINK, 0, _link_header(index_of(netlink, name)), name)
    except NoLink:
        pass


def add_address(netlink: Netlink, index: int, address: str, prefix: int) -> None:
    """Give a link an address; an IPv6 one can be used at once, without a search for duplicates."""
    raw = packed(address)
    header = pack("=BBBBI", _family(address), prefix, _IFA_F_NODAD if len(raw) == 16 else 0, 0, index)
    body = header + attribute(_IFA_LOCAL, raw) + attribute(_IFA_ADDRESS, raw)
    netlink.change(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, address)


def add_route(
    netlink: Netlink, index: int, destination: str, prefix: int, *, gateway: str = "", source: str = ""
) -> None:
    """Add a route over a link to `destination`/`prefix` ("0.0.0.0"/0 and "::"/0 are the default ones).

    Without a `gateway` the destination is on the link; `source` is the address that packets are sent from.
    """
    scope = _RT_SCOPE_UNIVERSE if gateway else _RT_SCOPE_LINK
    header = pack(
        "=BBBBBBBBI",
        _family(destination),
        prefix,
        0,
        0,
        _RT_TABLE_MAIN,
        _RTPROT_BOOT,
        scope if ":" not in destination else _RT_SCOPE_UNIVERSE,
        _RTN_UNICAST,
        0,
    )
    body = header + number(_RTA_OIF, index)
    if prefix:
        body += attribute(_RTA_DST, packed(destination))
    if gateway:
        body += attribute(_RTA_GATEWAY, packed(gateway))
    if source:
        body += attribute(_RTA_PREFSRC, packed(source))
    netlink.change(_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, f"{destination}/{prefix}")
