"""Pods whose apps another OCI runtime makes (`--runtime`): the sandbox is ours, each app is a bundle that joins it.

What a runtime is given lies in `runtime` of the pod's directory: a bundle for each container, a link to the pod's
namespaces, and the runtime's own state. The configuration of an app's bundle is the app's own, so what changes while
the pod runs holds for its next start, too.
"""

from __future__ import annotations

import os

from appc.errors import AppcError, LaunchError, Unenforceable, UsageError
from appc.host.cgroupfs import ROOT, others
from appc.plan.compile_runtime import Runtime
from appc.plan.constants import NAMESPACES
from appc.pods.layout import RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from appc.host.cgroups import Cgroups
    from appc.host.probe import HostFacts
    from appc.plan.compile_pod import PodApp
    from appc.pods.layout import Pod
    from appc.pods.request import PodRequest
    from appc.schema.pod import PodManifest

_STATE = f"{RUNTIME}/state"
# Namespaces of the pod, which its containers join; all others are a container's own.
_SHARED = ("pid", "network", "ipc", "uts")
_LOG_END = 65536  # bytes at the end of a runtime's log, of which the last line counts
_WHERE = "--runtime"


def find(name: str) -> str:
    """Return the absolute path of the runtime `name`, a path or the name of a program on PATH; UsageError if none is
    there."""
    import shutil

    found = shutil.which(name)
    if found is None:
        hint = "name an OCI runtime that is installed, such as runc or crun, or give its path"
        raise UsageError("there is no such program", f"{_WHERE} {name}", hint)
    return os.path.abspath(found)


def check(request: PodRequest, manifest: PodManifest, facts: HostFacts, modes: Iterable[tuple[str, str, str]]) -> None:
    """Raise Unenforceable for what apps that a runtime makes cannot have."""
    if not facts.initial_userns:
        raise Unenforceable("only root can have apps made by another runtime", _WHERE)
    if request.private_users:
        raise Unenforceable("cannot go together with users of the pod's own", _WHERE, "leave out --private-users")
    if request.cgroup:
        raise Unenforceable("cannot go together with another pod's control groups", _WHERE, "leave out --cgroup")
    for entry, streams in zip(manifest.apps, modes, strict=True):
        if "tty" in streams:
            raise Unenforceable(
                "an app that a runtime makes has no terminal", f"app {entry.name}", "run it without one"
            )
        if any(port.socket_activated for port in (entry.app.ports if entry.app else ())):
            raise Unenforceable("an app that a runtime makes is handed no sockets", f"app {entry.name}")
    if any(base != place for place, base in facts.bases.items()):
        raise Unenforceable("runtimes make control groups only below the roots of their hierarchies", _WHERE)


def runtime(pod: Pod, program: str) -> Runtime:
    """Return the runtime `program` as plans of the pod have it."""
    return Runtime((program, "--root", pod.file(_STATE)), pod.file(RUNTIME), f"{pod.uuid}-")


def of(pod: Pod) -> Runtime | None:
    """Return the runtime of a pod that runs; None when its apps are made without one."""
    program = pod.read_json("request").get("runtime", "")
    return runtime(pod, program) if program else None


def containers(app: str) -> tuple[str, ...]:
    """Return the names of an app's containers: its own, and those of the commands that are run beside it."""
    return app, *(f"{app}.{kind}" for kind in ("pre-start", "post-stop", "health"))


class Making:
    """The apps of one pod on their way to being made by the runtime `program`."""

    __slots__ = ("_facts", "_pod", "runtime")

    def __init__(self, pod: Pod, program: str, facts: HostFacts) -> None:
        self.runtime = runtime(pod, find(program))
        self._pod = pod
        self._facts = facts

    @property
    def namespaces(self) -> str:
        """The link by which the pod's namespaces are joined."""
        return self._pod.file(f"{RUNTIME}/namespaces")

    def joined(self, config: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return the configuration of a container that joins what the pod has, in the pod's group called `name`."""
        shared = [
            {"type": kind, "path": f"{self.namespaces}/{NAMESPACES[kind][1]}"} if kind in _SHARED else {"type": kind}
            for kind in (namespace["type"] for namespace in config["linux"]["namespaces"])
        ]
        linux = {**config["linux"], "namespaces": shared}
        if self._facts.bases:
            linux["cgroupsPath"] = f"/{ROOT}/{self._pod.uuid}/{name}"
        # The sandbox has its name already.
        return {**{key: value for key, value in config.items() if key != "hostname"}, "linux": linux}

    def adapt(self, groups: Cgroups, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Take out of the configurations what the kernel did not take, and a runtime would not get set either; have the
        keeper remove, too, what a runtime makes in hierarchies that nothing of ours is in."""
        for scope, field, state, _ in groups.outcome:
            section, _, name = field.partition(".")
            resources = configs[scope]["linux"]["resources"] if scope in configs else {}
            if state == "ignored" and name in (resources.get(section) or {}):
                resources[section] = {key: value for key, value in resources[section].items() if key != name}
        groups.teardown += [f"{place}/{ROOT}/{self._pod.uuid}" for place in others(self._facts)]

    def write_bundles(self, apps: Sequence[PodApp]) -> None:
        """Write a bundle for each container that the apps may need. Raises OSError, HostError."""
        from appc.store.deletion import delete_tree

        pod = self._pod
        # A prepared pod may have them from a launch that was taken back.
        delete_tree(pod.file(RUNTIME))
        for directory in (RUNTIME, _STATE):
            os.mkdir(pod.file(directory), 0o700)
        for app in apps:
            own, *beside = containers(app.name)
            os.mkdir(pod.file(f"{RUNTIME}/{own}"), 0o700)
            os.symlink(f"../../config/{app.name}", pod.file(f"{RUNTIME}/{own}/config.json"))
            health = app.health.config if app.health else None
            for container, config in zip(beside, (app.pre_start, app.post_stop, health), strict=True):
                if config is None:
                    continue
                os.mkdir(pod.file(f"{RUNTIME}/{container}"), 0o700)
                # In a group beside the app's: on cgroup v2 none has processes and groups below. "_" begins no app's.
                pod.write_json(f"{RUNTIME}/{container}/config.json", self.joined(config, f"_{container}"))


def explain(pod: Pod, program: str, bundle: str, where: str) -> LaunchError | None:
    """Return what the runtime `program` said of the container of `bundle` that it did not make; None for nothing."""
    from appc.schema.json import loads

    try:
        with open(pod.file(f"{RUNTIME}/{os.path.basename(bundle)}/log"), "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _LOG_END))
            lines = stream.read(_LOG_END).splitlines()
        said = loads(lines[-1]) if lines else None
    except (OSError, ValueError, AppcError):
        return None
    message = said.get("msg") if isinstance(said, dict) else None
    if not isinstance(message, str) or not message:
        return None
    return LaunchError(f"{os.path.basename(program)} did not make it: {' '.join(message.split())}", where)
