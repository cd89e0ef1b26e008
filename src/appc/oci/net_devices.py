"""Network devices of the host for a container (`linux.netDevices`): what they have that moving takes away."""

from __future__ import annotations

import _socket
from struct import pack, unpack_from

from appc.errors import AppcError
from appc.host.netlink import NLM_F_DUMP, Netlink, attributes, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from appc.plan.compile_container import NetDevice

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_RTM_GETLINK, _RTM_GETADDR = 18, 22
_IFLA_IFNAME = 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_SCOPE_GLOBAL = 0


def net_devices(wanted: Mapping[str, Any]) -> list[NetDevice]:
    """Return what there is to know of each device. AppcError, with the field's path, for one that cannot be moved."""
    found: list[NetDevice] = []
    taken: dict[str, str] = {}
    with Netlink() as netlink:
        for name, settings in wanted.items():
            where = f"linux.netDevices.{name}"
            new = (settings or {}).get("name") or name
            if new in taken:
                raise AppcError(f"gets the name {new} as {taken[new]} does", where)
            taken[new] = name
            index, flags = _link(netlink, name, where)
            if flags & _IFF_LOOPBACK:
                raise AppcError("each network namespace has a loopback device of its own", where)
            found.append((name, new, _addresses(netlink, index, name), bool(flags & _IFF_UP)))
    return found


def _link(netlink: Netlink, name: str, where: str) -> tuple[int, int]:
    """Return the index and flags of a device."""
    body = pack("=BxHiII", 0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name)
    try:
        (answer,) = netlink.ask(_RTM_GETLINK, 0, body, name)
    except OSError as error:
        raise AppcError(f"the host has no such network device: {error.strerror}", where) from error
    index, flags = unpack_from("=iI", answer, 4)
    return index, flags


def _addresses(netlink: Netlink, index: int, name: str) -> list[tuple[str, int]]:
    """Return the (address, prefix) of a device that others can see; the rest the kernel makes anew."""
    found = []
    for answer in netlink.ask(_RTM_GETADDR, NLM_F_DUMP, pack("=BBBBi", 0, 0, 0, 0, 0), name):
        family, prefix, _, scope, owner = unpack_from("=BBBBi", answer)
        if owner != index or scope != _SCOPE_GLOBAL:
            continue
        given = attributes(answer, 8)
        address = given.get(_IFA_LOCAL) or given.get(_IFA_ADDRESS)
        if address:
            found.append((_socket.inet_ntop(family, address), prefix))
    return found
