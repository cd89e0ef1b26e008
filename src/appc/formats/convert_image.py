"""From the configuration of an OCI or docker image to an image manifest, by the rules that docker2aci set.

Where those lose or break something a user of the image would miss they are amended: relative working directories are
relative to the root, the group of a user is looked up, labels become user labels, ranges of ports become ranges.
"""

from __future__ import annotations

from appc.errors import ArchiveError, InvalidValue, ManifestError
from appc.formats.oci_image import SourceImage, platform_of
from appc.formats.tarnames import printable
from appc.schema.common import Annotation
from appc.schema.image import App, Dependency, EnvVar, ImageManifest, MountPoint, Port
from appc.schema.json import dumps, loads
from appc.values import ACIdentifier, ACName, Labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from appc.schema.oci_image import Process

PREFIX = "appc.io/docker/"
ENTRYPOINT = PREFIX + "entrypoint"
CMD = PREFIX + "cmd"
STOP_SIGNAL = PREFIX + "stopsignal"
MANIFEST_HASH = PREFIX + "manifesthash"

_ZERO_TIME = "0001-01-01T00:00:00Z"


class Naming:
    """What an image made of an OCI image is called: name and version, and where the name came from."""

    __slots__ = ("name", "original", "registry", "repository", "tag")

    def __init__(
        self, name: ACIdentifier, tag: str, original: str = "", registry: str = "", repository: str = ""
    ) -> None:
        self.name = name
        self.tag = tag
        self.original = original
        self.registry = registry
        self.repository = repository


def naming(reference: str, fallback: str, name: str = "") -> Naming:
    """Name an image after `reference`, what its layout or archive calls it.

    A bare tag says nothing of the name: then it is `fallback`, the file's own name. `name` overrides both.
    """
    registry = ""
    repository, tag = fallback, ""
    bare = reference.partition("@")[0]
    if "/" in bare or ":" in bare:
        repository, colon, tag = bare.rpartition(":")
        if not colon or "/" in tag:
            repository, tag = bare, ""
        first, slash, _ = repository.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry = first
    elif bare:
        tag = bare
    own = ACIdentifier.parse(name) if name else ACIdentifier.sanitized(repository)
    shown = repository.removeprefix(f"{registry}/") if registry else repository
    return Naming(own, tag, reference if reference != tag else "", registry, shown)


def manifest_of(
    image: SourceImage, names: Naming, accounts: Mapping[str, bytes], warnings: list[str], *, parent: Dependency | None
) -> ImageManifest:
    """The manifest of the ACI that is made of `image`.

    `accounts` are its etc/passwd and etc/group; `parent` is the image below it when its layers become images each.
    What cannot be said in a manifest is left out, with a sentence in `warnings`. Raises ArchiveError when the
    configuration has values no manifest may have.
    """
    config = image.config
    annotations = [
        ("authors", config.author),
        ("created", _created(config.created, warnings)),
        ("docker-comment", config.comment),
        (PREFIX + "originalname", names.original),
        (PREFIX + "registryurl", names.registry),
        (PREFIX + "repository", names.repository),
        (PREFIX + "tag", names.tag),
        (PREFIX + "imageid", image.config_digest),
        (PREFIX + "parentimageid", config.parent),
        (MANIFEST_HASH, image.manifest_digest),
        (ENTRYPOINT, dumps(list(config.config.entrypoint)) if config.config.entrypoint else ""),
        (CMD, dumps(list(config.config.cmd)) if config.config.cmd else ""),
        (STOP_SIGNAL, config.config.stop_signal),
    ]
    try:
        return ImageManifest(
            name=names.name,
            labels=_labels(image, names, warnings),
            app=_app(config.config, accounts, image.annotations, warnings),
            dependencies=(parent,) if parent is not None else (),
            annotations=tuple(Annotation(name=name, value=value) for name, value in annotations if value),
        )
    except ManifestError as error:
        raise ArchiveError(f"cannot be an App Container Image: {_first(error)}", image.blobs.where) from None


def command_of(manifest: ImageManifest, app: App) -> tuple[list[str], list[str]] | None:
    """Entrypoint and Cmd as they once were, if the program is still what they come to."""
    before = []
    for name in (ENTRYPOINT, CMD):
        try:
            before.append(loads(manifest.annotation(name, "[]")))
        except ManifestError:
            return None
    entrypoint, cmd = before
    if isinstance(entrypoint, list) and isinstance(cmd, list) and entrypoint + cmd == list(app.exec):
        return entrypoint, cmd
    return None


def layer_manifest(image: SourceImage, names: Naming, diff_id: str, parent: Dependency | None) -> ImageManifest:
    """The manifest of an image made of one of the lower layers: files alone, for others to depend on."""
    name = f"{names.name}-{diff_id.replace(':', '-')}"
    return ImageManifest(
        name=ACIdentifier.parse(name),
        labels=_labels(image, Naming(names.name, ""), []),
        dependencies=(parent,) if parent is not None else (),
    )


def _first(error: ManifestError) -> str:
    path, what = error.faults[0]
    return f"{path}: {what}" if path else what


def _labels(image: SourceImage, names: Naming, warnings: list[str]) -> Labels:
    pairs = [("version", names.tag)] if names.tag else []
    config = image.config
    platform = platform_of(config.os, config.architecture, config.variant)
    if platform is not None:
        pairs += [("os", platform[0]), ("arch", platform[1])]
    elif config.os or config.architecture:
        warnings.append(f"no labels stand for the platform {printable(f'{config.os}/{config.architecture}')}")
    return Labels.of(pairs)


def _created(created: str, warnings: list[str]) -> str:
    if created in ("", _ZERO_TIME):
        return ""
    try:
        Annotation(name="created", value=created)
    except ManifestError:
        warnings.append(f"its date of creation is no date and was left out: {printable(created)}")
        return ""
    return created


def _app(process: Process, accounts: Mapping[str, bytes], annotations: Mapping[str, str], warnings: list[str]) -> App:
    user, group = _user(process.user, accounts)
    directory = process.working_directory
    if directory and not directory.startswith("/"):
        directory = f"/{directory}"
    return App(
        exec=process.entrypoint + process.cmd,
        user=user,
        group=group,
        working_directory=directory,
        environment=_environment(process.environment, warnings),
        mount_points=_mount_points(process.volumes, warnings),
        ports=_ports(process.ports or process.port_specs),
        user_labels=dict(process.labels),
        user_annotations=dict(annotations),
    )


def _user(text: str, accounts: Mapping[str, bytes]) -> tuple[str, str]:
    """User and group: the group given, or else the user's own by /etc/passwd, or else the one called like the user."""
    user, colon, group = text.partition(":")
    user = user or "0"
    if group:
        return user, group
    if not text or (colon and user == "0"):
        return user, "0"
    groups = [fields[0] for fields in _table(accounts.get("etc/group", b""), 3)]
    for fields in _table(accounts.get("etc/passwd", b""), 4):
        if user in (fields[0], fields[2]) and fields[3].isdecimal():
            return user, user if user == fields[0] and user in groups else fields[3]
    return user, user


def _table(data: bytes, count: int) -> list[list[str]]:
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    return [fields for fields in (line.split(":") for line in lines) if len(fields) >= count]


def _environment(items: Iterable[str], warnings: list[str]) -> tuple[EnvVar, ...]:
    found: dict[str, EnvVar] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            continue
        try:
            found[name] = EnvVar(name=name, value=value)
        except ManifestError:
            warnings.append(f"its variable {printable(name)!r} has a name no manifest may have and was left out")
    return tuple(found.values())


def _mount_points(volumes: Iterable[str], warnings: list[str]) -> tuple[MountPoint, ...]:
    found: list[MountPoint] = []
    taken: set[str] = set()
    for path in sorted(volumes):
        if not path.startswith("/"):
            warnings.append(f"its volume {printable(path)!r} is no absolute path and was left out")
            continue
        found.append(MountPoint(name=volume_name(path, taken), path=path))
    return tuple(sorted(found, key=lambda point: point.name))


def volume_name(path: str, taken: set[str]) -> str:
    """Name the mount point of a volume at `path` as docker2aci does, and unlike all in `taken`, which it joins."""
    plain = name = str(ACName.sanitized(f"volume{path}"))
    count = 0
    while name in taken:
        count += 1
        name = f"{plain}-{count}"
    taken.add(name)
    return name


def _ports(specs: Iterable[str]) -> tuple[Port, ...]:
    found = []
    for spec in specs:
        numbers, _, protocol = spec.partition("/")
        low, dash, high = numbers.partition("-")
        if not all(part.isascii() and part.isdecimal() and len(part) < 6 for part in ((low, high) if dash else (low,))):
            raise InvalidPort(spec)
        count = int(high) - int(low) + 1 if dash else 1
        if count < 1:
            raise InvalidPort(spec)
        try:
            port = Port(name=ACName.sanitized(spec), protocol=protocol or "tcp", port=int(low), count=count)
        except (ManifestError, InvalidValue):
            raise InvalidPort(spec) from None
        found.append(port)
    return tuple(sorted(found, key=lambda port: str(port.name)))


class InvalidPort(ArchiveError):
    """An exposed port that is none."""

    def __init__(self, spec: str) -> None:
        super().__init__(f"exposes the port {printable(spec)!r}, which is none")
