"""Device rules (OCI `linux.resources.devices`), and what a cgroup of v1 is written by them.

The list is an allow list: what no rule names is denied, the rules apply in order, and of the rules that
name a device and an access the last decides. `rwm` is meant where a rule gives no access.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_ACCESS_BITS = {"m": 1, "r": 2, "w": 4}
ALL = 7


class Rule:
    """A rule in the kernel's terms; None stands for "any"."""

    __slots__ = ("access", "allow", "kind", "major", "minor")

    def __init__(self, rule: Mapping[str, Any]) -> None:
        kind = rule.get("type") or "a"
        self.allow = bool(rule.get("allow"))
        self.kind = None if kind == "a" else "c" if kind == "u" else kind
        self.major = _number(rule.get("major"))
        self.minor = _number(rule.get("minor"))
        self.access = sum(_ACCESS_BITS.get(letter, 0) for letter in set(rule.get("access") or "rwm"))

    @property
    def everything(self) -> bool:
        return self.kind is None and self.major is None and self.minor is None and self.access == ALL

    def covers(self, other: Rule) -> bool:
        """Tell whether some device and access is named by both rules."""
        same_kind = self.kind is None or other.kind is None or self.kind == other.kind
        same_major = self.major is None or other.major is None or self.major == other.major
        same_minor = self.minor is None or other.minor is None or self.minor == other.minor
        return same_kind and same_major and same_minor and bool(self.access & other.access)

    def is_same_device(self, other: Rule) -> bool:
        return (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)


def _number(value: int | None) -> int | None:
    """OCI leaves major and minor out for "any"; engines also write -1."""
    return None if value is None or value < 0 else value


def v1_writes(rules: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, str]], str]:
    """Return the (file, text) writes for a devices cgroup of v1, and what they cannot express ("" if nothing).

    v1 keeps "deny all" or "allow all" and one list of exceptions to it; a rule of the other kind only takes
    back an exception for exactly the same device.
    """
    writes = [("devices.deny", "a *:* rwm")]
    default = False
    exceptions: list[Rule] = []
    lost = ""
    for rule in map(Rule, rules):
        file = "devices.allow" if rule.allow else "devices.deny"
        if rule.everything:
            writes = [(file, "a *:* rwm")]
            default = rule.allow
            exceptions = []
            continue
        if rule.allow != default:
            exceptions.append(rule)
        elif any(other.covers(rule) and not other.is_same_device(rule) for other in exceptions):
            verb = "allow" if rule.allow else "deny"
            lost = f"cgroup v1 cannot {verb} {_v1_device(rule)} as an exception to an earlier rule"
        for kind in (rule.kind,) if rule.kind else ("b", "c"):
            writes.append((file, f"{kind} {_v1_device(rule)}"))
    return writes, lost


def _v1_device(rule: Rule) -> str:
    major = "*" if rule.major is None else rule.major
    minor = "*" if rule.minor is None else rule.minor
    return f"{major}:{minor} " + "".join(letter for letter in "rwm" if rule.access & _ACCESS_BITS[letter])
