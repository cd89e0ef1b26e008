"""The system call filter of an app, as its configuration describes it."""

from __future__ import annotations

from appc.plan.compile_seccomp import seccomp_for_launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def app_filter(config: Mapping[str, Any], root: str, machine: str) -> bytes | None:
    """Return the program for `linux.seccomp` of a configuration, kept below `root`; None when it has none."""
    section = config["linux"].get("seccomp")
    if not section:
        return None
    from appc.host.seccomp import filter_bytes

    wanted = seccomp_for_launch(section, config["process"].get("noNewPrivileges", False))
    return filter_bytes(wanted, f"{root}/cache/seccomp", machine)
