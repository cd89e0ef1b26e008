"""Apps that come to a pod that runs: prepared and compiled as at a launch, and told to the pod's keeper as a change."""

from __future__ import annotations

import os

from appc.errors import AppcError, PodNotFound, Unenforceable, UsageError
from appc.executor import joining, outcome
from appc.executor.apps import clear, perform
from appc.executor.compilation import Compilation, declared_ports
from appc.executor.links import limit_again
from appc.executor.prepare import DETACHED, Prepared, check_platform, fill_apps, find_images, stream_modes
from appc.executor.update import keep_outcome
from appc.host import cgroup_update, cgroupfs, probe
from appc.network import later, setup
from appc.plan import wire, wire_read
from appc.plan.compile_change import compile_addition
from appc.plan.ops import Plan
from appc.pods import reify
from appc.pods.changes import Changing
from appc.pods.layout import CHANGED
from appc.pods.request import PodRequest
from appc.schema import policies
from appc.schema.pod import PodManifest
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.config import Directories
    from appc.host.probe import HostFacts
    from appc.network.setup import Networked
    from appc.pods.layout import Pod

# The files that say what is so of a pod.
_FILES = ("pod", "request", "isolators", "plan")


def add(pod: Pod, where: Directories, request: PodRequest, warnings: list[str]) -> list[str]:
    """Start the apps of `request` in a pod that runs, and return their names; of the pod's volumes they may mount all.

    Of the request count its apps, volumes, and what is said of images and strictness; the rest is the pod's. A
    refusal or a start that fails leaves the pod as it was. Raises PodStateError for a pod that does not run, AppcError,
    OSError.
    """
    with Changing(pod):
        addition = _Addition(pod, where, request, warnings)
        addition.carry_out()
        return addition.names


class _Compilation(Compilation):
    """The new apps, compiled for the pod as it was launched."""

    def __init__(self, prepared: Prepared, where: Directories, facts: HostFacts, networked: Networked | None) -> None:
        self._first = _next_number(prepared.pod.file("notify"))
        super().__init__(prepared, prepared.pod, where, DETACHED, facts, networked)

    def _service(self) -> tuple[int, str]:
        return joining.service_port(self.pod), self.pod.read("token").decode()

    def _alone(self) -> bool:
        return False

    def _notify_file(self, index: int) -> str:
        return f"notify/{self._first + index}"


class _Addition:
    """One addition; making one refuses what can be refused before anything is made."""

    def __init__(self, pod: Pod, where: Directories, request: PodRequest, warnings: list[str]) -> None:
        self.pod = pod
        self.where = where
        self.warnings = warnings
        self.facts = probe.facts()
        self.store = ImageStore(where.root)
        self.old = PodManifest.parse(pod.read("pod"))
        self.launched = wire_read.decode(pod.read("plan"))
        self.request = self._of_pod(request)
        self.images, self.roots = find_images(self.store, where, self.request, warnings)
        for image in self.images:
            check_platform(image, self.facts)
        came = reify.reify(self.request, self.images, warnings)
        self.names = [str(app.name) for app in came.apps]
        for name in self.names:
            if self.old.app(name) is not None:
                raise UsageError("is there already", f"app {name} of pod {pod.uuid[:8]}", "give another name: --name")
        ports = (*self.old.ports, *came.ports)
        self.whole = self.old.replace(apps=(*self.old.apps, *came.apps), volumes=came.volumes, ports=ports)
        self.whole.check_executable()
        self.opening = later.check(pod.path, pod.uuid, self.whole, self.names, len(came.ports))
        self.came = self.old.replace(apps=came.apps, volumes=came.volumes)
        policies.check(self.came)
        for index in range(len(came.apps)):
            if stream_modes(self.request, index, DETACHED)[0] == "tty":
                raise UsageError("an app that comes later has no terminal", f"app {self.names[index]}")

    def _of_pod(self, request: PodRequest) -> PodRequest:
        """Return the request with the pod's own words where a pod has them once."""
        launched = PodRequest.from_json(self.pod.read_json("request"), self.old)
        if launched.runtime:
            raise Unenforceable("no app can come to a pod whose apps another runtime makes", f"pod {self.pod.uuid[:8]}")
        request.volumes = (*self.old.volumes, *request.volumes)
        request.net, request.names, request.hostname = launched.net, launched.names, launched.hostname
        request.private_users = launched.private_users
        request.strict = request.strict or launched.strict
        request.check()
        return request

    def carry_out(self) -> None:
        """Make what the apps need, have the keeper start them, and write down that they are there."""
        pod = self.pod
        before = {name: pod.read(name) for name in _FILES}
        self.was_changed = os.path.exists(pod.file(CHANGED))
        made: list[str] = []
        try:
            fill_apps(self.store, self.facts, pod, self.came, self.images, self.roots, self.warnings)
            change = self._compile(made)
            names = {track.name for track in change.tracks} - {"teardown"}
            tracks = [track for track in self.launched.tracks if track.name not in names]
            tracks += [track for track in change.tracks if track.name not in ("change", "teardown")]
            # Written first: the apps may ask the metadata service at once, and a failure is explained by the plan.
            self._write(Plan(tracks, self.launched.facts))
            later.open_later(pod.path, pod.uuid, self.opening)
            self.warnings += perform(pod, change)
        except BaseException:
            self._take_back(before, made)
            raise

    def _compile(self, made: list[str]) -> Plan:
        networked = setup.attached(self.pod.path, self.pod.uuid)
        if self.request.joined:
            networked = joining.network(self.pod.root, self.request, self.came)
        prepared = Prepared(self.pod, self.request, self.came, self.roots, self.facts, self.warnings)
        compilation = _Compilation(prepared, self.where, self.facts, networked)
        if compilation.port in declared_ports(self.came.apps):
            raise AppcError(f"the pod asks its metadata service on port {compilation.port}", "the new app's ports")
        compilation.isolators = [row for row in compilation.isolators if row.scope in self.names]
        resources = compilation.resources()
        for entry in self.old.apps:
            resources[str(entry.name)] = self.pod.read_json(f"config/{entry.name}")["linux"]["resources"]
        everybody = [str(entry.name) for entry in self.whole.apps]
        # Until the keeper has them in its plan it does not know of the groups, and we may be killed.
        self.pod.write(CHANGED, b"")
        groups, directories = cgroup_update.add(self.pod.cgroup, everybody, self.names, resources, self.facts)
        made += directories
        if networked is not None and not self.request.joined:
            networked.unlimited = limit_again(self.pod, self.old, self.whole, self.facts)
        compilation.judge(groups)
        self.rows = compilation.isolators
        for name, config in compilation.configs.items():
            self.pod.write_json(f"config/{name}", config)
        return compile_addition(
            compilation.app_plans(groups),
            sandbox=compilation.sandbox,
            facts=self.facts,
            pod_dir=self.pod.path,
            teardown=[*reversed(directories)],
            warnings=self.warnings,
        )

    def _write(self, plan: Plan) -> None:
        pod = self.pod
        request = pod.read_json("request")
        request["images"] = sorted({*request["images"], *(str(one) for root in self.roots for one in root.image_ids)})
        request["streams"] += [[app.stdin, app.stdout, app.stderr] for app in self.request.apps]
        pod.write_json("request", request)
        pod.write("plan", wire.encode(plan))
        pod.write("pod", outcome.annotated(self.whole, keep_outcome(pod, self.rows)).to_json())

    def _take_back(self, before: dict[str, bytes], made: list[str]) -> None:
        removed = cgroupfs.remove(reversed(made))
        try:
            pod = self.pod.refresh()
        except PodNotFound:
            return  # it has ended, and what was to be taken back is gone with it (--rm)
        if removed and not self.was_changed and os.path.exists(pod.file(CHANGED)):
            os.unlink(pod.file(CHANGED))
        limit_again(pod, self.whole, self.old, self.facts)
        for app in self.opening:
            later.close_later(pod.path, pod.uuid, self.whole, app)
        for name, data in before.items():
            pod.write(name, data)
        for name in self.names:
            clear(pod, name)
        known = {volume.name for volume in self.old.volumes}
        for volume in self.whole.volumes:
            if volume.name not in known and volume.kind == "empty":
                from appc.store.deletion import delete_tree

                delete_tree(pod.file(f"volumes/{volume.name}"))


def _next_number(directory: str) -> int:
    """Return a number above those of all files of a directory."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return 0
    return max([int(name) for name in names if name.isdecimal()], default=-1) + 1
