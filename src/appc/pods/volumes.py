"""Volume Setup (ace.md): which host path is mounted where in an app, checked before the launch.

Sources are looked at here for a clear message, and resolved again without following symbolic links
at the moment of the mount, so a path swapped in between gains nothing.
"""

from __future__ import annotations

import os
import stat

from appc.errors import AppcError
from appc.schema.executable import normal_path
from appc.schema.pod import PodManifest, RuntimeApp, Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.images.view import TreeView


class ResolvedMount:
    """A host path to bind at `target` in an app's root.

    `is_directory` tells what the source is; `replaces_file` that the image has a file where a
    directory will be mounted, so it has to go first.
    """

    __slots__ = ("is_directory", "read_only", "recursive", "replaces_file", "source", "target", "volume")

    def __init__(
        self,
        volume: str,
        source: str,
        target: str,
        read_only: bool,
        recursive: bool,
        is_directory: bool,
        replaces_file: bool,
    ) -> None:
        self.volume = volume
        self.source = source
        self.target = target
        self.read_only = read_only
        self.recursive = recursive
        self.is_directory = is_directory
        self.replaces_file = replaces_file


def resolve(
    manifest: PodManifest, entry: RuntimeApp, volumes_dir: str, view: TreeView, warnings: list[str]
) -> list[ResolvedMount]:
    """Return the mounts of one app of a pod that is executable (`check_executable`), by target.

    Raises AppcError for a source that is missing or led to by a symbolic link, and for targets that overlap by way of
    links in the image.
    """
    where = f"app {entry.name}"
    points = {normal_path(point.path): point for point in (entry.app.mount_points if entry.app else ())}
    mounts: list[ResolvedMount] = []
    for mount in entry.mounts:
        target = normal_path(mount.path)
        volume = mount.app_volume or manifest.volume(mount.volume)
        assert volume is not None, "check_executable was called before"
        point = points.get(target)
        read_only = volume.read_only if volume.read_only is not None else bool(point and point.read_only)
        source = volumes_dir + f"/{volume.name}" if volume.kind == "empty" else str(volume.source)
        is_directory = volume.kind == "empty" or _checked_source(volume, where)
        replaces = _look_at_target(view, target, is_directory, where, warnings)
        recursive = volume.recursive is not False and volume.kind == "host"
        mounts.append(
            ResolvedMount(str(volume.name), source, target, bool(read_only), recursive, is_directory, replaces)
        )
    mounts.sort(key=lambda mount: mount.target)
    _refuse_overlaps([(mount.target, _real_target(view, mount.target)) for mount in mounts], where)
    return mounts


def make_empty(manifest: PodManifest, directory: str) -> None:
    """Make the pod's empty volumes below `directory`, with the mode and owner their volume asks for."""
    overrides = [mount.app_volume for app in manifest.apps for mount in app.mounts if mount.app_volume]
    for volume in (*manifest.volumes, *overrides):
        if volume.kind != "empty":
            continue
        path = f"{directory}/{volume.name}"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        os.chown(path, volume.uid or 0, volume.gid or 0)
        os.chmod(path, int(volume.mode or "0755", 8))


def _checked_source(volume: Volume, where: str) -> bool:
    """Refuse missing sources and symbolic links anywhere in them; return whether it is a directory."""
    source = str(volume.source)
    path = ""
    for part in [part for part in source.split("/") if part]:
        path += "/" + part
        try:
            mode = os.lstat(path).st_mode
        except OSError as error:
            raise AppcError(
                f"source {source} of volume {volume.name}: {os.strerror(error.errno or 0)}",
                where,
                "volume sources must exist; appc makes none on the host",
            ) from None
        if stat.S_ISLNK(mode):
            raise AppcError(
                f"source {source} of volume {volume.name}: {path} is a symbolic link",
                where,
                f"name the real path: {os.path.realpath(source)}",
            )
    return path == "" or stat.S_ISDIR(mode)


def _real_target(view: TreeView, target: str) -> str:
    """The target with the image's links followed, as far as it exists there."""
    parts = target.split("/")
    for count in range(len(parts), 1, -1):
        try:
            return "/".join((view.lookup("/".join(parts[:count]))[0].rstrip("/"), *parts[count:]))
        except OSError:
            continue
    return target


def _refuse_overlaps(targets: list[tuple[str, str]], where: str) -> None:
    for index, (target, real) in enumerate(targets):
        for other, other_real in targets[:index]:
            if f"{real}/".startswith(f"{other_real}/") or f"{other_real}/".startswith(f"{real}/"):
                raise AppcError(f"the mount at {target} overlaps the one at {other}", where)


def _look_at_target(view: TreeView, target: str, is_directory: bool, where: str, warnings: list[str]) -> bool:
    """Warn of what a volume hides in the image; return True when a file has to make way."""
    try:
        mode = view.stat(target).st_mode
    except OSError:
        return False
    if not stat.S_ISDIR(mode):
        how = "replaced" if is_directory else "masked"
        warnings.append(f"{where}: the image's file {target} is {how} by a volume")
        return is_directory
    if not is_directory:
        raise AppcError(f"a file cannot be mounted over the image's directory {target}", where)
    if view.listdir(target):
        warnings.append(f"{where}: the image's files below {target} are masked by a volume")
    return False
