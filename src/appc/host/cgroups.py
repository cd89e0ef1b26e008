"""Make, limit, measure and remove the control groups of pods on cgroup v1, hybrid and v2.

A pod's groups lie in `<hierarchy>/appc/<uuid>`, each app's below that, so that the pod's limits bound its apps; those
of a pod that joined another's lie in that one's. In the unified hierarchy the pod and every app have a group; PID 1 has
`_init`, since v2 allows no processes beside groups with controllers. In a v1 hierarchy groups exist only where
something is limited.
"""

from __future__ import annotations

import os

from appc.errors import HostError
from appc.host import devices
from appc.host.cgroup_layout import POD, Cgroups, Layout
from appc.host.cgroupfs import ROOT, kill, pod_directories, pods, read, remove, remove_root, stats, tree, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.host.cgroup_layout import Group
    from appc.host.limits import Setting
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
    return Maker(Layout(pod_name, app_names, resources, facts, everywhere=everywhere)).foresee()


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
    told in `outcome`, never raised; `everywhere` is Layout's. HostError when a group cannot be made, and then none is
    left.
    """
    maker = Maker(Layout(pod_name, app_names, resources, facts, everywhere=everywhere))
    try:
        return maker.make()
    except BaseException as error:
        remove(reversed(maker.made))
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise HostError(f"the control group cannot be made: {reason}", str(error.filename or pod_name)) from error
        raise


class Maker:
    """Makes the groups of a layout, one after the other, and tells what became of each setting."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.made: list[str] = []
        self.rows: dict[tuple[str, str], tuple[str, str]] = {}
        self.lacking: dict[str, str] = {}  # v2 controllers that the kernel did not enable, and why

    def make(self) -> Cgroups:
        """Make the groups and set their limits; return them with the outcome. Raises OSError and HostError."""
        for group in self.layout.groups:
            self._make_group(group)
            if group.base and not group.controllers:
                self._enable_controllers(group)
            self._apply(group)
        return self._result()

    def foresee(self) -> Cgroups:
        """Return the groups as `make` would make them, and the outcome as far as the layout tells."""
        for group in self.layout.groups:
            for setting in group.settings:
                self._row(group.scope, setting.field, setting.status, setting.note)
        return self._result()

    def _result(self) -> Cgroups:
        for scope, setting in self.layout.unmet:
            self._row(scope, setting.field, setting.status, setting.note)
        if self.layout.device_obstacle:
            for scope in self.layout.device_scopes:
                self._row(scope, "devices", "ignored", self.layout.device_obstacle)
        result = self.layout.result
        result.outcome = [(*key, *value) for key, value in self.rows.items()]
        return result

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

    def _enable(self, directory: str, controllers: Sequence[str]) -> None:
        """Enable v2 controllers for the children of `directory`, those excepted that an ancestor lacks."""
        possible = [name for name in controllers if name not in self.lacking]
        if not possible:
            return
        file = f"{directory}/cgroup.subtree_control"
        try:
            write(file, " ".join(f"+{name}" for name in possible))
            return
        except OSError:
            pass  # all or nothing: find out which one it was
        for name in possible:
            try:
                write(file, f"+{name}")
            except OSError as error:
                self.lacking[name] = f"{directory}: {error.strerror}"

    def _apply(self, group: Group) -> None:
        for setting in group.settings:
            if not group.controllers and setting.controller in self.lacking:
                status = "ignored"
                reason = f"the {setting.controller} controller cannot be enabled: {self.lacking[setting.controller]}"
            else:
                status, reason = _write_setting(group.path, setting)
            if status == "ignored" and group.scope != POD and self._pod_bounds(setting.field):
                # v1 refuses a quota above the pod's, which bounds the app all the same.
                status, reason = "modified", "the pod's own limit is lower"
            if status:
                self._row(group.scope, setting.field, status, reason)
        if group.rules:
            self._guard_devices(group)

    def _pod_bounds(self, field: str) -> bool:
        return field == "cpu.quota" and self.layout.asks(POD, field)

    def _guard_devices(self, group: Group) -> None:
        reason = ""
        if self.layout.device_programs:
            reason = self._filter_devices(group.path, devices.program(group.rules))
        else:
            writes, reason = devices.v1_writes(group.rules)
            for file, text in writes:
                try:
                    write(f"{group.path}/{file}", text)
                except OSError as error:
                    reason = reason or f"{file} {text!r}: {error.strerror}"
        scopes = self.layout.device_scopes
        # Rules that all apps share are applied in the pod's group, but were asked for by the apps.
        for scope in [group.scope] if group.scope in scopes else scopes:
            self._row(scope, "devices", "ignored" if reason else "enforced", reason)

    def _filter_devices(self, path: str, program: bytes) -> str:
        """Have a program judge the use of devices; return why it cannot, "" when it does."""
        try:
            devices.attach(path, program)
        except HostError as error:
            return error.what
        return ""

    def _row(self, scope: str, field: str, status: str, reason: str) -> None:
        """Note an outcome; a field made of several writes counts as the worst of them."""
        worse = ("enforced", "modified", "ignored").index
        old = self.rows.get((scope, field))
        if old is None or worse(status) > worse(old[0]):
            self.rows[scope, field] = status, reason


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


def inherit_cpuset(path: str) -> None:
    """A new v1 cpuset has no CPUs and no memory nodes, and no task can join it: give it its parent's."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if read(f"{path}/{file}").strip():
            continue
        parent = os.path.dirname(path)
        value = read(f"{parent}/{file}").strip()
        if not value:
            inherit_cpuset(parent)
            value = read(f"{parent}/{file}").strip()
        write(f"{path}/{file}", value)


def _write_setting(path: str, setting: Setting) -> tuple[str, str]:
    """Write the first choice that exists; return (status, reason), status "" when there is nothing to tell."""
    missing = ""
    for file, value in setting.choices:
        try:
            write(f"{path}/{file}", value)
            return setting.status, setting.note
        except FileNotFoundError:
            missing = missing or f"this kernel has no {file}"
        except OSError as error:
            return "ignored", f"{file} does not take {value!r}: {error.strerror}"
    return ("", "") if setting.optional else ("ignored", missing)
