"""Specs of the Container Device Interface (CDI SPEC.md 1.1.0): what a container gets with a vendor's device.

Of the edits, hooks, Intel RDT and network devices are known by name alone, as is whatever later versions add.
"""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.schema.devices import EVERYTHING, is_access
from appc.schema.kinds import Faults, choice, integer, list_of, string
from appc.schema.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SPEC_LIMIT = 1 << 20
"""Bytes that a spec may have."""

_NEWEST = "1"  # major version
_ANY = 2**31 - 1


def _absolute(value: Any, faults: Faults) -> str:
    path = string(value, faults)
    if not path.startswith("/") or ".." in path.split("/"):
        raise InvalidValue("must be an absolute path without ..")
    return path


def _access(value: Any, faults: Faults) -> str:
    if value and not is_access(string(value, faults)):
        raise InvalidValue("must be some of the letters r, w and m")
    return value or EVERYTHING


def _variable(value: Any, faults: Faults) -> str:
    if "=" not in string(value, faults).lstrip("="):
        raise InvalidValue("must be NAME=VALUE")
    return str(value)


def _version(value: Any, faults: Faults) -> str:
    major = string(value, faults).partition(".")[0]
    if major not in ("0", _NEWEST):
        raise InvalidValue(f"is {value}, newer than appc knows")
    return str(value)


def _kind(value: Any, faults: Faults) -> str:
    vendor, slash, category = string(value, faults).partition("/")
    if not slash or not vendor or not category or "/" in category:
        raise InvalidValue("must be VENDOR/CLASS")
    return str(value)


class DeviceNode(Record):
    """A device node; what is not given is that of `host_path`, or of `path` on the host."""

    path: str = field("path", _absolute)
    host_path: str = field("hostPath", _absolute, default="")
    type: str = field("type", choice("", "b", "c", "u"), default="")
    major: int | None = field("major", integer(0, _ANY), default=None)
    minor: int | None = field("minor", integer(0, _ANY), default=None)
    mode: int | None = field("fileMode", integer(0, 0o7777), default=None)
    permissions: str = field("permissions", _access, default=EVERYTHING)
    uid: int | None = field("uid", integer(0, 2**32 - 2), default=None)
    gid: int | None = field("gid", integer(0, 2**32 - 2), default=None)


class CdiMount(Record):
    """A path of the host that the container has as well."""

    host_path: str = field("hostPath", _absolute)
    container_path: str = field("containerPath", _absolute)
    options: tuple[str, ...] = field("options", list_of(string), default=())
    type: str = field("type", string, default="")


class Edits(Record):
    """What a container gets; `extra` has the kinds of edits that are not known here."""

    env: tuple[str, ...] = field("env", list_of(_variable), default=())
    device_nodes: tuple[DeviceNode, ...] = field("deviceNodes", list_of(DeviceNode.decode), default=())
    mounts: tuple[CdiMount, ...] = field("mounts", list_of(CdiMount.decode), default=())
    gids: tuple[int, ...] = field("additionalGids", list_of(integer(0, 2**32 - 2)), default=())


class Device(Record):
    """A device of a spec."""

    name: str = field("name", string)
    edits: Edits = field("containerEdits", Edits.decode)


class Spec(Record):
    """A spec: the devices of one kind, and the edits that go with any of them."""

    version: str = field("cdiVersion", _version)
    kind: str = field("kind", _kind)
    devices: tuple[Device, ...] = field("devices", list_of(Device.decode))
    edits: Edits | None = field("containerEdits", Edits.decode, default=None)
