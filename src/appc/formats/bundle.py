"""From the configuration of an OCI runtime bundle to an image manifest, as oci2aci has it.

A bundle says how a container runs on one host; what of that belongs to the image goes into the manifest: program,
directory, environment, user, hooks, mounts from outside, limits and capabilities.
"""

from __future__ import annotations

from appc.errors import ArchiveError, InvalidValue, ManifestError
from appc.formats.convert_image import volume_name
from appc.formats.tarnames import printable
from appc.schema.common import Annotation
from appc.schema.image import POST_STOP, PRE_START, App, EnvVar, EventHandler, ImageManifest, MountPoint
from appc.schema.isolators import CAPS_RETAIN, Isolator
from appc.values import ACIdentifier, Labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CONFIG = "config.json"
# File systems that every container gets from whoever runs it.
_PROVIDED = ("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2")
_CREATED = "org.opencontainers.image.created"


def manifest_of(
    config: Mapping[str, Any], name: str, platform: tuple[str, str], warnings: list[str], where: str
) -> ImageManifest:
    """The manifest for the root of a bundle, given its (valid) config.json. `platform` is (os, arch) in appc's words.

    Raises ArchiveError when it has values no manifest may have.
    """
    process = config.get("process") or {}
    annotations = config.get("annotations") or {}
    try:
        return ImageManifest(
            name=ACIdentifier.parse(name),
            labels=Labels.of((("os", platform[0]), ("arch", platform[1]))),
            app=_app(config, process, annotations, warnings) if process else None,
            annotations=(Annotation(name="created", value=annotations[_CREATED]),) if _CREATED in annotations else (),
        )
    except (ManifestError, InvalidValue) as error:
        first = ": ".join(filter(None, error.faults[0])) if isinstance(error, ManifestError) else error.what
        raise ArchiveError(f"cannot be an App Container Image: {first}", where) from None


def _app(config: Mapping[str, Any], process: Mapping[str, Any], annotations: Any, warnings: list[str]) -> App:
    user = process.get("user") or {}
    return App(
        exec=tuple(process.get("args") or ()),
        user=str(user.get("uid", 0)),
        group=str(user.get("gid", 0)),
        supplementary_gids=tuple(user.get("additionalGids") or ()),
        working_directory=process.get("cwd") or "",
        environment=_environment(process.get("env") or (), warnings),
        event_handlers=_handlers(config.get("hooks") or {}, warnings),
        mount_points=_mount_points(config.get("mounts") or ()),
        isolators=_isolators(config, process),
        user_annotations={key: value for key, value in annotations.items() if key != _CREATED},
    )


def _environment(items: Any, warnings: list[str]) -> tuple[EnvVar, ...]:
    found: dict[str, EnvVar] = {}
    for item in items:
        name, equals, value = item.partition("=")
        try:
            if equals:
                found[name] = EnvVar(name=name, value=value)
        except ManifestError:
            warnings.append(f"its variable {printable(name)!r} has a name no manifest may have and was left out")
    return tuple(found.values())


def _handlers(hooks: Mapping[str, Any], warnings: list[str]) -> tuple[EventHandler, ...]:
    found = []
    for key, name in (("prestart", PRE_START), ("poststop", POST_STOP)):
        listed = hooks.get(key) or ()
        if listed:
            first = listed[0]
            # The hook's own first argument is the name it is called by; a handler has none.
            found.append(EventHandler(name=name, exec=(first["path"], *(first.get("args") or ())[1:])))
            warnings.append(f"its {key} hook ran outside of the container; the {name} handler runs inside")
        if len(listed) > 1:
            warnings.append(f"of its {len(listed)} {key} hooks the first became the handler: an image has only one")
    for key in sorted(hooks):
        if key not in ("prestart", "poststop") and hooks[key]:
            warnings.append(f"an image has no place for its {key} hooks")
    return tuple(found)


def _mount_points(mounts: Any) -> tuple[MountPoint, ...]:
    found: list[MountPoint] = []
    taken: set[str] = set()
    for mount in mounts:
        path = mount["destination"]
        if mount.get("type") in _PROVIDED or path in ("/dev", "/proc", "/sys") or path.startswith(("/dev/", "/sys/")):
            continue
        path = path if path.startswith("/") else f"/{path}"
        read_only = any(option in ("ro", "rro") for option in mount.get("options") or ())
        found.append(MountPoint(name=volume_name(path, taken), path=path, read_only=read_only))
    return tuple(found)


def _isolators(config: Mapping[str, Any], process: Mapping[str, Any]) -> tuple[Isolator, ...]:
    resources = (config.get("linux") or {}).get("resources") or {}
    found: list[tuple[str, Any]] = []
    cpu = resources.get("cpu") or {}
    if (cpu.get("quota") or 0) > 0:
        found.append(("resource/cpu", {"limit": f"{cpu['quota'] * 1000 // (cpu.get('period') or 100_000)}m"}))
    if cpu.get("shares"):
        found.append(("os/linux/cpu-shares", min(max(cpu["shares"], 2), 262144)))
    memory = (resources.get("memory") or {}).get("limit") or 0
    if memory > 0:
        found.append(("resource/memory", {"limit": str(memory)}))
    pids = (resources.get("pids") or {}).get("limit") or 0
    if pids > 0:
        found.append(("resource/pids", {"limit": str(pids)}))
    capabilities = process.get("capabilities")
    if capabilities is not None:
        # An isolator must name at least one; of no capability at all only the absence of a right to gain any is left.
        kept = capabilities.get("bounding") or []
        if kept:
            found.append((CAPS_RETAIN, {"set": list(kept)}))
    if process.get("noNewPrivileges"):
        found.append(("os/linux/no-new-privileges", True))
    if process.get("oomScoreAdj") is not None:
        found.append(("os/linux/oom-score-adj", process["oomScoreAdj"]))
    if process.get("apparmorProfile"):
        found.append(("os/linux/apparmor-profile", {"profile": process["apparmorProfile"]}))
    label = (process.get("selinuxLabel") or "").split(":", 3)
    if len(label) == 4:
        found.append(("os/linux/selinux-context", dict(zip(("user", "role", "type", "level"), label, strict=True))))
    return tuple(Isolator.parse({"name": name, "value": value}) for name, value in found)
