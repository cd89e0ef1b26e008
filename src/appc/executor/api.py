"""The Python API: what `import appc` offers, without a process in between.

Every call takes the same defaults as the command line (root, state, configuration directories) and
raises `appc.errors.*`. A pod outlives the program that started it unless it is stopped; used as a
context manager it is stopped at the end of the block.
"""

from __future__ import annotations

import os
import threading

from appc.config import Directories as Directories
from appc.errors import HostError, PodNotFound, PodStateError, UsageError
from appc.executor import control
from appc.executor.launch import launch
from appc.executor.prepare import prepare
from appc.executor.status import describe
from appc.oserrors import explain
from appc.pods import layout, logs
from appc.pods.request import AppRequest, PodRequest
from appc.schema.isolators import Isolator
from appc.schema.pod import Mount, Volume
from appc.store.images import ImageStore, StoredImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Protocol

    from appc.executor.attach import Attachment
    from appc.executor.events import Event
    from appc.images.network import Network
    from appc.pods.logs import LogLine

    class Socket(Protocol):
        """A socket, as the standard library's."""

        def fileno(self) -> int: ...


App = AppRequest
"""One app of a pod: an image and what to change about it; see `appc.pods.request.AppRequest`."""


class _HostErrors:
    """A block out of which an OSError comes as the AppcError that the command line would say."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and error.errno is not None:
            _, where, what, hint = explain(error)
            raise HostError(what, where, hint) from error


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
    network = _network(where, insecure, offline)
    said: list[str] = [] if warnings is None else warnings
    with _HostErrors():
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


def _network(where: Directories, insecure: Sequence[str], offline: bool) -> Network:
    from appc.images.network import Network

    return Network(where.config, where.settings, insecure, offline=offline)


def list_images(*, directories: Directories | None = None) -> list[StoredImage]:
    """Return the images in the store, by ID."""
    with _HostErrors():
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
    name; `runtime` is the OCI runtime that makes the apps, as `--runtime` has it; `isolators` are the pod's, which
    bound its apps'; `verify` refuses images whose files are not as they were imported; `insecure`, `pull` and `offline`
    are those of `fetch`. Raises AppcError; nothing runs then.
    """
    single = len(apps) == 1 and not isinstance(apps[0], AppRequest)
    described = any((args, name, exec, env, user, group, working_dir, memory, cpu, restart, health, mounts, read_only))
    if described and not single:
        raise UsageError("options of an app need just one image", "appc.run", "pass appc.App(image, …) for each app")
    limits = _limits(memory, cpu)
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
    network = _network(where, insecure, offline)
    warnings: list[str] = []
    request = PodRequest(
        tuple(requests),
        volumes=_volumes(volumes),
        net=net or ("default" if ports else "none"),
        ports=tuple(_port(port, place) for port, place in (ports or {}).items()),
        hostname=hostname,
        runtime=runtime,
        isolators=tuple(isolators),
        strict=strict,
        verify=verify,
        insecure=tuple(insecure),
        pull=pull,
        network=lambda: network,
        grace=where.settings.stop_grace if grace is None else grace,
    )
    with _HostErrors():
        prepared = prepare(where, request, warnings)
        if sockets:
            from appc.executor.sockets import look_at

            prepared.given = tuple(look_at(one.fileno(), port) for port, one in sockets.items())
        keeper = launch(prepared, where)
    return RunningPod(prepared.pod, warnings, keeper)


def _limits(memory: str, cpu: str) -> list[Isolator]:
    return [
        Isolator.parse_string(f"resource/{kind},limit={quantity}")
        for kind, quantity in (("memory", memory), ("cpu", cpu))
        if quantity
    ]


def _volumes(volumes: Mapping[str, str | None] | None) -> tuple[Volume, ...]:
    return tuple(
        Volume(name=volume, kind="host", source=source) if source else Volume(name=volume, kind="empty")
        for volume, source in (volumes or {}).items()
    )


def _port(name: str, place: int | str) -> tuple[str, str, int]:
    address, _, number = str(place).rpartition(":")
    if not number.isdecimal():
        raise UsageError(f"{place!r} is not a port, or ADDRESS:PORT", f"port {name}")
    return name, address.strip("[]"), int(number)


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


class RunningPod:
    """A pod, running or ended. `warnings` holds what was noteworthy about its start."""

    def __init__(self, pod: layout.Pod, warnings: list[str], keeper: int | None) -> None:
        self._pod = pod
        self._keeper = keeper
        self._reaping = threading.Lock()
        self.warnings = tuple(warnings)

    def __repr__(self) -> str:
        return f"<pod {self.uuid}>"

    def __enter__(self) -> RunningPod:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except PodNotFound:
            # Removed within the block.
            pass

    @property
    def uuid(self) -> str:
        """The pod's UUID."""
        return self._pod.uuid

    @property
    def status(self) -> dict[str, Any]:
        """The pod's status document: what `appc status --format json` prints."""
        self._reap()
        with _HostErrors():
            return describe(self._pod.refresh())

    @property
    def exit_status(self) -> int | None:
        """The pod's exit status (the first failing app's; 128+N for signal N), None while it runs or when unknown."""
        status: int | None = self.status["exit-status"]
        return status

    @property
    def manifest(self) -> dict[str, Any]:
        """The reified pod manifest, as parsed JSON."""
        return self._pod.manifest()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Return when all apps are ready; PodStateError when it has ended, TimeoutError after `timeout` seconds."""
        with _HostErrors():
            ready = control.wait_ready(self._pod, timeout)
        if ready:
            return
        state = self._pod.refresh().state()
        if state == "exited":
            raise PodStateError("has ended", f"pod {self.uuid}")
        raise TimeoutError(f"pod {self.uuid} is {state}, not all of its apps are ready")

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until the pod has ended and return its exit status; TimeoutError after `timeout` seconds."""
        with _HostErrors():
            ended = control.wait(self._pod, timeout)
        if not ended:
            raise TimeoutError(f"pod {self.uuid} is still running")
        self._reap(ended=True)
        return self.exit_status

    def stop(self, *, force: bool = False, timeout: float | None = None) -> None:
        """End the pod (SIGTERM, then SIGKILL after its grace time; `force`: SIGKILL now) and wait for its end.

        TimeoutError after `timeout` seconds.
        """
        with _HostErrors():
            ended = control.stop(self._pod.refresh(), force=force, timeout=timeout)
        if not ended:
            raise TimeoutError(f"pod {self.uuid} is still stopping")
        self._reap(ended=True)

    def update(self, app: str = "", *, memory: str = "", cpu: str = "", isolators: Sequence[Isolator] = ()) -> None:
        """Change limits of an app, or of the whole pod, while it runs: quantities ("512Mi", "250m"), or isolators.

        Raises PodStateError when the pod does not run, Unenforceable for what cannot be enforced as asked.
        """
        from appc.executor.update import update

        with _HostErrors():
            update(self._pod.refresh(), app, [*_limits(memory, cpu), *isolators], strict=True)

    def add_app(
        self,
        *apps: StoredImage | str | AppRequest,
        volumes: Mapping[str, str | None] | None = None,
        insecure: Sequence[str] = (),
        offline: bool = False,
        directories: Directories | None = None,
    ) -> list[str]:
        """Start more apps, and return their names; arguments are `run`'s. When one cannot be started, none stays.

        Raises PodStateError when the pod does not run, AppcError.
        """
        from appc.executor.addition import add

        where = directories or Directories(self._pod.root)
        network = _network(where, insecure, offline)
        request = PodRequest(
            tuple(
                app if isinstance(app, AppRequest) else AppRequest(app if isinstance(app, str) else str(app.id))
                for app in apps
            ),
            volumes=_volumes(volumes),
            insecure=tuple(insecure),
            network=lambda: network,
        )
        with _HostErrors():
            return add(self._pod.refresh(), where, request, [])

    def stop_app(self, app: str, *, grace: float = 10.0) -> None:
        """End one app (SIGTERM, SIGKILL after `grace` seconds); the pod goes on, and the app can be started again."""
        from appc.executor import apps

        with _HostErrors():
            apps.stop(self._pod.refresh(), app, grace=grace)

    def start_app(self, app: str) -> None:
        """Start an app that has ended again, in the root it left; PodStateError when it runs."""
        from appc.executor import apps

        with _HostErrors():
            apps.start(self._pod.refresh(), app, [])

    def remove_app(self, app: str, *, force: bool = False) -> None:
        """Remove an app that has ended (`force`: kill it first) from the pod; PodStateError when it is the last."""
        from appc.executor import apps

        with _HostErrors():
            apps.remove(self._pod.refresh(), app, force=force)

    def kill(self, signal: int, app: str = "") -> None:
        """Send a signal to one app, or to all; PodStateError when none of them runs."""
        with _HostErrors():
            reached = control.kill(self._pod.refresh(), signal, app)
        if not reached:
            raise PodStateError(f"{'app ' + app if app else 'none of its apps'} is not running", f"pod {self.uuid}")

    def logs(
        self, app: str = "", *, follow: bool = False, since_ns: int = 0, until_ns: int = 2**63
    ) -> Iterator[LogLine]:
        """Yield what the apps wrote, line by line; with `follow` until the pod ends."""
        names = control.chosen_apps(self._pod.refresh(), (app,) if app else ())
        return logs.read(self._pod, names, follow=follow, since_ns=since_ns, until_ns=until_ns)

    def attach(self, app: str = "", streams: Sequence[str] = ("stdin", "stdout", "stderr")) -> Attachment:
        """Attach to streams of an app (which, when there are several): see `appc.executor.attach.Attachment`.

        Its stdin can be written if it is "stream" or a terminal. Raises PodStateError when the app does not run.
        """
        from appc.executor.attach import Attachment

        pod = self._pod.refresh()
        names = control.chosen_apps(pod, (app,) if app else ())
        if len(names) > 1:
            raise UsageError("there are several apps", f"pod {self.uuid}", f"name one of {', '.join(names)}")
        with _HostErrors():
            return Attachment(pod, names[0], streams)

    def remove(self) -> None:
        """Remove the ended pod with all it wrote."""
        with _HostErrors():
            control.remove(self._pod.refresh())

    def _reap(self, ended: bool = False) -> None:
        """Collect the keeper's own exit when it is our child, so that no zombie is left.

        A keeper of a pod that has `ended` is worth waiting for: letting go of the lock is the last thing it does.
        """
        with self._reaping:
            if self._keeper is None:
                return
            try:
                pid, _ = os.waitpid(self._keeper, 0 if ended else os.WNOHANG)
            except ChildProcessError:
                pid = self._keeper
            if pid:
                self._keeper = None
