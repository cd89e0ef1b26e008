"""The Python API: what `import appc` offers, without a process in between.

Every call takes the same defaults as the command line (root, state, configuration directories) and
raises `appc.errors.*`. A pod outlives the program that started it unless it is stopped; used as a
context manager it is stopped at the end of the block.
"""

from __future__ import annotations

from appc.config import Directories as Directories
from appc.errors import UsageError
from appc.executor.launch import launch
from appc.executor.prepare import prepare
from appc.executor.running import HostErrors, limits_of, network_of, port_of, volumes_of
from appc.executor.running import RunningPod as RunningPod
from appc.pods import layout
from appc.pods.request import AppRequest, PodRequest
from appc.schema.isolators import Isolator
from appc.schema.pod import Mount
from appc.store.images import ImageStore, StoredImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Protocol

    from appc.executor.events import Event

    class Socket(Protocol):
        """A socket, as the standard library's."""

        def fileno(self) -> int: ...


App = AppRequest
"""One app of a pod: an image and what to change about it; see `appc.pods.request.AppRequest`."""


def fetch(
    reference: str,
    *,
    signature: str = "",
    insecure: Sequence[str] = (),
    pull: str = "update",
    offline: bool = False,
    passphrase: bytes | None = None,
    warnings: list[str] | None = None,
    directories: Directories | None = None,
) -> StoredImage:
    """Return the image that `reference` means (any IMAGE form), imported and verified if need be.

    `passphrase` is that of an encrypted file; `insecure` may hold "image", "tls" and "http", `pull` is new, update or
    never, and `offline` leaves the network alone, as on the command line. `warnings` gets what should be known
    although it worked. Raises ImageNotFound, SignatureError, ArchiveError, ManifestError, NetworkError or another
    AppcError.
    """
    from appc.images.fetch import resolve

    where = directories or Directories()
    network = network_of(where, insecure, offline)
    said: list[str] = [] if warnings is None else warnings
    with HostErrors():
        image = resolve(
            ImageStore(where.root),
            reference,
            pull=pull,
            insecure=tuple(insecure),
            signature=signature,
            config=where.config,
            keep=where.settings.images_keep_original,
            passphrase=None if passphrase is None else lambda _: passphrase,
            warnings=said,
            network=lambda: network,
        )
    said += network.relaxed()
    return image


def list_images(*, directories: Directories | None = None) -> list[StoredImage]:
    """Return the images in the store, by ID."""
    with HostErrors():
        return list(ImageStore((directories or Directories()).root).list())


def run(
    *apps: StoredImage | str | AppRequest,
    args: Sequence[str] = (),
    name: str = "",
    exec: str = "",
    env: Mapping[str, str] | None = None,
    user: str = "",
    group: str = "",
    working_dir: str = "",
    memory: str = "",
    cpu: str = "",
    restart: str = "",
    health: str = "",
    mounts: Mapping[str, str] | None = None,
    volumes: Mapping[str, str | None] | None = None,
    net: str = "",
    ports: Mapping[str, int | str] | None = None,
    sockets: Mapping[str, Socket] | None = None,
    hostname: str = "",
    private_users: str = "",
    runtime: str = "",
    isolators: Sequence[Isolator] = (),
    read_only: bool = False,
    strict: bool = False,
    verify: bool = False,
    insecure: Sequence[str] = (),
    pull: str = "new",
    offline: bool = False,
    grace: float | None = None,
    directories: Directories | None = None,
) -> RunningPod:
    """Start a pod and return it when all its apps run.

    Each of `apps` is an image (as `fetch` returns it, or any IMAGE form) or an `App`. The words from
    `args` to `health`, `mounts` (target path to volume name) and `read_only` describe the app when there
    is just one image; `volumes` maps names to host paths, or to None for an empty volume. `memory` and
    `cpu` are quantities ("512Mi", "250m"); `restart` is "on-failure" or "always", with ":N" N times in a row at most;
    `health` is as `--health` has it ("http=8080/health");
    `grace` is the time between SIGTERM and SIGKILL in seconds, the configuration's when not given; `net` is none, host
    or the names of networks (by default none, or `default` when there are ports); `ports` opens ports of apps, by name,
    on the host: 8080, or "192.0.2.1:8080"; `sockets` are handed to the apps for their ports with `socketActivated`, by
    name; `private_users` gives the pod users of its own: "auto", or BASE[:COUNT] of the host's; `runtime` is the OCI
    runtime that makes the apps, as `--runtime` has it; `isolators` are the pod's, which bound its apps'; `verify`
    refuses images whose files are not as they were imported; `insecure`, `pull` and `offline` are those of `fetch`.
    Raises AppcError; nothing runs then.
    """
    single = len(apps) == 1 and not isinstance(apps[0], AppRequest)
    described = any((args, name, exec, env, user, group, working_dir, memory, cpu, restart, health, mounts, read_only))
    if described and not single:
        raise UsageError("options of an app need just one image", "appc.run", "pass appc.App(image, …) for each app")
    limits = limits_of(memory, cpu)
    requests = []
    for app in apps:
        if isinstance(app, AppRequest):
            requests.append(app)
            continue
        requests.append(
            AppRequest(
                app if isinstance(app, str) else str(app.id),
                name=name,
                exec_=(exec,) if exec else (),
                args=tuple(args),
                user=user,
                group=group,
                working_directory=working_dir,
                environment=tuple((env or {}).items()),
                mounts=tuple(Mount(volume=volume, path=path) for path, volume in (mounts or {}).items()),
                isolators=tuple(limits),
                restart=restart,
                health=health,
                read_only_root_fs=read_only,
            )
        )
    where = directories or Directories()
    network = network_of(where, insecure, offline)
    warnings: list[str] = []
    request = PodRequest(
        tuple(requests),
        volumes=volumes_of(volumes),
        net=net or ("default" if ports else "none"),
        ports=tuple(port_of(port, place) for port, place in (ports or {}).items()),
        hostname=hostname,
        private_users=private_users,
        runtime=runtime,
        isolators=tuple(isolators),
        strict=strict,
        verify=verify,
        insecure=tuple(insecure),
        pull=pull,
        network=lambda: network,
        grace=where.settings.stop_grace if grace is None else grace,
    )
    with HostErrors():
        prepared = prepare(where, request, warnings)
        if sockets:
            from appc.executor.sockets import look_at

            prepared.given = tuple(look_at(one.fileno(), port) for port, one in sockets.items())
        keeper = launch(prepared, where)
    return RunningPod(prepared.pod, warnings, keeper)


def pod(uuid: str, *, directories: Directories | None = None) -> RunningPod:
    """Return the pod whose UUID begins with `uuid`; PodNotFound when there is none or more than one."""
    return RunningPod(layout.find((directories or Directories()).root, uuid), [], None)


def list_pods(*, directories: Directories | None = None) -> list[RunningPod]:
    """Return all pods of this host."""
    return [RunningPod(entry, [], None) for entry in layout.every((directories or Directories()).root)]


def events(*uuids: str, directories: Directories | None = None) -> Iterator[Event]:
    """Yield what happens to pods from now on; with `uuids` (whole ones), to these until they have ended.

    An event has `time_ns` (since the epoch), `pod`, `kind` (as `appc events` prints it), `app` and `details`.
    """
    from appc.executor.events import follow

    return follow((directories or Directories()).root, uuids)
