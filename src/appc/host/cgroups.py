"""Make, limit, measure and remove the control groups of pods on cgroup v1, hybrid and v2.

A pod's groups lie in `<hierarchy>/appc/<uuid>`, each app's below that, so that the pod's limits bound its apps; those
of a pod that joined another's lie in that one's. In the unified hierarchy the pod and every app have a group; PID 1 has
`_init`, since v2 allows no processes beside groups with controllers. In a v1 hierarchy groups exist only where
something is limited.
"""

from __future__ import annotations

import os

from appc.errors import HostError
from appc.host.cgroup_layout import POD, Cgroups, Group, Layout
from appc.host.cgroup_maker import Maker, inherit_cpuset
from appc.host.cgroupfs import ROOT, kill, place, pod_directories, pods, read, remove, remove_root, stats, tree, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.host.probe import HostFacts

__all__ = [
    "Cgroups",
    "create",
    "kill",
    "pod_directories",
    "pods",
    "predict",
    "remove",
    "remove_root",
    "stats",
]

_INIT = "_init"


def predict(
    pod_name: str,
    app_names: Sequence[str],
    resources: Mapping[str, Mapping[str, Any]],
    facts: HostFacts,
    *,
    everywhere: bool = False,
) -> Cgroups:
    """Return the directories that `create` with the same arguments would make, and the outcome if the kernel takes
    every value; nothing is made or written."""
    return PodMaker(PodLayout(pod_name, app_names, resources, facts, everywhere=everywhere)).foresee()


def create(
    pod_name: str,
    app_names: Sequence[str],
    resources: Mapping[str, Mapping[str, Any]],
    facts: HostFacts,
    *,
    everywhere: bool = False,
) -> Cgroups:
    """Make the groups of a pod and set their limits.

    `resources` maps "" (the pod) and app names to OCI `linux.resources` objects. What the host cannot enforce is
    told in `outcome`, never raised; `everywhere` is PodLayout's. HostError when a group cannot be made, and then none
    is left.
    """
    maker = PodMaker(PodLayout(pod_name, app_names, resources, facts, everywhere=everywhere))
    try:
        return maker.make()
    except BaseException as error:
        remove(reversed(maker.made))
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise HostError(f"the control group cannot be made: {reason}", str(error.filename or pod_name)) from error
        raise


class PodLayout(Layout):
    """The groups of a pod and its apps. With `everywhere` both have groups of their own in each hierarchy, as OCI
    runtimes make them."""

    def __init__(
        self,
        name: str,
        app_names: Sequence[str],
        resources: Mapping[str, Mapping[str, Any]],
        facts: HostFacts,
        *,
        everywhere: bool = False,
    ) -> None:
        self._everywhere = everywhere
        super().__init__(name, app_names, resources, facts)

    def _shared(self, rules: dict[str, Sequence[Mapping[str, Any]]]) -> dict[str, Sequence[Mapping[str, Any]]]:
        """Move device rules that all apps share to the pod, which has none of its own: one list, one program."""
        apps = [value for scope, value in rules.items() if scope != POD]
        if apps and not rules[POD] and all(value == apps[0] for value in apps):
            return {scope: apps[0] if scope == POD else [] for scope in rules}
        return rules

    def _hierarchies(self) -> list[str]:
        facts = self._facts
        if self._everywhere:
            return sorted(facts.bases, key=lambda place: (place != facts.unified, place))
        places = {facts.unified} if facts.unified in facts.bases else set()
        for settings in self._settings.values():
            places.update(self._place(setting) for setting in settings if setting.choices)
        # Wherever devices can be guarded the pod has a group, by which its processes can be found and killed.
        if "devices" in facts.controllers:
            places.add(facts.controllers["devices"])
        elif not places and facts.bases:
            places.add(next(iter(facts.bases)))
        return sorted(places, key=lambda place: (place != facts.unified, place))

    def _v1(self, mountpoint: str) -> None:
        """A v1 hierarchy: an app without a setting of its own runs in its pod's group."""
        facts = self._facts
        base = facts.bases[mountpoint]
        controllers = frozenset(name for name, place in facts.controllers.items() if place == mountpoint)
        rules = self._rules if "devices" in controllers else dict.fromkeys(self._rules, ())
        pod = place(base, self._name)
        self.groups.append(Group(pod, POD, self._here(POD, mountpoint), rules[POD], controllers, base))
        self.result.pod_paths.append(pod)
        self.result.init_paths.append(pod)
        for name in self._app_names:
            settings = self._here(name, mountpoint)
            path = pod
            if settings or rules[name] or self._everywhere:
                path = f"{pod}/{name}"
                self.groups.append(Group(path, name, settings, rules[name], controllers))
            self.result.app_paths[name].append(path)

    def _unified(self, unified: str) -> None:
        """The unified hierarchy: a group for the pod and every app, and where controllers are, one for PID 1."""
        base = self._facts.bases[unified]
        rules = self._rules if self.device_programs else dict.fromkeys(self._rules, ())
        enable = sorted({s.controller for name in self._app_names for s in self._here(name, unified) if s.controller})
        pod = place(base, self._name)
        self.groups.append(Group(pod, POD, self._here(POD, unified), rules[POD], base=base, enable=enable))
        self.result.pod_paths.append(pod)
        init = pod
        if self._facts.cgroup == "v2" or enable:
            init = f"{pod}/{_INIT}"
            self.groups.append(Group(init, POD))
        self.result.init_paths.append(init)
        for name in self._app_names:
            path = f"{pod}/{name}"
            self.groups.append(Group(path, name, self._here(name, unified), rules[name]))
            self.result.app_paths[name].append(path)


class PodMaker(Maker):
    """Makes the groups of a pod, and what leads to them."""

    def foresee(self) -> Cgroups:
        """Return the groups as `make` would make them, and the outcome as far as the layout tells."""
        for group in self.layout.groups:
            for setting in group.settings:
                self._row(group.scope, setting.field, setting.status, setting.note)
        return self._result()

    def _make_group(self, group: Group) -> None:
        if group.base:
            self._make_outermost(group)
        else:
            os.mkdir(group.path)
        self.made.append(group.path)
        if "cpuset" in group.controllers:
            inherit_cpuset(group.path)

    def _make_outermost(self, group: Group) -> None:
        """Make the pod's directory, and first `appc` where it is missing (gc may take it away meanwhile)."""
        for last in (False, False, True):
            try:
                os.mkdir(group.path)
                return
            except FileNotFoundError:
                if last:
                    raise
                _make_root(f"{group.base}/{ROOT}", group.controllers)
            except FileExistsError:
                # Left by a launch that was killed; processes in it make this fail.
                if last or not remove(tree(group.path), patience=0):
                    raise

    def _enable_controllers(self, pod: Group) -> None:
        """Enable the v2 controllers that the pod and its apps need, from the base down to the pod."""
        needed = sorted({*pod.enable, *(setting.controller for setting in pod.settings if setting.controller)})
        if not needed:
            return
        root = f"{pod.base}/{ROOT}"
        above = os.path.dirname(pod.path)
        enabled = read(f"{above}/cgroup.subtree_control").split()
        wanted = [name for name in needed if name not in enabled]
        # Only the root of all groups (which has no type) may have both processes and controlled children. The
        # kernel lets some controllers be enabled all the same, but nothing could then join the groups below.
        if wanted and os.path.exists(f"{pod.base}/cgroup.type") and read(f"{pod.base}/cgroup.procs"):
            self.lacking = dict.fromkeys(wanted, f"processes live beside the groups in {pod.base}")
        else:
            self._enable(pod.base, wanted)
            self._enable(root, wanted)
            if above != root:
                self._enable(above, wanted)
        self._enable(pod.path, pod.enable)

    def _filter_devices(self, path: str, program: bytes) -> str:
        from appc.host.device_program import attach

        try:
            attach(path, program)
        except HostError as error:
            return error.what
        return ""


def _make_root(root: str, controllers: frozenset[str]) -> None:
    try:
        os.mkdir(root, 0o755)
    except FileExistsError:
        return
    if "memory" in controllers:
        try:
            write(f"{root}/memory.use_hierarchy", "1")
        except OSError:
            pass  # always on since Linux 5.11, and not writable below a group where it is on
