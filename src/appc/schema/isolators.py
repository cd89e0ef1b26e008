"""Isolators: what an app or a pod is kept from, or promised (ace.md, "Isolators").

The value of a known isolator is a checked record, number or truth value; that of an unknown one is the JSON
value as it stands. Unknown isolators are never a fault: an executor may ignore them if it says so.
"""

from __future__ import annotations

from appc.errors import InvalidValue, ManifestError
from appc.schema.kinds import Faults, anything, boolean, integer, list_of, map_of, parsed, string, type_name
from appc.schema.record import Record, field
from appc.values import ACIdentifier, Quantity, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.schema.kinds import Kind

APP = "app"
POD = "pod"
BOTH = "app/pod"


def quantity(value: Any, faults: Faults) -> Quantity:
    """A quantity, written as a string or as a bare JSON number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Quantity.parse(repr(value), faults.strict)
    if not isinstance(value, str):
        raise InvalidValue(f"must be a quantity, not {type_name(value)}")
    return Quantity.parse(value, faults.strict)


class ResourceValue(Record):
    """Request and limit of a resource in its base unit (cores or bytes)."""

    limit: Quantity | None = field("limit", quantity, default=None)
    request: Quantity | None = field("request", quantity, default=None)
    default: bool = field("default", boolean, default=False)

    def _check(self, faults: Faults) -> None:
        if self.default:
            faults.add("must be absent or false for this resource", "default")
        _check_sign(self, faults)


class RateValue(ResourceValue):
    """The limit of a bandwidth or of operations per second, which holds for every device alike."""

    def _check(self, faults: Faults) -> None:
        if not self.default:
            faults.add("must be true", "default")
        if self.request is not None:
            faults.add("is not supported by this resource", "request")
        if faults.strict and self.limit is None:
            faults.add("is required", "limit")
        _check_sign(self, faults)


class CountValue(ResourceValue):
    """The limit of something that is counted whole, and of which nothing can be reserved."""

    def _check(self, faults: Faults) -> None:
        super()._check(faults)
        if self.request is not None:
            faults.add("is not supported by this resource", "request")
        if faults.strict and self.limit is None:
            faults.add("is required", "limit")


def _check_sign(resource: ResourceValue, faults: Faults) -> None:
    for key, amount in (("limit", resource.limit), ("request", resource.request)):
        if faults.strict and amount is not None and amount.nano < 0:
            faults.add(f"must not be negative, as {amount} is", key)


def _some(items: tuple[Any, ...], faults: Faults) -> tuple[Any, ...]:
    if not items:
        raise InvalidValue("must not be empty")
    return items


class SetValue(Record):
    """A set of capabilities."""

    set: tuple[str, ...] = field("set", list_of(string, _some))


def _errno(value: Any, faults: Faults) -> str:
    name = string(value, faults)
    if name and (name[0] != "E" or not name.isalnum() or name != name.upper()):
        raise InvalidValue(f"must be the name of an error such as EPERM, not {quoted(name)}")
    return name


class SeccompValue(SetValue):
    """A set of system calls and wildcards (`@…`), and the error a blocked call returns ("": the app is killed)."""

    errno: str = field("errno", _errno, default="")


def _context_part(value: Any, faults: Faults) -> str:
    part = _present(value, faults)
    if ":" in part:
        raise InvalidValue(f"{quoted(part)} must not hold a colon")
    return part


def _present(value: Any, faults: Faults) -> str:
    if not string(value, faults):
        raise InvalidValue("must not be empty")
    return str(value)


class SelinuxValue(Record):
    """An SELinux security context."""

    user: str = field("user", _context_part)
    role: str = field("role", _context_part)
    type: str = field("type", _context_part)
    level: str = field("level", _present)

    @property
    def context(self) -> str:
        """The context as the kernel takes it: `user:role:type:level`."""
        return f"{self.user}:{self.role}:{self.type}:{self.level}"


class AppArmorValue(Record):
    """The name of a loaded AppArmor profile."""

    profile: str = field("profile", _present)


class KnownIsolator:
    """What the schema knows of an isolator: the kind of its value, where it applies, whether it may be repeated.

    `excludes` is an isolator it cannot stand beside; `tolerated` if only the strict level says so.
    """

    __slots__ = ("excludes", "kind", "repeatable", "scope", "tolerated")

    def __init__(
        self, kind: Kind, scope: str, repeatable: bool = False, excludes: str = "", tolerated: bool = False
    ) -> None:
        self.kind = kind
        self.scope = scope
        self.repeatable = repeatable
        self.excludes = excludes
        self.tolerated = tolerated


CAPS_RETAIN = "os/linux/capabilities-retain-set"
CAPS_REMOVE = "os/linux/capabilities-remove-set"
SECCOMP_RETAIN = "os/linux/seccomp-retain-set"
SECCOMP_REMOVE = "os/linux/seccomp-remove-set"

KNOWN = {
    "resource/cpu": KnownIsolator(ResourceValue.decode, BOTH, repeatable=True),
    "resource/memory": KnownIsolator(ResourceValue.decode, BOTH, repeatable=True),
    "resource/block-bandwidth": KnownIsolator(RateValue.decode, BOTH, repeatable=True),
    "resource/block-iops": KnownIsolator(RateValue.decode, BOTH, repeatable=True),
    "resource/network-bandwidth": KnownIsolator(RateValue.decode, BOTH, repeatable=True),
    # Not of ace.md: named as the kernel's controller and the field of linux.resources are.
    "resource/pids": KnownIsolator(CountValue.decode, BOTH, repeatable=True),
    CAPS_RETAIN: KnownIsolator(SetValue.decode, APP, repeatable=True, excludes=CAPS_REMOVE, tolerated=True),
    CAPS_REMOVE: KnownIsolator(SetValue.decode, APP, repeatable=True, excludes=CAPS_RETAIN, tolerated=True),
    SECCOMP_RETAIN: KnownIsolator(SeccompValue.decode, APP, excludes=SECCOMP_REMOVE),
    SECCOMP_REMOVE: KnownIsolator(SeccompValue.decode, APP, excludes=SECCOMP_RETAIN),
    "os/linux/no-new-privileges": KnownIsolator(boolean, APP, repeatable=True),
    "os/linux/selinux-context": KnownIsolator(SelinuxValue.decode, BOTH),
    "os/linux/apparmor-profile": KnownIsolator(AppArmorValue.decode, BOTH),
    "os/linux/cpu-shares": KnownIsolator(integer(2, 262144), BOTH),
    "os/linux/oom-score-adj": KnownIsolator(integer(-1000, 1000), BOTH),
    "os/unix/sysctl": KnownIsolator(map_of(string), POD),
}


class Isolator(Record):
    """One isolator.

    If it is known, `value` is a ResourceValue, RateValue, CountValue, SetValue, SeccompValue, SelinuxValue,
    AppArmorValue, bool, int or read-only dict; else any JSON value.
    """

    name: str = field("name", parsed(ACIdentifier.parse))
    value: Any = field("value", anything, default=None, demanded=True)

    @property
    def known(self) -> bool:
        """Whether the schema knows this isolator, and so has checked its value."""
        return self.name in KNOWN

    def _check(self, faults: Faults) -> None:
        known = KNOWN.get(self.name)
        if known is None:
            return
        before = len(faults)
        try:
            if self.value is None:
                raise InvalidValue("is required")
            object.__setattr__(self, "value", known.kind(self.value, faults))
        except InvalidValue as error:
            faults.add(error.what, "value")
        else:
            faults.locate(before, "value")

    @classmethod
    def parse_string(cls, text: str) -> Isolator:
        """Read the one-line form of a known isolator; raises InvalidValue.

        `resource/cpu,request=100m,limit=1` · `os/linux/oom-score-adj,-500` · `os/linux/no-new-privileges,true` ·
        `os/linux/capabilities-retain-set,CAP_KILL,CAP_CHOWN` · `os/linux/seccomp-remove-set,errno=EPERM,reboot`.
        """
        name, _, rest = text.partition(",")
        try:
            if name not in KNOWN:
                raise InvalidValue("there is no such isolator", hint="the isolators are " + " ".join(KNOWN))
            return cls.parse({"name": name, "value": _value_of(name, rest)})
        except ManifestError as error:
            what = "; ".join(f"{path}: {message}" for path, message in error.faults)
            raise InvalidValue(what, quoted(text)) from None
        except InvalidValue as error:
            raise InvalidValue(error.what, quoted(text), error.hint) from None


def _value_of(name: str, text: str) -> Any:
    from appc.schema.strings import flag, number, pairs

    kind = KNOWN[name].kind
    if name.startswith("resource/"):
        value: dict[str, Any] = dict(pairs("," + text)[1])
        if "default" in value:
            value["default"] = flag(value["default"])
        elif kind == RateValue.decode:
            value["default"] = True
        unknown = [key for key in value if key not in ("request", "limit", "default")]
        if unknown:
            raise InvalidValue(f"there is no {quoted(unknown[0])}, only request, limit and default")
        return value
    if kind is boolean:
        return flag(text)
    if kind in (SetValue.decode, SeccompValue.decode):
        words = text.split(",") if text else []
        settings = dict(pairs("," + ",".join(w for w in words if "=" in w))[1]) if "=" in text else {}
        return {**settings, "set": [w for w in words if "=" not in w]}
    if name in ("os/linux/cpu-shares", "os/linux/oom-score-adj"):
        return number(text)
    return dict(pairs("," + text)[1])


def find(isolators: tuple[Isolator, ...], name: str) -> Isolator | None:
    """The isolator that counts: the last one called `name`."""
    found = None
    for isolator in isolators:
        if isolator.name == name:
            found = isolator
    return found


def check_together(isolators: tuple[Isolator | None, ...], scope: str, faults: Faults) -> None:
    """Record the faults of isolators in one list: repeated, exclusive or out of `scope` (APP or POD)."""
    seen: dict[str, int] = {}
    for index, isolator in enumerate(isolators):
        known = KNOWN.get(isolator.name) if isolator is not None else None
        if isolator is None or known is None:
            continue
        if isolator.name in seen and not known.repeatable:
            faults.add(f"is the second {isolator.name}; the first is [{seen[isolator.name]}]", f"[{index}]")
        if known.excludes in seen and (faults.strict or not known.tolerated):
            faults.add(f"{isolator.name} cannot stand beside {known.excludes}", f"[{index}]")
        if faults.strict and scope not in known.scope:
            faults.add(f"{isolator.name} applies to {known.scope}s only", f"[{index}]")
        seen.setdefault(isolator.name, index)


def app_isolators(isolators: tuple[Isolator, ...], faults: Faults) -> tuple[Isolator, ...]:
    """The check of an app's list of isolators."""
    check_together(isolators, APP, faults)
    return isolators


def pod_isolators(isolators: tuple[Isolator, ...], faults: Faults) -> tuple[Isolator, ...]:
    """The check of a pod's list of isolators; what excludes what is left to the strict level, as in the Go tools."""
    if faults.strict:
        check_together(isolators, POD, faults)
    return isolators
