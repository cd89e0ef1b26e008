"""Which control groups a pod gets, and what is set in each: pure thought on resources and host facts."""

from __future__ import annotations

import os

from appc.host import limits
from appc.host.cgroupfs import place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from appc.host.probe import HostFacts

POD = ""  # the scope of the pod itself; every other scope is an app's name
_INIT = "_init"


class Cgroups:
    """The groups of one pod.

    `pod_paths` are its directories, `init_paths` and `app_paths[name]` the directories whose cgroup.procs
    PID 1 and the app join (all of them), `teardown` every directory, in the order to remove them.
    `outcome` has a row (scope, field, "enforced" | "modified" | "ignored", reason) for every field of the
    resources; the pod's scope is "". `device_filters` are the (directory, program for devices) that are still to be
    attached; only the groups of single containers leave any.
    """

    __slots__ = ("app_paths", "device_filters", "init_paths", "outcome", "pod_paths", "teardown")

    def __init__(self, app_names: Iterable[str]) -> None:
        self.pod_paths: list[str] = []
        self.init_paths: list[str] = []
        self.app_paths: dict[str, list[str]] = {name: [] for name in app_names}
        self.teardown: list[str] = []
        self.outcome: list[tuple[str, str, str, str]] = []
        self.device_filters: list[tuple[str, bytes]] = []


class Group:
    """A directory to be made, with what is then set in it.

    `base` is set for a pod's outermost directory of a hierarchy, `controllers` are the v1 controllers found
    there (none in the unified hierarchy), `enable` the v2 controllers that the groups below need.
    """

    __slots__ = ("base", "controllers", "enable", "path", "rules", "scope", "settings")

    def __init__(
        self,
        path: str,
        scope: str,
        settings: Sequence[limits.Setting] = (),
        rules: Sequence[Mapping[str, Any]] = (),
        controllers: frozenset[str] = frozenset(),
        base: str = "",
        enable: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.scope = scope
        self.settings = settings
        self.rules = rules
        self.controllers = controllers
        self.base = base
        self.enable = enable


class Layout:
    """The `groups` of a pod in the order to make them, and the `result` they add up to; `name` is as `place` takes it.

    `unmet` are the settings that need no write or cannot be enforced, by scope; `device_scopes` the scopes
    that asked for device rules, which BPF programs enforce where `device_programs` is set (a v1 devices
    controller does it else); `device_obstacle` says why nothing can, "" when something can. With `everywhere` pod and
    apps have groups of their own in each hierarchy, as OCI runtimes make them.
    """

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
        self._name = name
        self._facts = facts
        self._app_names = app_names
        versions = {name: 2 if place == facts.unified else 1 for name, place in facts.controllers.items()}
        if facts.unified in facts.bases:
            versions[""] = 2
        page_size = os.sysconf("SC_PAGESIZE")
        self._settings = {
            scope: limits.settings(resources.get(scope, {}), versions, page_size) for scope in (POD, *app_names)
        }
        self._rules = _hoist({scope: resources.get(scope, {}).get("devices") or [] for scope in self._settings})
        self.device_scopes = [scope for scope in self._settings if resources.get(scope, {}).get("devices")]
        guarded = "devices" in facts.controllers
        # Who is root only in a user namespace makes no devices, and cannot load programs.
        self.device_programs = facts.unified in facts.bases and not guarded and facts.initial_userns
        self.device_obstacle = ""
        if not guarded and not self.device_programs and facts.initial_userns:
            self.device_obstacle = "this host has neither a devices controller nor a writable cgroup2 mount"
        self.unmet = [
            (scope, setting) for scope, found in self._settings.items() for setting in found if not setting.choices
        ]
        self.groups: list[Group] = []
        self.result = Cgroups(app_names)
        for mountpoint in self._hierarchies():
            (self._unified if mountpoint == facts.unified else self._v1)(mountpoint)
        self.result.teardown = [group.path for group in reversed(self.groups)]

    def asks(self, scope: str, field: str) -> bool:
        """Tell whether the resources of `scope` set `field`."""
        return any(setting.field == field for setting in self._settings[scope])

    def _hierarchies(self) -> list[str]:
        """Return the mount points where this pod needs groups, the unified one first."""
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

    def _place(self, setting: limits.Setting) -> str:
        return self._facts.controllers[setting.controller] if setting.controller else self._facts.unified

    def _here(self, scope: str, mountpoint: str) -> list[limits.Setting]:
        return [setting for setting in self._settings[scope] if setting.choices and self._place(setting) == mountpoint]

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


def _hoist(rules: dict[str, Sequence[Mapping[str, Any]]]) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Move device rules that all apps share to the pod, which has none of its own: one list, one program."""
    apps = [value for scope, value in rules.items() if scope != POD]
    if apps and not rules[POD] and all(value == apps[0] for value in apps):
        return {scope: apps[0] if scope == POD else [] for scope in rules}
    return rules
