"""Which control groups are made, and what is set in each: pure thought on resources and host facts."""

from __future__ import annotations

import os

from appc.host import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from appc.host.probe import HostFacts

POD = ""  # the scope of the pod itself; every other scope is an app's name


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
    controller does it else); `device_obstacle` says why nothing can, "" when something can.

    Kinds of layouts say in which hierarchies there are groups, and which: `_hierarchies`, `_v1` and `_unified`.
    """

    def __init__(
        self,
        name: str,
        app_names: Sequence[str],
        resources: Mapping[str, Mapping[str, Any]],
        facts: HostFacts,
    ) -> None:
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
        self._rules = self._shared({scope: resources.get(scope, {}).get("devices") or [] for scope in self._settings})
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

    def _place(self, setting: limits.Setting) -> str:
        return self._facts.controllers[setting.controller] if setting.controller else self._facts.unified

    def _here(self, scope: str, mountpoint: str) -> list[limits.Setting]:
        return [setting for setting in self._settings[scope] if setting.choices and self._place(setting) == mountpoint]

    def _shared(self, rules: dict[str, Sequence[Mapping[str, Any]]]) -> dict[str, Sequence[Mapping[str, Any]]]:
        """Return the device rules by scope, as they are divided among the groups."""
        return rules

    def _hierarchies(self) -> list[str]:
        """Return the mount points where groups are needed, the unified one first."""
        raise NotImplementedError

    def _v1(self, mountpoint: str) -> None:
        """Add the groups of a v1 hierarchy."""
        raise NotImplementedError

    def _unified(self, unified: str) -> None:
        """Add the groups of the unified hierarchy."""
        raise NotImplementedError
