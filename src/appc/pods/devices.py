"""The devices of the host that an app is given: device nodes, with what the Container Device Interface adds to them."""

from __future__ import annotations

import os
import stat

from appc.errors import AppcError, HostError, ManifestError
from appc.schema.devices import DeviceName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from appc.pods.volumes import ResolvedMount
    from appc.schema.cdi import CdiMount, DeviceNode, Edits

# What the metadata service knows an app by is not a vendor's to change.
_OURS = ("AC_APP_NAME", "AC_METADATA_URL")
_SUFFIXES = (".json", ".yaml", ".yml")


class Given:
    """What an app gets with its devices, as parts of an OCI configuration.

    `nodes` are entries of linux.devices, `rules` of linux.resources.devices; `mounts` with the targets of those that
    are `files`; `env` and `gids`. `sources` has the host's path of a node, by its path. `left_out` says what a vendor
    asks for and an app of a pod does not get.
    """

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.rules: list[dict[str, Any]] = []
        self.mounts: list[dict[str, Any]] = []
        self.files: list[str] = []
        self.env: list[str] = []
        self.gids: list[int] = []
        self.left_out: list[str] = []
        self.sources: dict[str, str] = {}

    def apply(self, config: dict[str, Any], *, bound: bool = False) -> None:
        """Put all of it into an OCI configuration; `bound` where nodes cannot be made, but mounted from the host."""
        if bound:
            for node in self.nodes:
                path = node["path"]
                mount = {"destination": path, "type": "bind", "source": self.sources.get(path, path)}
                self.mounts.append({**mount, "options": ["bind"]})
                self.files.append(path)
            self.nodes = []
        process, linux = config["process"], config["linux"]
        replaced = {entry.partition("=")[0] for entry in self.env}
        process["env"] = [entry for entry in process["env"] if entry.partition("=")[0] not in replaced] + self.env
        process["user"]["additionalGids"] += [gid for gid in self.gids if gid not in process["user"]["additionalGids"]]
        config["mounts"] += self.mounts
        linux["devices"] = [*linux["devices"], *self.nodes]
        linux["resources"]["devices"] = [*linux["resources"]["devices"], *self.rules]

    def add_path(self, name: DeviceName, where: str) -> None:
        """Give the device at a path, or all below a directory. Raises AppcError when there is none."""
        if not os.path.isdir(name.path):
            self._node(_look(name.path, where), name.target, name.access)
            self.sources[name.target] = name.path
            return
        found = False
        for directory, _, files in os.walk(name.path):
            for file in sorted(files):
                path = f"{directory}/{file}"
                if stat.S_IFMT(os.stat(path, follow_symlinks=False).st_mode) in (stat.S_IFCHR, stat.S_IFBLK):
                    found = True
                    target = name.target.rstrip("/") + path[len(name.path) :]
                    self._node(_look(path, where), target, name.access)
                    self.sources[target] = path
        if not found:
            raise AppcError("there is no device in this directory", f"{where}: {name.path}")

    def add_edits(self, edits: Edits, where: str) -> None:
        """Give what a spec says. Raises AppcError for a device that is not there."""
        for node in edits.device_nodes:
            self._add_cdi_node(node, where)
        for mount in edits.mounts:
            self._add_cdi_mount(mount, where)
        self.env += [entry for entry in edits.env if entry.partition("=")[0] not in _OURS]
        self.gids += edits.gids
        self.left_out += sorted(key for key, value in edits.extra.items() if value and key not in self.left_out)

    def add_volume(self, mount: ResolvedMount) -> None:
        """Let the app use a volume that is a device of the host."""
        found = os.stat(mount.source)
        if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            kind = "b" if stat.S_ISBLK(found.st_mode) else "c"
            self._rule(kind, os.major(found.st_rdev), os.minor(found.st_rdev), "r" if mount.read_only else "rw")

    def _node(self, found: dict[str, Any], target: str, access: str) -> None:
        self.nodes.append({"path": target, **found})
        self._rule(found["type"], found["major"], found["minor"], access)

    def _rule(self, kind: str, major: int, minor: int, access: str) -> None:
        kind = "c" if kind == "u" else kind
        self.rules.append({"allow": True, "type": kind, "major": major, "minor": minor, "access": access})

    def _add_cdi_node(self, node: DeviceNode, where: str) -> None:
        own = {"type": node.type or None, "major": node.major, "minor": node.minor}
        found = _look(node.host_path or node.path, where) if None in own.values() else {}
        own.update(fileMode=node.mode, uid=node.uid, gid=node.gid)
        found.update((key, value) for key, value in own.items() if value is not None)
        self._node(found, node.path, node.permissions)
        self.sources[node.path] = node.host_path or node.path

    def _add_cdi_mount(self, mount: CdiMount, where: str) -> None:
        options = list(mount.options)
        if mount.type in ("", "bind"):
            if not os.path.exists(mount.host_path):
                raise HostError("is not there", f"{where}: {mount.host_path}")
            if "bind" not in options and "rbind" not in options:
                options.append("rbind")
            if not os.path.isdir(mount.host_path):
                self.files.append(mount.container_path)
        entry = {"destination": mount.container_path, "type": mount.type or "bind", "source": mount.host_path}
        self.mounts.append({**entry, "options": options})


def give(names: Iterable[DeviceName], directories: Sequence[str], where: str) -> Given:
    """Return what an app gets with the devices `names`; CDI specs are in `directories`, a later one before an earlier.

    Raises AppcError, its place beginning with `where`, for a device that is not there.
    """
    given = Given()
    seen = set()
    for name in names:
        if name.path:
            given.add_path(name, where)
            continue
        spec, edits = _find(name, directories, where)
        place = f"{where}: {name.kind}={name.device}"
        if name.kind not in seen and spec is not None:
            given.add_edits(spec, place)
        seen.add(name.kind)
        given.add_edits(edits, place)
    return given


def _look(path: str, where: str) -> dict[str, Any]:
    """Return type, numbers, mode and owner of a device of the host."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise HostError(f"is not a device of this host: {error.strerror}", f"{where}: {path}") from None
    if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        raise AppcError("is not a device", f"{where}: {path}", "files and directories are given by --volume")
    return {
        "type": "b" if stat.S_ISBLK(found.st_mode) else "c",
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }


def _find(name: DeviceName, directories: Sequence[str], where: str) -> tuple[Edits | None, Edits]:
    """Return the edits of the spec that has a device, and those of the device."""
    known = []
    for directory in reversed(directories):
        matches = []
        for path in _files(directory):
            spec = _read(path)
            if spec.kind != name.kind:
                continue
            known += [str(device.name) for device in spec.devices]
            matches += [(path, spec.edits, device.edits) for device in spec.devices if device.name == name.device]
        if len(matches) > 1:
            both = " and ".join(path for path, _, _ in matches[:2])
            raise AppcError(f"is in {both}", f"{where}: {name.kind}={name.device}", "remove one of them")
        if matches:
            return matches[0][1:]
    hint = f"there are {', '.join(sorted(known))}" if known else f"specs are files of {' and '.join(directories)}"
    raise AppcError("there is no such device", f"{where}: {name.kind}={name.device}", hint)


def _files(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(_SUFFIXES)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(path: str) -> Any:
    from appc.schema.cdi import SPEC_LIMIT, Spec

    try:
        with open(path, "rb") as stream:
            data = stream.read(SPEC_LIMIT + 1)
    except OSError as error:
        raise HostError(f"cannot be read: {error.strerror}", path) from None
    if len(data) > SPEC_LIMIT:
        raise ManifestError([("", f"is larger than {SPEC_LIMIT} bytes")], path)
    if path.endswith(".json"):
        return Spec.parse(data, where=path)
    from appc.formats.layout import from_yaml

    return Spec.parse(from_yaml(data, path), where=path)
