"""From a request and its images to a reified pod manifest (pods.md): every app named, every image
by ID, every mount point with a volume.

Precedence for the environment, lowest first: inherited from the caller, the image, the pod's
`--set-env`, the app's `--env`. App-level words beat pod-level ones, which beat the image's.
"""

from __future__ import annotations

from appc.errors import AppcError, UsageError
from appc.pods.request import AppRequest, PodRequest
from appc.schema.executable import normal_path
from appc.schema.image import Annotation, App, EnvVar
from appc.schema.pod import ExposedPort, Mount, PodManifest, RuntimeApp, RuntimeImage, Volume
from appc.values import ACName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.schema.image import ImageManifest, MountPoint
    from appc.schema.isolators import Isolator
    from appc.store.images import StoredImage

AC_VERSION = "0.8.11"
# Only one of each group may stand in an app, so an override removes its whole group.
EXCLUSIVE = (
    {"os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set"},
    {"os/linux/seccomp-retain-set", "os/linux/seccomp-remove-set"},
)

# Says "true" of an app that tells by sd_notify(3) when it is ready; rkt's name.
SUPPORTS_NOTIFY = "appc.io/executor/supports-systemd-notify"


def reify(request: PodRequest, images: list[StoredImage], warnings: list[str]) -> PodManifest:
    """Return the reified manifest of `request`, whose apps rest on `images` (same order).

    Raises AppcError for an image without an app, name clashes, mounts of unknown volumes.
    """
    volumes = _unique_volumes(request.volumes)
    apps: list[RuntimeApp] = []
    for wanted, image in zip(request.apps, images, strict=True):
        name = _app_name(wanted, image, apps)
        app = _overridden_app(wanted, request, image, name)
        given = {str(isolator.name) for isolator in wanted.isolators}
        _warn_of_dangers([one for one in app.isolators if str(one.name) not in given], name, warnings)
        mounts = _mounts(wanted, request, app, name, volumes, warnings)
        apps.append(
            RuntimeApp(
                name=name,
                image=RuntimeImage(name=image.name, id=image.id, labels=image.labels),
                app=app,
                read_only_root_fs=wanted.read_only_root_fs,
                mounts=mounts,
                annotations=_annotations(wanted, image),
            )
        )
    return PodManifest(
        ac_version=AC_VERSION,
        ac_kind="PodManifest",
        apps=tuple(apps),
        volumes=tuple(volumes.values()),
        ports=tuple(ExposedPort(name=port, host_ip=ip, host_port=number) for port, ip, number in request.ports),
        isolators=request.isolators,
        annotations=tuple(Annotation(name=key, value=value) for key, value in request.annotations),
        user_annotations=dict(request.user_annotations),
        user_labels=dict(request.user_labels),
    )


def complete(manifest: PodManifest, images: list[StoredImage], request: PodRequest, warnings: list[str]) -> PodManifest:
    """Fill the apps of a given pod manifest from their images where the manifest leaves them out.

    An image that was asked for by name is from then on this one; a mount point of which no mount tells gets the volume
    that is called as it is, if there is one.
    """
    volumes = {volume.name for volume in manifest.volumes}
    apps = []
    for entry, image in zip(manifest.apps, images, strict=True):
        app = entry.app or _image_app(image.manifest, f"app {entry.name}")
        if entry.app is None:
            _warn_of_dangers(app.isolators, str(entry.name), warnings)
        if request.inherited:
            app = app.replace(environment=_merged(request.inherited, _pairs(app)))
        apps.append(
            entry.replace(
                app=app,
                image=_resolved(entry.image, image),
                mounts=_with_volumes(entry.mounts, app, volumes),
                annotations=_with_readiness(tuple(entry.annotations), image),
            )
        )
    return manifest.replace(apps=tuple(apps))


def _resolved(wanted: RuntimeImage, image: StoredImage) -> RuntimeImage:
    if wanted.id is not None:
        return wanted.replace(name=wanted.name or image.name)
    return RuntimeImage(name=image.name, id=image.id, labels=image.labels)


def _with_volumes(given: tuple[Mount, ...], app: App, volumes: set[str]) -> tuple[Mount, ...]:
    taken = {normal_path(mount.path) for mount in given}
    return given + tuple(
        Mount(volume=point.name, path=point.path)
        for point in app.mount_points
        if point.name in volumes and normal_path(point.path) not in taken
    )


def _annotations(wanted: AppRequest, image: StoredImage) -> tuple[Annotation, ...]:
    pairs = wanted.annotations
    if wanted.restart:
        from appc.schema import policies

        pairs += ((policies.RESTART, wanted.restart),)
    if wanted.health or wanted.handler_timeout:
        from appc.schema import policies

        given = ((policies.HEALTH, wanted.health), (policies.HANDLER_TIMEOUT, wanted.handler_timeout))
        pairs += tuple(pair for pair in given if pair[1])
    if wanted.devices:
        from appc.schema import policies

        pairs += ((policies.DEVICES, " ".join(wanted.devices)),)
    return _with_readiness(tuple(Annotation(name=key, value=value) for key, value in pairs), image)


def _with_readiness(given: tuple[Annotation, ...], image: StoredImage) -> tuple[Annotation, ...]:
    """Return the annotations of an app; what its image says of how it starts holds unless they say it, too."""
    value = image.manifest.annotation(SUPPORTS_NOTIFY)
    if not value or any(str(annotation.name) == SUPPORTS_NOTIFY for annotation in given):
        return given
    return (*given, Annotation(name=SUPPORTS_NOTIFY, value=value))


def _app_name(wanted: AppRequest, image: StoredImage, apps: list[RuntimeApp]) -> str:
    name = wanted.name or ACName.sanitized(str(image.name).rpartition("/")[2])
    if any(app.name == name for app in apps):
        raise UsageError(
            "two apps of the pod would have this name", f"app {name}", "give one of them another with --name"
        )
    return name


def _image_app(manifest: ImageManifest, where: str) -> App:
    if manifest.app is None:
        raise AppcError(
            f"image {manifest.name} has no app section", where, "give the command to run with --exec PROGRAM"
        )
    return manifest.app


def _overridden_app(wanted: AppRequest, request: PodRequest, image: StoredImage, name: str) -> App:
    if image.manifest.app is None and wanted.exec_:
        app = App(exec=(), user="0", group="0")
    else:
        app = _image_app(image.manifest, f"app {name}")
    command = (wanted.exec_ or tuple(app.exec)) + wanted.args
    if not command:
        raise AppcError("has no command to run", f"app {name}", "give one with --exec PROGRAM")
    environment = _merged(request.inherited, _pairs(app), request.environment, wanted.environment)
    changes: dict[str, object] = {
        "exec": command,
        "environment": environment,
        "isolators": merged_isolators(tuple(app.isolators), wanted.isolators),
        "user_annotations": {**app.user_annotations, **dict(wanted.user_annotations)},
        "user_labels": {**app.user_labels, **dict(wanted.user_labels)},
    }
    if wanted.user:
        changes["user"] = wanted.user
    if wanted.group:
        changes["group"] = wanted.group
    if wanted.supplementary_gids is not None:
        changes["supplementary_gids"] = wanted.supplementary_gids
    if wanted.working_directory:
        changes["working_directory"] = wanted.working_directory
    return app.replace(**changes)


def _warn_of_dangers(isolators: Sequence[Isolator], name: str, warnings: list[str]) -> None:
    """Say when an image, and not the user, takes its app out of containment."""
    if not isolators:
        return
    from appc.formats.privileges import dangers

    warnings += [f"app {name}: its image has it {danger}" for danger in dangers(isolators)]


def _pairs(app: App) -> tuple[tuple[str, str], ...]:
    return tuple((str(variable.name), variable.value or "") for variable in app.environment)


def _merged(*layers: tuple[tuple[str, str], ...]) -> tuple[EnvVar, ...]:
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update(layer)
    return tuple(EnvVar(name=name, value=value) for name, value in merged.items())


def merged_isolators(own: tuple[Isolator, ...], overrides: tuple[Isolator, ...]) -> tuple[Isolator, ...]:
    """Return `own` with `overrides` in the place of those of the same name, or of the same group of EXCLUSIVE."""
    replaced: set[str] = set()
    for isolator in overrides:
        name = str(isolator.name)
        replaced |= next((group for group in EXCLUSIVE if name in group), {name})
    return tuple(isolator for isolator in own if str(isolator.name) not in replaced) + overrides


def _unique_volumes(volumes: tuple[Volume, ...]) -> dict[str, Volume]:
    by_name: dict[str, Volume] = {}
    for volume in volumes:
        if str(volume.name) in by_name:
            raise UsageError("is given twice", f"volume {volume.name}")
        by_name[str(volume.name)] = volume
    return by_name


def _mounts(
    wanted: AppRequest,
    request: PodRequest,
    app: App,
    name: str,
    volumes: dict[str, Volume],
    warnings: list[str],
) -> tuple[Mount, ...]:
    explicit = {normal_path(mount.path): mount for mount in (*request.mounts, *wanted.mounts)}
    for mount in explicit.values():
        if str(mount.volume) not in volumes:
            raise UsageError(
                f"is mounted at {mount.path} but not defined",
                f"volume {mount.volume}",
                f"add --volume {mount.volume},kind=host,source=/PATH",
            )
    mounts = list(explicit.values())
    for point in app.mount_points:
        if normal_path(point.path) in explicit:
            continue
        mounts.append(Mount(volume=_volume_for(point, name, volumes, request, warnings), path=point.path))
    return tuple(mounts)


def _volume_for(
    point: MountPoint, app_name: str, volumes: dict[str, Volume], request: PodRequest, warnings: list[str]
) -> str:
    name = str(point.name)
    if name in volumes:
        return name
    hint = f"--volume {name},kind=host,source=/PATH"
    if request.strict:
        raise AppcError(f"no volume fulfils mount point {name} ({point.path})", f"app {app_name}", f"add {hint}")
    implicit = f"{app_name}-{name}"
    warnings.append(f"app {app_name}: no volume for mount point {name} ({point.path}); an empty one is used, {hint}")
    volumes[implicit] = Volume(name=implicit, kind="empty")
    return implicit
