"""Traffic control: a rate for what leaves a link and for what comes in by it, by rtnetlink (tc(8), tc-tbf(8)).

A qdisc delays what leaves. What comes in cannot be delayed where it arrives, so it is sent through a link of kind `ifb`
first, which it leaves by a qdisc. Where some of it has rates of its own, a program says of which class a packet is
(tc-htb(8), tc-bpf(8)).
"""

from __future__ import annotations

import errno
from struct import pack
from sys import byteorder

from appc.host import netns
from appc.host.links import NoLink, delete, index_of, make, set_up
from appc.host.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink, attribute, nest, number, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_RTM_NEWQDISC = 36
_RTM_DELQDISC = 37
_RTM_NEWTCLASS = 40
_RTM_NEWTFILTER = 44
_NLM_F_REPLACE = 0x100

_TC_H_ROOT = 0xFFFFFFFF
_TC_H_INGRESS = 0xFFFFFFF1
_INGRESS_HANDLE = 0xFFFF0000
_ROOT_HANDLE = 0x00010000
# One of another kind than the one before has another handle, so that it can take its place.
_SHARED_HANDLE = 0x00020000
_WHOLE_CLASS, _OTHERS_CLASS, _FIRST_CLASS = 1, 2, 3  # minor numbers below _SHARED_HANDLE
_TCA_KIND = 1
_TCA_OPTIONS = 2
_TCA_TBF_PARMS = 1
_TCA_TBF_RATE64 = 4
_TCA_TBF_BURST = 6
_TCA_HTB_PARMS = 1
_TCA_HTB_INIT = 2
_TCA_HTB_DIRECT_QLEN = 5
_TCA_HTB_RATE64 = 6
_TCA_HTB_CEIL64 = 7
_HTB_VERSION = 3
_TCA_BPF_FD = 6
_TCA_BPF_NAME = 7
_LINKLAYER_ETHERNET = 1
_TCA_U32_SEL = 5
_TCA_U32_ACT = 7
_TC_U32_TERMINAL = 1
_TCA_ACT_KIND = 1
_TCA_ACT_OPTIONS = 2
_TCA_MIRRED_PARMS = 2
_TC_ACT_STOLEN = 4
_TCA_EGRESS_REDIR = 1
_EVERYTHING = 1 << 16 | int.from_bytes(pack(">H", 3), byteorder)  # the first filter, for all protocols (ETH_P_ALL)

_MOST = 0xFFFFFFFF
# A burst of a hundredth of a second lets the rate be kept without waking up for every packet. A packet that is larger
# than the burst would be cut up or dropped.
_BURSTS = 100
_SMALLEST_BURST = 16 * 1024
# What waits is dropped beyond a tenth of a second's worth, but the largest packet of TCP, 64 KiB, has to find room.
_QUEUES = 10
_SMALLEST_QUEUE = 256 * 1024
_DIRECT_QUEUE = 1000  # packets without a rate that wait for the link itself
_TURN = 16 * 1024  # bytes that a class sends before the next one's turn


def limit_out(netlink: Netlink, index: int, rate: int) -> None:
    """Let `rate` bytes per second leave a link, in the place of a limit that was set before. Raises OSError."""
    # struct tc_tbf_qopt: the ratespecs of rate and peak rate, the queue in bytes, and two that the burst replaces.
    parameters = _ratespec(rate) + bytes(12) + pack("=III", _queue(rate), 0, 0)
    options = [attribute(_TCA_TBF_PARMS, parameters), number(_TCA_TBF_BURST, _burst(rate))]
    if rate >= _MOST:
        options.append(attribute(_TCA_TBF_RATE64, pack("=Q", rate)))
    body = _tc_header(index, _ROOT_HANDLE, _TC_H_ROOT) + text(_TCA_KIND, "tbf") + nest(_TCA_OPTIONS, *options)
    netlink.change(_RTM_NEWQDISC, NLM_F_CREATE | _NLM_F_REPLACE, body, f"the rate of link {index}")


def class_of(part: int) -> int:
    """Return what a program of `share_out` answers for what is to have the rate number `part`, from 0."""
    return _SHARED_HANDLE | _FIRST_CLASS + part


def share_out(netlink: Netlink, index: int, whole: int, rates: Sequence[int], program: int) -> None:
    """Let `whole` bytes per second leave a link, 0 for any number, in the place of a limit that was set before.

    What the eBPF program behind the descriptor `program` puts into a class leaves at that one's of the `rates`; each
    has a part of the whole for sure. Raises OSError.
    """
    about = f"the rates of link {index}"
    _clear(netlink, index, ((_SHARED_HANDLE, _TC_H_ROOT),), about)
    # struct tc_htb_glob. What is of no class that there is leaves without delay.
    glob = pack("=IIIII", _HTB_VERSION, 1, _OTHERS_CLASS if whole else 0, 0, 0)
    options = nest(_TCA_OPTIONS, attribute(_TCA_HTB_INIT, glob), number(_TCA_HTB_DIRECT_QLEN, _DIRECT_QUEUE))
    body = _tc_header(index, _SHARED_HANDLE, _TC_H_ROOT) + text(_TCA_KIND, "htb") + options
    netlink.change(_RTM_NEWQDISC, NLM_F_CREATE | _NLM_F_REPLACE, body, about)
    above = _SHARED_HANDLE
    # Rates that are sure are not bounded by the one above, so they have to fit into it together.
    part = max(whole // (len(rates) + 1), 1)
    if whole:
        above |= _WHOLE_CLASS
        _add_class(netlink, index, _SHARED_HANDLE, above, whole, whole)
        _add_class(netlink, index, above, _SHARED_HANDLE | _OTHERS_CLASS, part, whole)
        _add_queue(netlink, index, _SHARED_HANDLE | _OTHERS_CLASS, whole)
    for place, rate in enumerate(rates):
        most = min(rate, whole or rate)
        _add_class(netlink, index, above, class_of(place), min(part, most) if whole else most, most)
        _add_queue(netlink, index, class_of(place), most)
    options = nest(_TCA_OPTIONS, number(_TCA_BPF_FD, program), text(_TCA_BPF_NAME, "appc"))
    body = _tc_header(index, 0, _SHARED_HANDLE, _EVERYTHING) + text(_TCA_KIND, "bpf") + options
    netlink.change(_RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, body, about)


def limit_in(netlink: Netlink, index: int, through: str, limit: Callable[[int], None]) -> None:
    """Have what comes in by a link go through a link called `through`, which is made; `limit` what leaves by that one.

    It is the caller's to delete. One that is there already is limited anew. Raises OSError.
    """
    try:
        limit(index_of(netlink, through))
        return
    except NoLink:
        pass
    make(netlink, through, "ifb")
    about = f"the way in of link {index}"
    try:
        inner = index_of(netlink, through)
        limit(inner)
        set_up(netlink, inner)
        body = _tc_header(index, _INGRESS_HANDLE, _TC_H_INGRESS) + text(_TCA_KIND, "ingress")
        netlink.change(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, about)
        netlink.change(_RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, _redirect(index, inner), about)
    except BaseException:
        delete(netlink, through)
        raise


def lift(netlink: Netlink, index: int, through: str) -> None:
    """Take back what the others here set; a link without limits is fine. Raises OSError."""
    roots = ((_ROOT_HANDLE, _TC_H_ROOT), (_SHARED_HANDLE, _TC_H_ROOT), (_INGRESS_HANDLE, _TC_H_INGRESS))
    _clear(netlink, index, roots, f"the rate of link {index}")
    delete(netlink, through)


def _clear(netlink: Netlink, index: int, roots: Sequence[tuple[int, int]], about: str) -> None:
    """Remove what is there of the qdiscs of a link with these (handle, parent)."""
    for handle, parent in roots:
        try:
            netlink.change(_RTM_DELQDISC, 0, _tc_header(index, handle, parent), about)
        except OSError as error:
            # EINVAL: there is another one.
            if error.errno not in (errno.ENOENT, errno.EINVAL):
                raise


def obstacle() -> str:
    """Return why this host cannot limit traffic, "" when it can: it is tried in a network namespace apart."""

    def attempt() -> None:
        with Netlink() as netlink:
            make(netlink, "appc0", "ifb")
            index = index_of(netlink, "appc0")
            limit_out(netlink, index, _MOST)
            limit_in(netlink, index, "appc1", lambda inner: limit_out(netlink, inner, _MOST))

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
    return (
        _tc_header(index, 0, _INGRESS_HANDLE, _EVERYTHING)
        + text(_TCA_KIND, "u32")
        + nest(_TCA_OPTIONS, attribute(_TCA_U32_SEL, selector), nest(_TCA_U32_ACT, action))
    )


def _add_class(netlink: Netlink, index: int, parent: int, handle: int, rate: int, most: int) -> None:
    """Make a class of htb that has `rate` bytes per second for sure, and `most` as long as they are there."""
    # struct tc_htb_opt: two ratespecs, what may come at once in units of 64 ns, the turn in bytes, level, priority.
    bursts = (min(_burst(one) * 1_000_000_000 // one >> 6, _MOST) for one in (rate, most))
    parameters = _ratespec(rate) + _ratespec(most) + pack("=IIIII", *bursts, _TURN, 0, 0)
    options = [attribute(_TCA_HTB_PARMS, parameters)]
    for kind, one in ((_TCA_HTB_RATE64, rate), (_TCA_HTB_CEIL64, most)):
        if one >= _MOST:
            options.append(attribute(kind, pack("=Q", one)))
    body = _tc_header(index, handle, parent) + text(_TCA_KIND, "htb") + nest(_TCA_OPTIONS, *options)
    netlink.change(_RTM_NEWTCLASS, NLM_F_CREATE | NLM_F_EXCL, body, f"the rates of link {index}")


def _add_queue(netlink: Netlink, index: int, handle: int, rate: int) -> None:
    """Have what is of a class, which leaves at `rate`, wait in a queue of its own."""
    queue = attribute(_TCA_OPTIONS, pack("=I", _queue(rate)))
    body = _tc_header(index, 0, handle) + text(_TCA_KIND, "bfifo") + queue
    netlink.change(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, f"the rates of link {index}")


def _ratespec(rate: int) -> bytes:
    """A struct tc_ratespec."""
    return pack("=BBHhHI", 0, _LINKLAYER_ETHERNET, 0, 0, 0, min(rate, _MOST))


def _burst(rate: int) -> int:
    """How many bytes may leave at once."""
    return min(max(rate // _BURSTS, _SMALLEST_BURST), _MOST)


def _queue(rate: int) -> int:
    """How many bytes may wait."""
    return min(max(rate // _QUEUES, _SMALLEST_QUEUE), _MOST)


def _tc_header(index: int, handle: int, parent: int, info: int = 0) -> bytes:
    """A struct tcmsg."""
    return pack("=BxxxiIII", 0, index, handle, parent, info)
