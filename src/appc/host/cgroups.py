"""Make, limit, measure and remove the control groups of pods on cgroup v1, hybrid and v2.

A pod's groups lie in `<hierarchy>/appc/<uuid>`, each app's below that, so that the pod's limits bound its
apps. In the unified hierarchy the pod and every app have a group; PID 1 has `_init`, since v2 allows no
processes beside groups with controllers. In a v1 hierarchy groups exist only where something is limited:
an app without a group of its own there runs in its pod's.
"""

from __future__ import annotations

import os

from appc.errors import HostError
from appc.host import devices, limits
from appc.host.cgroupfs import ROOT, kill, pod_directories, pods, read, remove, remove_root, stats, tree, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.host.probe import HostFacts

__all__ = ["Cgroups", "create", "kill", "pod_directories", "pods", "remove", "remove_root", "stats"]

_INIT = "_init"
_POD = ""  # the scope of the pod itself; every other scope is an app's name


class Cgroups:
    """The groups of one pod.

    `pod_paths` are its directories, `init_paths` and `app_paths[name]` the directories whose cgroup.procs
    PID 1 and the app join (all of them), `teardown` every directory made, in the order to remove them.
    `outcome` has a row (scope, field, "enforced" | "modified" | "ignored", reason) for every field of the
    resources; the pod's scope is "".
    """

    __slots__ = ("app_paths", "init_paths", "outcome", "pod_paths", "teardown")

    def __init__(self, app_names: Sequence[str]) -> None:
        self.pod_paths: list[str] = []
        self.init_paths: list[str] = []
        self.app_paths: dict[str, list[str]] = {name: [] for name in app_names}
        self.teardown: list[str] = []
        self.outcome: list[tuple[str, str, str, str]] = []


def create(
    pod_uuid: str,
    app_names: Sequence[str],
    resources: Mapping[str, Mapping[str, Any]],
    facts: HostFacts,
) -> Cgroups:
    """Make the groups of a pod and set their limits.

    `resources` maps "" (the pod) and app names to OCI `linux.resources` objects. What the host cannot enforce is
    told in `outcome`, never raised; HostError when a group cannot be made, and then none is left.
    """
    builder = _Builder(pod_uuid, app_names, resources, facts)
    try:
        builder.build()
    except OSError as error:
        remove(builder.made[::-1])
        reason = error.strerror or str(error)
        raise HostError(f"the control group cannot be made: {reason}", str(error.filename or pod_uuid)) from error
    return builder.result


def predict(
    pod_uuid: str, app_names: Sequence[str], resources: Mapping[str, Mapping[str, Any]], facts: HostFacts
) -> Cgroups:
    """Return the directories that `create` with the same arguments would make; nothing is made or written."""
    rehearsal = _Rehearsal(pod_uuid, app_names, resources, facts)
    rehearsal.build()
    return rehearsal.result


class _Builder:
    def __init__(
        self,
        uuid: str,
        app_names: Sequence[str],
        resources: Mapping[str, Mapping[str, Any]],
        facts: HostFacts,
    ) -> None:
        self.uuid = uuid
        self.facts = facts
        self.app_names = app_names
        self.result = Cgroups(app_names)
        self.made: list[str] = []
        versions = {name: 2 if place == facts.unified else 1 for name, place in facts.controllers.items()}
        if facts.unified in facts.bases:
            versions[""] = 2
        page_size = os.sysconf("SC_PAGESIZE")
        self.settings = {
            scope: limits.settings(resources.get(scope, {}), versions, page_size) for scope in (_POD, *app_names)
        }
        self.rules = _hoist({scope: resources.get(scope, {}).get("devices") or [] for scope in self.settings})
        self.device_scopes = [scope for scope in self.settings if resources.get(scope, {}).get("devices")]
        self.rows: dict[tuple[str, str], tuple[str, str]] = {}

    def build(self) -> None:
        facts = self.facts
        for scope, settings in self.settings.items():
            for setting in settings:
                if not setting.choices:
                    self._row(scope, setting.field, setting.status, setting.note)
        if not facts.bases:
            self._refuse_devices("no cgroup hierarchy is writable")
        for mountpoint in self._hierarchies():
            base = facts.bases[mountpoint]
            if mountpoint == facts.unified:
                self._unified(base)
            else:
                self._v1(mountpoint, base)
        if facts.bases and facts.cgroup == "v2":
            self._device_programs()
        elif facts.bases and "devices" not in facts.controllers:
            self._refuse_devices("this host has no usable devices controller")
        self.result.teardown = self.made[::-1]
        self.result.outcome = [(*key, *value) for key, value in self.rows.items()]

    def _hierarchies(self) -> list[str]:
        """Return the mount points where this pod needs groups, the unified one first."""
        places = {self.facts.unified} if self.facts.unified in self.facts.bases else set()
        for settings in self.settings.values():
            places.update(self._place(setting) for setting in settings if setting.choices)
        # Wherever devices can be guarded the pod has a group, by which its processes can be found and killed.
        if "devices" in self.facts.controllers:
            places.add(self.facts.controllers["devices"])
        elif not places and self.facts.bases:
            places.add(next(iter(self.facts.bases)))
        return sorted(places, key=lambda place: (place != self.facts.unified, place))

    def _place(self, setting: limits.Setting) -> str:
        return self.facts.controllers[setting.controller] if setting.controller else self.facts.unified

    def _here(self, scope: str, mountpoint: str) -> list[limits.Setting]:
        return [setting for setting in self.settings[scope] if setting.choices and self._place(setting) == mountpoint]

    def _v1(self, mountpoint: str, base: str) -> None:
        controllers = {name for name, place in self.facts.controllers.items() if place == mountpoint}
        pod = self._make_pod(base, controllers)
        self._apply(_POD, pod, self._here(_POD, mountpoint), controllers)
        self.result.init_paths.append(pod)
        for name in self.app_names:
            settings = self._here(name, mountpoint)
            path = pod
            if settings or ("devices" in controllers and self.rules[name]):
                path = f"{pod}/{name}"
                self._make(path, controllers)
                self._apply(name, path, settings, controllers)
            self.result.app_paths[name].append(path)

    def _unified(self, base: str) -> None:
        unified = self.facts.unified
        for_apps = sorted({s.controller for name in self.app_names for s in self._here(name, unified) if s.controller})
        for_pod = sorted({s.controller for s in self._here(_POD, unified) if s.controller})
        pod = self._make_pod(base, set())
        lacking = self._open_way(base, sorted({*for_apps, *for_pod}))
        lacking |= self._enable(pod, [name for name in for_apps if name not in lacking])
        self._apply(_POD, pod, self._here(_POD, unified), set(), lacking)
        init = pod
        if self.facts.cgroup == "v2" or for_apps:
            init = f"{pod}/{_INIT}"
            self._make(init, set())
        self.result.init_paths.append(init)
        for name in self.app_names:
            path = f"{pod}/{name}"
            self._make(path, set())
            self._apply(name, path, self._here(name, unified), set(), lacking)
            self.result.app_paths[name].append(path)

    def _make_pod(self, base: str, controllers: set[str]) -> str:
        """Make the pod's directory, and first `appc` where it is missing (it may vanish meanwhile: gc)."""
        root = f"{base}/{ROOT}"
        pod = f"{root}/{self.uuid}"
        for last in (False, False, True):
            try:
                os.mkdir(pod)
                break
            except FileNotFoundError:
                if last:
                    raise
                _make_root(root, controllers)
            except FileExistsError:
                # Left by a launch that was killed; processes in it make this fail.
                if last or not remove(tree(pod), patience=0):
                    raise
        self.made.append(pod)
        if "cpuset" in controllers:
            _inherit_cpuset(pod)
        self.result.pod_paths.append(pod)
        return pod

    def _make(self, path: str, controllers: set[str]) -> None:
        os.mkdir(path)
        self.made.append(path)
        if "cpuset" in controllers:
            _inherit_cpuset(path)

    def _apply(
        self,
        scope: str,
        path: str,
        settings: list[limits.Setting],
        controllers: set[str],
        lacking: Mapping[str, str] | None = None,
    ) -> None:
        for setting in settings:
            if lacking and setting.controller in lacking:
                reason = f"the {setting.controller} controller cannot be enabled: {lacking[setting.controller]}"
                self._row(scope, setting.field, "ignored", reason)
                continue
            status, reason = _write_setting(path, setting)
            if status == "ignored" and scope and setting.field == "cpu.quota" and self._pod_has("cpu.quota"):
                # v1 refuses a quota above the pod's, which bounds the app all the same.
                status, reason = "modified", "the pod's own limit is lower"
            if status:
                self._row(scope, setting.field, status, reason)
        if "devices" in controllers and self.rules[scope]:
            self._v1_devices(scope, path)

    def _pod_has(self, field: str) -> bool:
        return any(setting.field == field for setting in self.settings[_POD])

    def _v1_devices(self, scope: str, path: str) -> None:
        writes, reason = devices.v1_writes(self.rules[scope])
        for file, text in writes:
            try:
                write(f"{path}/{file}", text)
            except OSError as error:
                reason = reason or f"{file} {text!r}: {error.strerror}"
        self._devices_row(scope, reason)

    def _device_programs(self) -> None:
        pod = f"{self.facts.bases[self.facts.unified]}/{ROOT}/{self.uuid}"
        for scope, rules in self.rules.items():
            if rules:
                try:
                    devices.attach(f"{pod}/{scope}".rstrip("/"), devices.program(rules))
                    self._devices_row(scope, "")
                except HostError as error:
                    self._devices_row(scope, error.what)

    def _devices_row(self, scope: str, reason: str) -> None:
        """Report rules applied in the group of `scope`, for every scope whose rules were hoisted there."""
        told = [scope] if scope in self.device_scopes else self.device_scopes
        for name in told:
            self._row(name, "devices", "ignored" if reason else "enforced", reason)

    def _refuse_devices(self, reason: str) -> None:
        for scope in self.device_scopes:
            self._row(scope, "devices", "ignored", reason)

    def _open_way(self, base: str, controllers: list[str]) -> dict[str, str]:
        """Enable v2 controllers for pods' groups; return those that cannot be, with the reason."""
        if not controllers:
            return {}
        root = f"{base}/{ROOT}"
        enabled = read(f"{root}/cgroup.subtree_control").split()
        wanted = [name for name in controllers if name not in enabled]
        # Only the root of all groups (which has no type) may have both processes and controlled children. The
        # kernel lets some controllers be enabled all the same, but nothing could then join the groups below.
        if wanted and os.path.exists(f"{base}/cgroup.type") and read(f"{base}/cgroup.procs"):
            return dict.fromkeys(wanted, f"processes live beside the groups in {base}")
        lacking = self._enable(base, wanted)
        return lacking | self._enable(root, [name for name in wanted if name not in lacking])

    def _enable(self, directory: str, controllers: list[str]) -> dict[str, str]:
        """Enable v2 controllers for the children of `directory`; return those the kernel refused, with its reason."""
        if not controllers:
            return {}
        file = f"{directory}/cgroup.subtree_control"
        try:
            write(file, " ".join(f"+{name}" for name in controllers))
            return {}
        except OSError:
            pass  # all or nothing: find out which one it was
        refused = {}
        for name in controllers:
            try:
                write(file, f"+{name}")
            except OSError as error:
                refused[name] = f"{directory}: {error.strerror}"
        return refused

    def _row(self, scope: str, field: str, status: str, reason: str) -> None:
        """Note an outcome; a field made of several writes counts as the worst of them."""
        worse = ("enforced", "modified", "ignored").index
        old = self.rows.get((scope, field))
        if old is None or worse(status) > worse(old[0]):
            self.rows[scope, field] = status, reason


class _Rehearsal(_Builder):
    """Goes the builder's way without touching the host."""

    def _make_pod(self, base: str, controllers: set[str]) -> str:
        pod = f"{base}/{ROOT}/{self.uuid}"
        self.made.append(pod)
        self.result.pod_paths.append(pod)
        return pod

    def _make(self, path: str, controllers: set[str]) -> None:
        self.made.append(path)

    def _apply(
        self,
        scope: str,
        path: str,
        settings: list[limits.Setting],
        controllers: set[str],
        lacking: Mapping[str, str] | None = None,
    ) -> None:
        pass

    def _device_programs(self) -> None:
        pass

    def _open_way(self, base: str, controllers: list[str]) -> dict[str, str]:
        """Enable v2 controllers for pods' groups; return those that cannot be, with the reason."""
        if not controllers:
            return {}
        root = f"{base}/{ROOT}"
        enabled = read(f"{root}/cgroup.subtree_control").split()
        wanted = [name for name in controllers if name not in enabled]
        # Only the root of all groups (which has no type) may have both processes and controlled children. The
        # kernel lets some controllers be enabled all the same, but nothing could then join the groups below.
        if wanted and os.path.exists(f"{base}/cgroup.type") and read(f"{base}/cgroup.procs"):
            return dict.fromkeys(wanted, f"processes live beside the groups in {base}")
        lacking = self._enable(base, wanted)
        return lacking | self._enable(root, [name for name in wanted if name not in lacking])

    def _enable(self, directory: str, controllers: list[str]) -> dict[str, str]:
        return {}


def _hoist(rules: dict[str, Sequence[Mapping[str, Any]]]) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Move device rules that all apps share to the pod, which has none of its own: one list, one program."""
    apps = [value for scope, value in rules.items() if scope != _POD]
    if apps and not rules[_POD] and all(value == apps[0] for value in apps):
        return {scope: apps[0] if scope == _POD else [] for scope in rules}
    return rules


def _make_root(root: str, controllers: set[str]) -> None:
    try:
        os.mkdir(root, 0o755)
    except FileExistsError:
        return
    if "memory" in controllers:
        try:
            write(f"{root}/memory.use_hierarchy", "1")
        except OSError:
            pass  # always on since Linux 5.11, and not writable below a group where it is on


def _inherit_cpuset(path: str) -> None:
    """A new v1 cpuset has no CPUs and no memory nodes, and no task can join it: give it its parent's."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if read(f"{path}/{file}").strip():
            continue
        parent = os.path.dirname(path)
        value = read(f"{parent}/{file}").strip()
        if not value:
            _inherit_cpuset(parent)
            value = read(f"{parent}/{file}").strip()
        write(f"{path}/{file}", value)


def _write_setting(path: str, setting: limits.Setting) -> tuple[str, str]:
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
