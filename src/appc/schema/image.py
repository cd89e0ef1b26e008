"""The image manifest and its parts (aci.md, "Image Manifest Schema")."""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.schema import common
from appc.schema.common import AC_IDENTIFIER, AC_NAME, ANNOTATIONS, LABELS, USER_MAP, Annotation, absolute, nonempty
from appc.schema.isolators import Isolator, app_isolators
from appc.schema.kinds import Faults, boolean, choice, frozen_dict, integer, list_of, string, unique
from appc.schema.record import REQUIRED, Record, field
from appc.values import ImageHash, Labels, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = (
    "Annotation",
    "App",
    "Dependency",
    "EnvVar",
    "EventHandler",
    "ImageManifest",
    "Isolator",
    "MountPoint",
    "Port",
)

PRE_START = "pre-start"
POST_STOP = "post-stop"

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
_STRINGS = list_of(string)


def _variable_name(value: Any, faults: Faults) -> str:
    name = nonempty(value, faults)
    if name[0] not in _LETTERS or name.strip(_LETTERS + "0123456789.-"):
        raise InvalidValue(f"{quoted(name)} is not a variable's name: letters, digits, _ . - and no digit first")
    return name


def _unique_variables(items: tuple[EnvVar, ...], faults: Faults) -> tuple[EnvVar, ...]:
    unique(items, "name", "variable", faults)
    return items


def _unique_handlers(items: tuple[EventHandler, ...], faults: Faults) -> tuple[EventHandler, ...]:
    unique(items, "name", "event handler", faults)
    return items


_any_gid = integer(-(1 << 63), (1 << 63) - 1)
_unsigned_gid = integer(0, (1 << 32) - 1)


def _gid(value: Any, faults: Faults) -> int:
    gid: int = (_unsigned_gid if faults.strict else _any_gid)(value, faults)
    return gid


def _working_directory(value: Any, faults: Faults) -> str:
    return "" if value == "" and not faults.strict else absolute(value, faults)


def _listed_path(value: Any, faults: Faults) -> str:
    return absolute(value, faults) if faults.strict else string(value, faults)


_port_count = integer(0, 65535)


def _count(value: Any, faults: Faults) -> int:
    count: int = _port_count(value, faults)
    if count == 0 and faults.strict:
        raise InvalidValue("must be at least 1")
    return count or 1


class EventHandler(Record):
    """A program executed before the app starts or after it ended; `name` is pre-start or post-stop."""

    name: str = field("name", choice(PRE_START, POST_STOP))
    exec: tuple[str, ...] = field("exec", _STRINGS, default=(), demanded=True)


class EnvVar(Record):
    """A variable of the app's environment."""

    name: str = field("name", _variable_name)
    value: str = field("value", string, default="", demanded=True)


class MountPoint(Record):
    """A path at which an app expects data from outside."""

    name: str = field("name", AC_NAME, default="", demanded=True)
    path: str = field("path", string, default="", demanded=True)
    read_only: bool = field("readOnly", boolean, default=False)

    @classmethod
    def parse_string(cls, text: str) -> MountPoint:
        """Read `NAME,path=/PATH[,readOnly=true]`; raises InvalidValue."""
        from appc.schema.strings import flag, read, word

        point = read(cls, text, "NAME,path=/PATH[,readOnly=true]", {"path": word, "readOnly": flag})
        if not point.path:
            raise InvalidValue("path is required", quoted(text), "the form is NAME,path=/PATH[,readOnly=true]")
        return point


class Port(Record):
    """A port, or `count` ports from `port` on, that an app listens on."""

    name: str = field("name", AC_NAME, default="", demanded=True)
    protocol: str = field("protocol", string, default="", demanded=True)
    port: int = field("port", integer(1, 65535))
    count: int = field("count", _count, default=1)
    socket_activated: bool = field("socketActivated", boolean, default=False)

    def _check(self, faults: Faults) -> None:
        if self.port is not None and self.port + self.count > 65536:
            faults.add(f"the range of ports from {self.port} ends beyond 65535", "count")

    @classmethod
    def parse_string(cls, text: str) -> Port:
        """Read `NAME,protocol=tcp,port=80[,count=N][,socketActivated=true]`; raises InvalidValue."""
        from appc.schema.strings import flag, number, read, word

        readers = {"protocol": word, "port": number, "count": number, "socketActivated": flag}
        return read(cls, text, "NAME,protocol=tcp,port=80[,count=N][,socketActivated=true]", readers)


class App(Record):
    """How to execute an image: program, identity, environment, mounts, ports and isolators."""

    exec: tuple[str, ...] = field("exec", _STRINGS, default=())
    user: str = field("user", nonempty)
    group: str = field("group", nonempty)
    supplementary_gids: tuple[int, ...] = field("supplementaryGIDs", list_of(_gid), default=())
    event_handlers: tuple[EventHandler, ...] = field(
        "eventHandlers", list_of(EventHandler.decode, _unique_handlers), default=()
    )
    working_directory: str = field("workingDirectory", _working_directory, default="")
    environment: tuple[EnvVar, ...] = field("environment", list_of(EnvVar.decode, _unique_variables), default=())
    mount_points: tuple[MountPoint, ...] = field("mountPoints", list_of(MountPoint.decode), default=())
    ports: tuple[Port, ...] = field("ports", list_of(Port.decode), default=())
    isolators: tuple[Isolator, ...] = field("isolators", list_of(Isolator.decode, app_isolators), default=())
    user_annotations: Mapping[str, str] = field("userAnnotations", USER_MAP, default=frozen_dict({}))
    user_labels: Mapping[str, str] = field("userLabels", USER_MAP, default=frozen_dict({}))

    def handler(self, name: str) -> tuple[str, ...]:
        """The exec of the event handler `name` (PRE_START or POST_STOP), or ()."""
        return next((handler.exec for handler in self.event_handlers if handler.name == name), ())


class Dependency(Record):
    """An image whose files lie below this one's. `size` is in bytes, 0 if not given."""

    image_name: str = field("imageName", AC_IDENTIFIER)
    image_id: ImageHash | None = field("imageID", common.IMAGE_HASH, default=None)
    labels: Labels = field("labels", LABELS, default=Labels())
    size: int = field("size", integer(0, (1 << 64) - 1), default=0)


class ImageManifest(Record):
    """What an image is called, holds and needs, and how it is executed."""

    ac_kind: str = common.ac_kind("ImageManifest")
    ac_version: str = field("acVersion", common.version, default=common.AC_VERSION, absent=REQUIRED)
    name: str = field("name", AC_IDENTIFIER)
    labels: Labels = field("labels", LABELS, default=Labels())
    app: App | None = field("app", App.decode, default=None)
    dependencies: tuple[Dependency, ...] = field("dependencies", list_of(Dependency.decode), default=())
    path_whitelist: tuple[str, ...] = field("pathWhitelist", list_of(_listed_path), default=())
    annotations: tuple[Annotation, ...] = field("annotations", ANNOTATIONS, default=())

    def annotation(self, name: str, default: str = "") -> str:
        """The value of annotation `name`, or `default`."""
        return next((item.value for item in self.annotations if item.name == name), default)
