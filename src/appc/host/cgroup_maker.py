"""Making the control groups of a layout, and setting what is to be set in them."""

from __future__ import annotations

import os

from appc.host.cgroup_layout import POD
from appc.host.cgroupfs import read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.host.cgroup_layout import Cgroups, Group, Layout
    from appc.host.limits import Setting


class Maker:
    """Makes the groups of a layout, one after the other, and tells what became of each setting.

    Kinds of makers know how a group is made, which controllers it takes, and who attaches programs for devices.
    """

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

    def _result(self) -> Cgroups:
        for scope, setting in self.layout.unmet:
            self._row(scope, setting.field, setting.status, setting.note)
        if self.layout.device_obstacle:
            for scope in self.layout.device_scopes:
                self._row(scope, "devices", "ignored", self.layout.device_obstacle)
        result = self.layout.result
        result.outcome = [(*key, *value) for key, value in self.rows.items()]
        return result

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
            from appc.host.device_program import program

            reason = self._filter_devices(group.path, program(group.rules))
        else:
            from appc.host import devices

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

    def _row(self, scope: str, field: str, status: str, reason: str) -> None:
        """Note an outcome; a field made of several writes counts as the worst of them."""
        worse = ("enforced", "modified", "ignored").index
        old = self.rows.get((scope, field))
        if old is None or worse(status) > worse(old[0]):
            self.rows[scope, field] = status, reason

    def _make_group(self, group: Group) -> None:
        """Make one directory, and add it to `made`."""
        raise NotImplementedError

    def _enable_controllers(self, group: Group) -> None:
        """Enable the v2 controllers that an outermost group and those below need; `lacking` tells of failures."""
        raise NotImplementedError

    def _filter_devices(self, path: str, program: bytes) -> str:
        """Have a program judge the use of devices; return why it cannot, "" when it does."""
        raise NotImplementedError


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
