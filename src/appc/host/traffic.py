"""Traffic control: a rate for what leaves a link and for what comes in by it, by rtnetlink (tc(8), tc-tbf(8)).

A qdisc delays what leaves. What comes in cannot be delayed where it arrives, so it is sent through a link of kind `ifb`
first, which it leaves by a qdisc.
"""

from __future__ import annotations

import errno
from struct import pack
from sys import byteorder

from appc.host import netns
from appc.host.links import NoLink, delete, index_of, make, set_up
from appc.host.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink, attribute, nest, number, text

_RTM_NEWQDISC = 36
_RTM_DELQDISC = 37
_RTM_NEWTFILTER = 44
_NLM_F_REPLACE = 0x100

_TC_H_ROOT = 0xFFFFFFFF
_TC_H_INGRESS = 0xFFFFFFF1
_INGRESS_HANDLE = 0xFFFF0000
_ROOT_HANDLE = 0x00010000
_TCA_KIND = 1
_TCA_OPTIONS = 2
_TCA_TBF_PARMS = 1
_TCA_TBF_RATE64 = 4
_TCA_TBF_BURST = 6
_LINKLAYER_ETHERNET = 1
_TCA_U32_SEL = 5
_TCA_U32_ACT = 7
_TC_U32_TERMINAL = 1
_TCA_ACT_KIND = 1
_TCA_ACT_OPTIONS = 2
_TCA_MIRRED_PARMS = 2
_TC_ACT_STOLEN = 4
_TCA_EGRESS_REDIR = 1
_ETH_P_ALL = 3

_MOST = 0xFFFFFFFF
# A burst of a hundredth of a second lets the rate be kept without waking up for every packet. A packet that is larger
# than the burst would be cut up or dropped.
_BURSTS = 100
_SMALLEST_BURST = 16 * 1024
# What waits is dropped beyond a tenth of a second's worth, but the largest packet of TCP, 64 KiB, has to find room.
_QUEUES = 10
_SMALLEST_QUEUE = 256 * 1024


def limit_out(netlink: Netlink, index: int, rate: int) -> None:
    """Let `rate` bytes per second leave a link, in the place of a limit that was set before. Raises OSError."""
    burst = min(max(rate // _BURSTS, _SMALLEST_BURST), _MOST)
    queue = min(max(rate // _QUEUES, _SMALLEST_QUEUE), _MOST)
    # struct tc_tbf_qopt: the ratespecs of rate and peak rate, the queue in bytes, and two that the burst replaces.
    ratespec = pack("=BBHhHI", 0, _LINKLAYER_ETHERNET, 0, 0, 0, min(rate, _MOST))
    parameters = ratespec + bytes(12) + pack("=III", queue, 0, 0)
    options = [attribute(_TCA_TBF_PARMS, parameters), number(_TCA_TBF_BURST, burst)]
    if rate >= _MOST:
        options.append(attribute(_TCA_TBF_RATE64, pack("=Q", rate)))
    body = _tc_header(index, _ROOT_HANDLE, _TC_H_ROOT) + text(_TCA_KIND, "tbf") + nest(_TCA_OPTIONS, *options)
    netlink.change(_RTM_NEWQDISC, NLM_F_CREATE | _NLM_F_REPLACE, body, f"the rate of link {index}")


def limit_in(netlink: Netlink, index: int, through: str, rate: int) -> None:
    """Let `rate` bytes per second come in by a link: through a link called `through`, which is made. Raises OSError.

    It is the caller's to delete. A limit that was set before is changed.
    """
    try:
        limit_out(netlink, index_of(netlink, through), rate)
        return
    except NoLink:
        pass
    make(netlink, through, "ifb")
    about = f"the way in of link {index}"
    try:
        inner = index_of(netlink, through)
        limit_out(netlink, inner, rate)
        set_up(netlink, inner)
        body = _tc_header(index, _INGRESS_HANDLE, _TC_H_INGRESS) + text(_TCA_KIND, "ingress")
        netlink.change(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, about)
        netlink.change(_RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, _redirect(index, inner), about)
    except BaseException:
        delete(netlink, through)
        raise


def lift(netlink: Netlink, index: int, through: str) -> None:
    """Take back what `limit_out` and `limit_in` set; a link without limits is fine. Raises OSError."""
    for handle, parent in ((_ROOT_HANDLE, _TC_H_ROOT), (_INGRESS_HANDLE, _TC_H_INGRESS)):
        try:
            netlink.change(_RTM_DELQDISC, 0, _tc_header(index, handle, parent), f"the rate of link {index}")
        except OSError as error:
            # EINVAL: there is another one, which is not ours.
            if error.errno not in (errno.ENOENT, errno.EINVAL):
                raise
    delete(netlink, through)


def obstacle() -> str:
    """Return why this host cannot limit traffic, "" when it can: it is tried in a network namespace apart."""

    def attempt() -> None:
        with Netlink() as netlink:
            make(netlink, "appc0", "ifb")
            index = index_of(netlink, "appc0")
            limit_out(netlink, index, _MOST)
            limit_in(netlink, index, "appc1", _MOST)

    try:
        netns.apart(attempt)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _redirect(index: int, target: int) -> bytes:
    """The filter that sends whatever comes in by a link out by another."""
    # struct tc_u32_sel with one key, which compares no bit: every packet fits.
    selector = pack("=BBBxHHhhI", _TC_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + pack("=IIii", 0, 0, 0, 0)
    mirred = pack("=IIiiiiI", 0, 0, _TC_ACT_STOLEN, 0, 0, _TCA_EGRESS_REDIR, target)
    action = nest(1, text(_TCA_ACT_KIND, "mirred"), nest(_TCA_ACT_OPTIONS, attribute(_TCA_MIRRED_PARMS, mirred)))
    protocol = int.from_bytes(pack(">H", _ETH_P_ALL), byteorder)
    return (
        _tc_header(index, 0, _INGRESS_HANDLE, 1 << 16 | protocol)
        + text(_TCA_KIND, "u32")
        + nest(_TCA_OPTIONS, attribute(_TCA_U32_SEL, selector), nest(_TCA_U32_ACT, action))
    )


def _tc_header(index: int, handle: int, parent: int, info: int = 0) -> bytes:
    """A struct tcmsg."""
    return pack("=BxxxiIII", 0, index, handle, parent, info)
