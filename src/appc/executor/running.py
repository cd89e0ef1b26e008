"""A pod in the Python API: what can be asked of it, and done to it."""

from __future__ import annotations

import os
import threading

from appc.config import Directories
from appc.errors import HostError, PodNotFound, PodStateError, UsageError
from appc.executor import control
from appc.executor.status import describe
from appc.oserrors import explain
from appc.pods import layout, logs
from appc.pods.request import AppRequest, PodRequest
from appc.schema.isolators import Isolator
from appc.schema.pod import Volume
from appc.store.images import StoredImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from appc.executor.attach import Attachment
    from appc.images.network import Network
    from appc.pods.logs import LogLine


class HostErrors:
    """A block out of which an OSError comes as the AppcError that the command line would say."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and error.errno is not None:
            _, where, what, hint = explain(error)
            raise HostError(what, where, hint) from error


class RunningPod:
    """A pod, running or ended. `warnings` holds what was noteworthy about the start of it, and of apps since."""

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
        with HostErrors():
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
        with HostErrors():
            ready = control.wait_ready(self._pod, timeout)
        if ready:
            return
        state = self._pod.refresh().state()
        if state == "exited":
            raise PodStateError("has ended", f"pod {self.uuid}")
        raise TimeoutError(f"pod {self.uuid} is {state}, not all of its apps are ready")

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until the pod has ended and return its exit status; TimeoutError after `timeout` seconds."""
        with HostErrors():
            ended = control.wait(self._pod, timeout)
        if not ended:
            raise TimeoutError(f"pod {self.uuid} is still running")
        self._reap(ended=True)
        return self.exit_status

    def stop(self, *, force: bool = False, timeout: float | None = None) -> None:
        """End the pod (SIGTERM, then SIGKILL after its grace time; `force`: SIGKILL now) and wait for its end.

        TimeoutError after `timeout` seconds.
        """
        with HostErrors():
            ended = control.stop(self._pod.refresh(), force=force, timeout=timeout)
        if not ended:
            raise TimeoutError(f"pod {self.uuid} is still stopping")
        self._reap(ended=True)

    def update(self, app: str = "", *, memory: str = "", cpu: str = "", isolators: Sequence[Isolator] = ()) -> None:
        """Change limits of an app, or of the whole pod, while it runs: quantities ("512Mi", "250m"), or isolators.

        Raises PodStateError when the pod does not run, Unenforceable for what cannot be enforced as asked.
        """
        from appc.executor.update import update

        with HostErrors():
            update(self._pod.refresh(), app, [*limits_of(memory, cpu), *isolators], strict=True)

    def add_app(
        self,
        *apps: StoredImage | str | AppRequest,
        volumes: Mapping[str, str | None] | None = None,
        ports: Mapping[str, int | str] | None = None,
        insecure: Sequence[str] = (),
        offline: bool = False,
        directories: Directories | None = None,
    ) -> list[str]:
        """Start more apps, and return their names; arguments are `run`'s. When one cannot be started, none stays.

        Raises PodStateError when the pod does not run, AppcError.
        """
        from appc.executor.addition import add

        where = directories or Directories(self._pod.root)
        network = network_of(where, insecure, offline)
        request = PodRequest(
            tuple(
                app if isinstance(app, AppRequest) else AppRequest(app if isinstance(app, str) else str(app.id))
                for app in apps
            ),
            volumes=volumes_of(volumes),
            ports=tuple(port_of(port, place) for port, place in (ports or {}).items()),
            insecure=tuple(insecure),
            network=lambda: network,
        )
        found: list[str] = []
        with HostErrors():
            names = add(self._pod.refresh(), where, request, found)
        self.warnings += tuple(found)
        return names

    def stop_app(self, app: str, *, grace: float = 10.0) -> None:
        """End one app (SIGTERM, SIGKILL after `grace` seconds); the pod goes on, and the app can be started again."""
        from appc.executor import apps

        with HostErrors():
            apps.stop(self._pod.refresh(), app, grace=grace)

    def start_app(self, app: str) -> None:
        """Start an app that has ended again, in the root it left; PodStateError when it runs."""
        from appc.executor import apps

        found: list[str] = []
        with HostErrors():
            apps.start(self._pod.refresh(), app, found)
        self.warnings += tuple(found)

    def remove_app(self, app: str, *, force: bool = False) -> None:
        """Remove an app that has ended (`force`: kill it first) from the pod; PodStateError when it is the last."""
        from appc.executor import apps

        with HostErrors():
            apps.remove(self._pod.refresh(), app, force=force)

    def kill(self, signal: int, app: str = "") -> None:
        """Send a signal to one app, or to all; PodStateError when none of them runs."""
        with HostErrors():
            reached = control.kill(self._pod.refresh(), signal, app)
        if not reached:
            raise PodStateError(f"{'app ' + app if app else 'none of its apps'} is not running", f"pod {self.uuid}")

    def logs(
        self,
        app: str = "",
        *,
        follow: bool = False,
        since_ns: int = 0,
        until_ns: int = 2**63,
        tail: int | None = None,
    ) -> Iterator[LogLine]:
        """Yield what the apps wrote, line by line; with `follow` until the pod ends, or the time is `until_ns`.

        Times are nanoseconds since the epoch; of what is there already, only the last `tail` lines are yielded.
        """
        names = control.chosen_apps(self._pod.refresh(), (app,) if app else ())
        return logs.read(self._pod, names, follow=follow, since_ns=since_ns, until_ns=until_ns, tail=tail)

    def attach(self, app: str = "", streams: Sequence[str] = ("stdin", "stdout", "stderr")) -> Attachment:
        """Attach to streams of an app (which, when there are several): see `appc.executor.attach.Attachment`.

        Its stdin can be written if it is "stream" or a terminal. Raises PodStateError when the app does not run.
        """
        from appc.executor.attach import Attachment

        pod = self._pod.refresh()
        names = control.chosen_apps(pod, (app,) if app else ())
        if len(names) > 1:
            raise UsageError("there are several apps", f"pod {self.uuid}", f"name one of {', '.join(names)}")
        with HostErrors():
            return Attachment(pod, names[0], streams)

    def remove(self) -> None:
        """Remove the ended pod with all it wrote."""
        with HostErrors():
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


def network_of(where: Directories, insecure: Sequence[str], offline: bool) -> Network:
    """Return the network by which images are fetched, with what of its protections is relaxed."""
    from appc.images.network import Network

    return Network(where.config, where.settings, insecure, offline=offline)


def limits_of(memory: str, cpu: str) -> list[Isolator]:
    """Return the isolators that quantities such as "512Mi" and "250m" mean, none for ""."""
    return [
        Isolator.parse_string(f"resource/{kind},limit={quantity}")
        for kind, quantity in (("memory", memory), ("cpu", cpu))
        if quantity
    ]


def port_of(name: str, place: int | str) -> tuple[str, str, int]:
    """Return the port `name` of an app and the place on the host, 8080 or "192.0.2.1:8080", as a request has them."""
    address, _, number = str(place).rpartition(":")
    if not number.isdecimal():
        raise UsageError(f"{place!r} is not a port, or ADDRESS:PORT", f"port {name}")
    return name, address.strip("[]"), int(number)


def volumes_of(volumes: Mapping[str, str | None] | None) -> tuple[Volume, ...]:
    """Return volumes by name, of paths of the host, or empty where there is None."""
    return tuple(
        Volume(name=volume, kind="host", source=source) if source else Volume(name=volume, kind="empty")
        for volume, source in (volumes or {}).items()
    )
