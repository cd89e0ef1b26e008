"""From image manifests to the configuration and annotations of an OCI image, and what brings the images back.

An OCI image has no place for much of a manifest: name and labels, isolators, event handlers, names of ports and mount
points, dependencies. So the manifests themselves go along, in the label `io.appc.image` of the configuration, which
every tool that copies images keeps. Together with the layers they give the same ACIs again; when an image was
changed or built upon since, that shows, and what still holds of the manifest goes into a new one.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

from appc.errors import AppcError, InvalidValue
from appc.formats.convert_image import STOP_SIGNAL, command_of
from appc.schema.image import ImageManifest
from appc.schema.json import dumps, loads
from appc.schema.oci_image import ImageConfig, Process
from appc.schema.platforms import to_go
from appc.values import Digest, ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from appc.schema.image import App, Port

RECORD = "io.appc.image"
ANNOTATION_PREFIX = "io.appc."
_VERSION = 1
_MAX_PORTS = 100
# Tools refuse configurations of more than 4 MiB, in which every quote of the label is escaped.
_MAX_RECORD = 1 << 20
# The most bytes of logs of headers that go along in the record.
MOST_HEADERS = 192 << 10
_STANDARD = {
    "created": "org.opencontainers.image.created",
    "authors": "org.opencontainers.image.authors",
    "homepage": "org.opencontainers.image.url",
    "documentation": "org.opencontainers.image.documentation",
}


class Origin:
    """The ACI a layer was made from.

    The log of its headers is `headers`, or in the blob with the digest `log`, or neither, when none is needed; then
    `manifest_time`, in nanoseconds, matters.
    """

    __slots__ = ("diff_id", "headers", "image_id", "log", "manifest", "manifest_time")

    def __init__(
        self,
        image_id: ImageID,
        diff_id: str,
        manifest: bytes,
        manifest_time: int,
        log: str = "",
        headers: bytes = b"",
    ) -> None:
        self.image_id = image_id
        self.diff_id = diff_id
        self.manifest = manifest
        self.manifest_time = manifest_time
        self.log = log
        self.headers = headers


class Record:
    """The ACIs an OCI image was made from, the lowest first, the image itself last.

    `adjusted` is the diff ID of a last layer that does what path whitelists do, "" when there is none.
    """

    __slots__ = ("adjusted", "origins")

    def __init__(self, origins: Iterable[Origin], adjusted: str = "") -> None:
        self.origins = tuple(origins)
        self.adjusted = adjusted

    @property
    def diff_ids(self) -> list[str]:
        """The layers of the OCI image."""
        return [origin.diff_id for origin in self.origins] + ([self.adjusted] if self.adjusted else [])

    def to_json(self) -> str:
        """The text that goes into the label."""
        images = []
        for origin in self.origins:
            one: dict[str, Any] = {"id": str(origin.image_id), "diffID": origin.diff_id}
            if origin.headers:
                one["headers"] = b2a_base64(origin.headers, newline=False).decode()
            else:
                one |= {"log": origin.log} if origin.log else {"time": origin.manifest_time}
            images.append({**one, "manifest": origin.manifest.decode("utf-8")})
        record: dict[str, Any] = {"version": _VERSION, "images": images}
        if self.adjusted:
            record["adjusted"] = self.adjusted
        return dumps(record)

    @classmethod
    def parse(cls, text: str) -> Record | None:
        """Read the label; None for what this version does not understand: it may have come from anywhere."""
        try:
            document = loads(text)
            if document["version"] != _VERSION or not document["images"]:
                return None
            origins = [_origin(one) for one in document["images"]]
            adjusted = document.get("adjusted", "")
            return cls(origins, Digest.parse(adjusted) if adjusted else "")
        except (AppcError, KeyError, TypeError, AttributeError, ValueError):
            return None


def _origin(one: dict[str, Any]) -> Origin:
    log = one.get("log", "")
    time = one.get("time", 0)
    if not isinstance(time, int) or not 0 <= time < 1 << 63 or not isinstance(one["manifest"], str):
        raise ValueError
    manifest = one["manifest"].encode("utf-8")
    ImageManifest.parse(manifest)
    headers = a2b_base64(one.get("headers", ""), strict_mode=True)
    diff_id = Digest.parse(one["diffID"])
    return Origin(ImageID.parse(one["id"]), diff_id, manifest, time, Digest.parse(log) if log else "", headers)


def config_of(record: Record, platform: tuple[str, str], warnings: list[str]) -> dict[str, Any]:
    """The configuration of the OCI image made of the ACIs in `record`, for `docker run` and its kin.

    `platform` is (os, arch) in appc's words, for images that do not say theirs. What OCI cannot express is still in
    the label; `warnings` says what is without effect outside of appc.
    """
    manifest = ImageManifest.parse(record.origins[-1].manifest)
    process = process_of(manifest, warnings)
    label = record.to_json()
    if len(label) <= _MAX_RECORD:
        process["Labels"] = {**process.get("Labels", {}), RECORD: label}
    else:
        warnings.append(
            f"its manifests are longer than {_MAX_RECORD} bytes, so the same ACI cannot be had back from it"
        )
    config: dict[str, Any] = {}
    if created := manifest.annotation("created"):
        config["created"] = created
    if authors := manifest.annotation("authors"):
        config["author"] = authors
    config |= _platform(manifest, platform)
    config["config"] = process
    config["rootfs"] = {"type": "layers", "diff_ids": record.diff_ids}
    return config


def annotations_of(record: Record) -> dict[str, str]:
    """The annotations of the OCI image, so that people and tools see what it is without reading the label."""
    top = record.origins[-1]
    manifest = ImageManifest.parse(top.manifest)
    found = {
        f"{ANNOTATION_PREFIX}image-id": str(top.image_id),
        f"{ANNOTATION_PREFIX}name": str(manifest.name),
        "org.opencontainers.image.title": str(manifest.name),
    }
    if manifest.labels:
        found[f"{ANNOTATION_PREFIX}labels"] = dumps(dict(manifest.labels))
    if version := manifest.labels.get("version"):
        found["org.opencontainers.image.version"] = version
    for own, standard in _STANDARD.items():
        if value := manifest.annotation(own):
            found[standard] = value
    return found


def _platform(manifest: ImageManifest, default: tuple[str, str]) -> dict[str, str]:
    os = manifest.labels.get("os") or default[0]
    arch = manifest.labels.get("arch") or default[1]
    try:
        os, architecture, variant = to_go(os, arch)
    except InvalidValue:
        return {"architecture": arch, "os": os}
    return {"architecture": architecture, "os": os} | ({"variant": f"v{variant}"} if variant else {})


def process_of(manifest: ImageManifest, warnings: list[str]) -> dict[str, Any]:
    """The part of the configuration that says how to execute the image."""
    app = manifest.app
    if app is None:
        return {}
    found: dict[str, Any] = {}
    if user := _user(app, warnings):
        found["User"] = user
    if ports := _ports(app.ports, warnings):
        found["ExposedPorts"] = ports
    if app.environment:
        found["Env"] = [f"{variable.name}={variable.value}" for variable in app.environment]
    entrypoint, cmd = command_of(manifest, app) or (list(app.exec), [])
    if entrypoint:
        found["Entrypoint"] = entrypoint
    if cmd:
        found["Cmd"] = cmd
    if app.mount_points:
        found["Volumes"] = {path: {} for path in sorted({point.path for point in app.mount_points})}
    if app.working_directory:
        found["WorkingDir"] = app.working_directory
    if app.user_labels:
        found["Labels"] = dict(app.user_labels)
    if signal := manifest.annotation(STOP_SIGNAL):
        found["StopSignal"] = signal
    for what, present in (("isolators", app.isolators), ("event handlers", app.event_handlers)):
        if present:
            warnings.append(f"its {what} are carried along, but other tools take no notice of them")
    return found


def _user(app: App, warnings: list[str]) -> str:
    if app.user.startswith("/") or app.group.startswith("/"):
        warnings.append("its user or group is the owner of a file, which OCI images cannot say: other tools use root")
        return ""
    return "" if app.user == app.group == "0" else f"{app.user}:{app.group}"


def _ports(ports: Iterable[Port], warnings: list[str]) -> dict[str, Any]:
    numbers: set[tuple[int, str]] = set()
    for port in ports:
        if port.count > _MAX_PORTS:
            warnings.append(f"of its {port.count} ports called {port.name} the first {_MAX_PORTS} are exposed")
        numbers.update((port.port + index, port.protocol) for index in range(min(port.count, _MAX_PORTS)))
    return {f"{number}/{protocol}": {} for number, protocol in sorted(numbers)}


# -- the way back -----------------------------------------------------------------------------------


def record_in(config: ImageConfig) -> Record | None:
    """The record that came with an image, None when there is none, or none that is understood."""
    text = config.config.labels.get(RECORD, "")
    return Record.parse(text) if text else None


def unchanged(config: ImageConfig, record: Record) -> bool:
    """Whether an image is still what `config_of` made of `record`: the same layers, executed in the same way."""
    if [str(diff_id) for diff_id in config.rootfs.diff_ids] != record.diff_ids:
        return False
    manifest = ImageManifest.parse(record.origins[-1].manifest)
    expected = Process.parse(process_of(manifest, []))
    platform = _platform(manifest, (config.os, config.architecture))
    if manifest.labels.get("os") and (platform["os"], platform["architecture"]) != (config.os, config.architecture):
        return False
    return _essence(expected) == _essence(config.config)


def _essence(process: Process) -> tuple[object, ...]:
    labels = {name: value for name, value in process.labels.items() if name != RECORD}
    return (
        process.user,
        process.environment,
        process.entrypoint,
        process.cmd,
        process.working_directory or "/",
        set(process.ports),
        set(process.volumes),
        labels,
        process.stop_signal,
    )


def renewed(fresh: ImageManifest, config: ImageConfig, record: Record) -> ImageManifest:
    """`fresh`, made of an image that was changed, with what only the old manifest says: isolators, event handlers,
    names of ports and mount points; the image's name and labels as well, unless something was built upon it."""
    old = ImageManifest.parse(record.origins[-1].manifest)
    changes: dict[str, object] = {}
    if fresh.app is not None:
        labels = {name: value for name, value in fresh.app.user_labels.items() if name != RECORD}
        app = fresh.app.replace(user_labels=labels)
        if old.app is not None:
            ports = {(port.port, port.protocol): port for port in old.app.ports}
            points = {point.path: point for point in old.app.mount_points}
            app = app.replace(
                isolators=old.app.isolators,
                event_handlers=old.app.event_handlers,
                ports=tuple(ports.get((port.port, port.protocol), port) for port in app.ports),
                mount_points=tuple(points.get(point.path, point) for point in app.mount_points),
            )
        changes["app"] = app
    if [str(diff_id) for diff_id in config.rootfs.diff_ids] == record.diff_ids:
        changes |= {"name": old.name, "labels": old.labels}
    return fresh.replace(**changes)
