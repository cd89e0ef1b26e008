"""Making room in a seccomp filter for the calls appc-init itself makes once it is loaded."""

from __future__ import annotations

from appc.errors import Unenforceable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# exec, and telling the keeper when it fails.
LAUNCH_CALLS = ("execve", "exit_group", "sendmsg")
# Without no_new_privs the final capabilities are set after the filter is loaded.
CAPABILITY_CALLS = ("capset", "prctl")

_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")


def seccomp_for_launch(section: Mapping[str, Any], no_new_privs: bool) -> dict[str, Any]:
    """Return `linux.seccomp` with what the launch still needs allowed, in an entry of its own at the end.

    Nothing is added to a filter that allows it already. Raises Unenforceable when the section itself refuses
    such a call: an app under that filter could not be started.
    """
    needed = LAUNCH_CALLS if no_new_privs else LAUNCH_CALLS + CAPABILITY_CALLS
    open_by_default = section["defaultAction"] in _PERMISSIVE
    allowed: set[str] = set()
    for index, rule in enumerate(section.get("syscalls") or ()):
        refused = rule["action"] not in _PERMISSIVE
        for name in needed:
            if name not in rule["names"]:
                continue
            if refused:
                raise _refusal(name, index)
            if not rule.get("args"):
                allowed.add(name)
    missing = [] if open_by_default else [name for name in needed if name not in allowed]
    if not missing:
        return dict(section)
    return {**section, "syscalls": [*(section.get("syscalls") or ()), {"names": missing, "action": "SCMP_ACT_ALLOW"}]}


def _refusal(name: str, index: int) -> Unenforceable:
    hint = "leave it out of the set"
    if name in CAPABILITY_CALLS:
        hint += ", or set os/linux/no-new-privileges, which lets the filter come last"
    return Unenforceable(f"an app cannot be started when {name} is refused", f"linux.seccomp.syscalls[{index}]", hint)
