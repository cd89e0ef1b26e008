"""The pod manifest and its parts (pods.md, "Pod Manifest Schema")."""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.schema import common
from appc.schema.common import AC_IDENTIFIER, AC_NAME, LABELS, POD_ANNOTATIONS, USER_MAP, Annotation
from appc.schema.image import App, Port
from appc.schema.isolators import Isolator, pod_isolators
from appc.schema.kinds import Faults, boolean, choice, frozen_dict, integer, list_of, string, unique
from appc.schema.record import Record, field
from appc.values import ImageHash, Labels, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from appc.schema.image import ImageManifest

__all__ = (
    "Annotation",
    "ExposedPort",
    "Mount",
    "PodManifest",
    "RuntimeApp",
    "RuntimeImage",
    "Volume",
)

EMPTY = "empty"
HOST = "host"
DEFAULT_MODE = "0755"

_INT64 = (-(1 << 63), (1 << 63) - 1)
_any_number = integer(*_INT64)
_unsigned_id = integer(0, (1 << 32) - 2)
_any_port = integer(0, (1 << 64) - 1)
_real_port = integer(1, 65535)


def _owner(value: Any, faults: Faults) -> int:
    owner: int = (_unsigned_id if faults.strict else _any_number)(value, faults)
    return owner


def _mode(value: Any, faults: Faults) -> str:
    mode = string(value, faults)
    if faults.strict and (not mode or mode.strip("01234567") or int(mode, 8) > 0o7777):
        raise InvalidValue(f"must be octal digits such as {DEFAULT_MODE}, not {quoted(mode)}")
    return mode


def _host_port(value: Any, faults: Faults) -> int:
    port: int = (_real_port if faults.strict else _any_port)(value, faults)
    return port


def is_ipv4(text: str) -> bool:
    """Whether `text` is four decimal numbers of 0–255 with dots, without leading zeros."""
    parts = text.split(".")
    return len(parts) == 4 and all(
        part and len(part) <= 3 and not part.strip("0123456789") and int(part) < 256 and str(int(part)) == part
        for part in parts
    )


def is_ipv6(text: str) -> bool:
    """Whether `text` is an IPv6 address as RFC 4291 writes it, without a zone."""
    head, gap, tail = text.partition("::")
    groups = [*(head.split(":") if head else []), *(tail.split(":") if tail else [])]
    if groups and "." in groups[-1]:
        if not is_ipv4(groups[-1]):
            return False
        groups[-1:] = ["0", "0"]
    if "::" in tail or any(not g or len(g) > 4 or g.strip("0123456789abcdefABCDEF") for g in groups):
        return False
    return len(groups) < 8 if gap else len(groups) == 8


def _host_ip(value: Any, faults: Faults) -> str:
    address = string(value, faults)
    if is_ipv4(address) or (not faults.strict and (not address or is_ipv6(address))):
        return address
    raise InvalidValue(f"must be an IPv4 address like 203.0.113.23, not {quoted(address)}")


class Volume(Record):
    """Data that outlives an app or comes from outside: a `host` path, or an `empty` directory of the pod.

    `mode`, `uid` and `gid` count for empty volumes only, `source` and `recursive` for host ones. `read_only` and
    `recursive` are None if not given: a mount point then decides, and a host volume is recursive.
    """

    name: str = field("name", AC_NAME)
    kind: str = field("kind", choice(EMPTY, HOST))
    source: str = field("source", string, default="")
    read_only: bool | None = field("readOnly", boolean, default=None)
    recursive: bool | None = field("recursive", boolean, default=None)
    mode: str = field("mode", _mode, default=DEFAULT_MODE)
    uid: int = field("uid", _owner, default=0)
    gid: int = field("gid", _owner, default=0)

    def _check(self, faults: Faults) -> None:
        if self.kind == EMPTY and self.source:
            faults.add("must not be given for an empty volume", "source")
        if self.kind == HOST:
            if not self.source:
                faults.add("is required for a host volume", "source")
            elif self.source[0] != "/":
                faults.add(f"must be an absolute path, not {quoted(self.source)}", "source")
            for key in ("mode", "uid", "gid"):
                if self.given(key):
                    faults.add("must not be given for a host volume", key)

    @classmethod
    def parse_string(cls, text: str) -> Volume:
        """Read `NAME,kind=host,source=/PATH[,readOnly=B][,recursive=B]` or `NAME,kind=empty[,mode=M][,uid=N][,gid=N]`.

        Raises InvalidValue.
        """
        from appc.schema.strings import flag, number, read, word

        readers = {
            "kind": word,
            "source": word,
            "readOnly": flag,
            "recursive": flag,
            "mode": word,
            "uid": number,
            "gid": number,
        }
        form = (
            "NAME,kind=host,source=/PATH[,readOnly=true][,recursive=false] or NAME,kind=empty[,mode=M][,uid=N][,gid=N]"
        )
        return read(cls, text, form, readers)

    def to_string(self) -> str:
        """The one-line form, which `parse_string` reads; defaults are left out."""
        words = [self.name, f"kind={self.kind}"]
        if self.source:
            words.append(f"source={self.source}")
        for key, truth in (("readOnly", self.read_only), ("recursive", self.recursive)):
            if truth is not None:
                words.append(f"{key}={'true' if truth else 'false'}")
        if self.kind == EMPTY:
            owners = (("mode", self.mode, DEFAULT_MODE), ("uid", self.uid, 0), ("gid", self.gid, 0))
            words += [f"{key}={value}" for key, value, default in owners if value != default]
        return ",".join(words)


class Mount(Record):
    """A volume at a path of an app; `app_volume` stands in for the pod's volume of that name."""

    volume: str = field("volume", AC_NAME, default="", demanded=True)
    path: str = field("path", string, default="", demanded=True)
    app_volume: Volume | None = field("appVolume", Volume.decode, default=None)


class RuntimeImage(Record):
    """Which image an app rests on; an image without a complete `id` has still to be resolved."""

    id: ImageHash | None = field("id", common.IMAGE_HASH, default=None, demanded=True)
    name: str = field("name", AC_IDENTIFIER, default="")
    labels: Labels = field("labels", LABELS, default=Labels())


class RuntimeApp(Record):
    """One app of a pod; `app` stands in for the app section of its image."""

    name: str = field("name", AC_NAME, default="", demanded=True)
    image: RuntimeImage = field("image", RuntimeImage.decode, default=RuntimeImage(), demanded=True)
    app: App | None = field("app", App.decode, default=None)
    read_only_root_fs: bool = field("readOnlyRootFS", boolean, default=False)
    mounts: tuple[Mount, ...] = field("mounts", list_of(Mount.decode), default=())
    annotations: tuple[Annotation, ...] = field("annotations", POD_ANNOTATIONS, default=())


class ExposedPort(Record):
    """A port of the host that leads to a port of an app, found by name unless `pod_port` is given."""

    name: str = field("name", AC_NAME, default="", demanded=True)
    host_port: int = field("hostPort", _host_port, default=0, demanded=True)
    host_ip: str = field("hostIP", _host_ip, default="")
    pod_port: Port | None = field("podPort", Port.decode, default=None)


def _apps(items: tuple[RuntimeApp, ...], faults: Faults) -> tuple[RuntimeApp, ...]:
    unique(items, "name", "app", faults)
    return items


def _volumes(items: tuple[Volume, ...], faults: Faults) -> tuple[Volume, ...]:
    unique(items, "name", "volume", faults)
    return items


class PodManifest(Record):
    """The apps that run together, their volumes, isolators and exposed ports."""

    ac_version: str = field("acVersion", common.version, default=common.AC_VERSION, absent="", demanded=True)
    ac_kind: str = common.ac_kind("PodManifest")
    apps: tuple[RuntimeApp, ...] = field("apps", list_of(RuntimeApp.decode, _apps), default=(), demanded=True)
    volumes: tuple[Volume, ...] = field("volumes", list_of(Volume.decode, _volumes), default=())
    isolators: tuple[Isolator, ...] = field("isolators", list_of(Isolator.decode, pod_isolators), default=())
    annotations: tuple[Annotation, ...] = field("annotations", POD_ANNOTATIONS, default=())
    ports: tuple[ExposedPort, ...] = field("ports", list_of(ExposedPort.decode), default=())
    user_annotations: Mapping[str, str] = field("userAnnotations", USER_MAP, default=frozen_dict({}))
    user_labels: Mapping[str, str] = field("userLabels", USER_MAP, default=frozen_dict({}))

    def _check(self, faults: Faults) -> None:
        if faults.strict:
            _check_references(self, faults)

    def app(self, name: str) -> RuntimeApp | None:
        """The app called `name`."""
        return next((app for app in self.apps if app.name == name), None)

    def volume(self, name: str) -> Volume | None:
        """The volume called `name`."""
        return next((volume for volume in self.volumes if volume.name == name), None)

    def check_executable(self, images: Mapping[str, ImageManifest] | None = None) -> None:
        """Raise ManifestError unless the pod is reified: everything an executor needs is there and fits together.

        `images` gives the image manifest of apps (by app name) that have no `app` of their own.
        """
        from appc.schema.executable import check_pod

        faults = check_pod(self, images or {})
        faults.check()


def _check_references(pod: PodManifest, faults: Faults) -> None:
    """The rules of the text that tie one part of a pod to another."""
    names = {volume.name for volume in pod.volumes if volume is not None}
    ports: dict[str, str] = {}
    for index, app in enumerate(pod.apps):
        if app is None:
            continue
        for at, mount in enumerate(app.mounts):
            if mount is not None and mount.volume and mount.app_volume is None and mount.volume not in names:
                faults.add(f'there is no volume "{mount.volume}"', f"apps[{index}].mounts[{at}].volume")
        for at, port in enumerate(app.app.ports if app.app is not None else ()):
            if port is None or not port.name:
                continue
            path = f"apps[{index}].app.ports[{at}]"
            if port.name in ports:
                faults.add(f'is the second port called "{port.name}" in the pod; the first is {ports[port.name]}', path)
            ports.setdefault(port.name, path)
