"""Why an app died, in words, from what its keeper found out."""

from __future__ import annotations

from appc.abi import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.pods.records import AppRecord

_SIGSYS = 31


def explain(record: AppRecord) -> str:
    """Return one phrase such as `killed: memory limit 256 MiB, peak 256 MiB`, or `killed by SIGTERM`."""
    if record.out_of_memory:
        return _memory(record)
    how = f"killed by {signal_name((record.exit_status or 128) - 128)}"
    if record.exit_status == 128 + _SIGSYS and record.syscall is not None:
        return f"{how}: system call {_call(record)} is not allowed"
    return how


def _memory(record: AppRecord) -> str:
    if record.memory_limit:
        reason = f"memory limit {_size(record.memory_limit)}"
    elif record.pod_memory_limit:
        reason = f"the pod's memory limit {_size(record.pod_memory_limit)}"
    else:
        reason = "the host had no memory left"
    return f"killed: {reason}" + (f", peak {_size(record.memory_peak)}" if record.memory_peak else "")


def _call(record: AppRecord) -> str:
    """The name of a system call, or its number where nothing is there to resolve it."""
    from appc.errors import HostError
    from appc.host.libseccomp import Names

    number = record.syscall or 0
    try:
        return Names().name(record.arch or 0, number) or str(number)
    except HostError:
        return str(number)


def _size(count: int) -> str:
    """Return bytes as people say them, one digit after the point where they are not whole: 256 MiB, 1.5 GiB."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    amount = float(count)
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    return f"{amount:.1f}".removesuffix(".0") + f" {units[0]}"
