"""What whoever runs a process does, be it a container's first or one beside it: its filter, its end, its failure."""

from __future__ import annotations

import os

from appc.errors import AppcError, LaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.host.probe import HostFacts
    from appc.launch.spawn import Report
    from appc.oci.main import Context
    from appc.plan.ops import Plan

# Of a keeper, and of nobody's process.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def wait(keeper: int) -> int:
    """Wait for the keeper, a child, which ends as its process did; hand on what ends us."""
    import _signal  # type: ignore[import-not-found]  # the module signal costs 3 ms

    def forward(number: int, _frame: object) -> None:
        try:
            os.kill(keeper, number)
        except ProcessLookupError:
            pass

    for number in (_signal.SIGTERM, _signal.SIGHUP):
        _signal.signal(number, forward)
    # A terminal sends these to the keeper, too.
    for number in (_signal.SIGINT, _signal.SIGQUIT):
        _signal.signal(number, _signal.SIG_IGN if os.isatty(0) else forward)
    return os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])


def seccomp(config: dict[str, Any], facts: HostFacts) -> bytes | None:
    """Return the program for `linux.seccomp`, None when there is none."""
    section = config["linux"].get("seccomp")
    if not section:
        return None
    from appc.host.seccomp import filter_bytes
    from appc.oci.main import run_directory
    from appc.plan.compile_seccomp import seccomp_for_launch

    wanted = seccomp_for_launch(section, (config.get("process") or {}).get("noNewPrivileges", False))
    # They are the same for every container with the same rules, whatever root its engine keeps states in.
    return filter_bytes(wanted, f"{run_directory()}/seccomp", facts.machine)


def tell_warnings(warnings: list[str], context: Context) -> None:
    """Tell of capabilities that were not granted (config.md, Linux Process), when nothing else is left to be told:
    engines take a log for one message."""
    if warnings:
        from appc.oci.main import warn

        for text in warnings:
            warn(text, context)


def explain(plan: Plan, report: Report, where: str) -> AppcError:
    """Return the error for a keeper that did not get ready."""
    if report.failure is None:
        return LaunchError("was stopped before its process ran", where)
    from appc.oci.failure import failed

    return failed(plan, *report.failure, where)
