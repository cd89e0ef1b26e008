"""`update`: other limits for a container that runs."""

from __future__ import annotations

import sys

from appc.errors import PodStateError, UsageError
from appc.host import cgroup_container, probe
from appc.oci.container import STOPPED, claim
from appc.oci.make import refuse_unmet
from appc.schema.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.oci.container import Container
    from appc.oci.main import Context
    from appc.oci.options import Args

# option → (section and field of `linux.resources`, whether it is a number)
_FIELDS = {
    "blkio-weight": ("blockIO", "weight", True),
    "cpu-period": ("cpu", "period", True),
    "cpu-quota": ("cpu", "quota", True),
    "cpu-burst": ("cpu", "burst", True),
    "cpu-share": ("cpu", "shares", True),
    "cpu-rt-period": ("cpu", "realtimePeriod", True),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", True),
    "cpu-idle": ("cpu", "idle", True),
    "cpuset-cpus": ("cpu", "cpus", False),
    "cpuset-mems": ("cpu", "mems", False),
    "memory": ("memory", "limit", True),
    "memory-reservation": ("memory", "reservation", True),
    "memory-swap": ("memory", "swap", True),
    "pids-limit": ("pids", "limit", True),
}
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def update(args: Args, context: Context) -> int:
    """Change the limits that are given; the others stay."""
    resources = _given(args)
    container = claim(context.root, args.words[0])
    try:
        _update(container, resources)
    finally:
        container.unlock()
    return 0


def _update(container: Container, resources: dict[str, Any]) -> None:
    if container.status() == STOPPED:
        raise PodStateError("cannot update a container that is stopped", container.name)
    if container.record.get("unit"):
        from appc.oci import scope

        scope.update(container.record["unit"], resources)
    outcome = cgroup_container.update(container.record["cgroup"], resources, probe.facts()).outcome
    config = container.config()
    kept = config["linux"].setdefault("resources", {})
    for section, values in resources.items():
        both = isinstance(values, dict) and isinstance(kept.get(section), dict)
        kept[section] = {**kept[section], **values} if both else values
    container.write_json("config.json", config)
    refuse_unmet(outcome)


def _given(args: Args) -> dict[str, Any]:
    """Return `linux.resources` with what was given: in a file or on stdin, or by options."""
    source = args.option("resources")
    if source:
        return _read(source)
    resources: dict[str, Any] = {}
    for option, (section, field, is_number) in _FIELDS.items():
        text = args.option(option)
        if text:
            resources.setdefault(section, {})[field] = _number(text, option) if is_number else text
    if not resources:
        raise UsageError("no limit was given", "update")
    return resources


def _read(source: str) -> dict[str, Any]:
    from appc.schema.kinds import Faults
    from appc.schema.oci_resources import RESOURCES

    if source == "-":
        data = sys.stdin.buffer.read()
    else:
        with open(source, "rb") as file:
            data = file.read()
    resources: dict[str, Any] = loads(data)
    faults = Faults()
    RESOURCES(resources, faults)
    faults.check()
    # Engines send the rules of the beginning along, which hold already.
    resources.pop("devices", None)
    return {name: value for name, value in resources.items() if value}


def _number(text: str, option: str) -> int:
    """Parse a number of bytes or of anything else: -1, 512, 64m."""
    unit = _UNITS.get(text[-1:].lower(), 0)
    digits = text[:-1] if unit else text
    try:
        return int(digits) * (unit or 1)
    except ValueError:
        raise UsageError(f"{text!r} is not a number", f"--{option}") from None
