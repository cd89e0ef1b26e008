"""Changing the limits of a pod that runs: settings written into its groups, which are made where there are none yet."""

from __future__ import annotations

import os

from appc.errors import HostError
from appc.host.cgroup_layout import POD
from appc.host.cgroupfs import read, remove, write
from appc.host.cgroups import PodLayout, PodMaker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from appc.host.cgroup_layout import Cgroups, Group
    from appc.host.probe import HostFacts

_ROUNDS = 100


def update(
    pod_name: str,
    app_names: Sequence[str],
    scope: str,
    resources: Mapping[str, Any],
    members: Callable[[], list[int]],
    facts: HostFacts,
) -> list[tuple[str, str, str, str]]:
    """Set `resources` (OCI `linux.resources`, without devices) in the groups of `scope`, an app or "" for the pod.

    `members` gives the processes of the scope; they move into groups that are made now. Returns outcomes as
    `cgroups.create` does. Raises HostError for a memory limit below what is in use, and when a group cannot be made.
    """
    updater = _Updater(PodLayout(pod_name, app_names, {scope: resources}, facts), scope, members)
    limit = (resources.get("memory") or {}).get("limit") or 0
    if limit > 0:
        updater.refuse_less_than_used(limit)
    try:
        return updater.make().outcome
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostError(f"the control group cannot be changed: {reason}", str(error.filename or pod_name)) from error


def add(
    pod_name: str,
    app_names: Sequence[str],
    new: Sequence[str],
    resources: Mapping[str, Mapping[str, Any]],
    facts: HostFacts,
) -> tuple[Cgroups, list[str]]:
    """Make the groups of the apps `new` in a pod that runs, and set their limits.

    `app_names` and `resources` are those of the whole pod, with the new ones. Returns what `cgroups.create` does, with
    the outcomes of the new apps alone, and the directories that were made. HostError when that fails; none is left.
    """
    adder = _Adder(PodLayout(pod_name, app_names, resources, facts), new)
    try:
        groups = adder.make()
    except BaseException as error:
        remove(reversed(adder.made))
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise HostError(f"the control group cannot be made: {reason}", str(error.filename or pod_name)) from error
        raise
    groups.outcome = [row for row in groups.outcome if row[0] in new]
    return groups, adder.made


class _Adder(PodMaker):
    def __init__(self, layout: PodLayout, new: Sequence[str]) -> None:
        super().__init__(layout)
        self._new = new

    def _make_group(self, group: Group) -> None:
        if not os.path.isdir(group.path):
            super()._make_group(group)

    def _apply(self, group: Group) -> None:
        if group.scope in self._new or group.path in self.made:
            super()._apply(group)


class _Updater(PodMaker):
    def __init__(self, layout: PodLayout, scope: str, members: Callable[[], list[int]]) -> None:
        super().__init__(layout)
        self._scope = scope
        self._members = members

    def refuse_less_than_used(self, limit: int) -> None:
        """v2 would kill at once what does not fit, v1 refuse without a word why."""
        for group in self.layout.groups:
            if group.scope != self._scope:
                continue
            for file in ("memory.current", "memory.usage_in_bytes"):
                if os.path.exists(f"{group.path}/{file}"):
                    used = int(read(f"{group.path}/{file}"))
                    if used > limit:
                        raise HostError(f"{used} bytes are in use, more than the limit of {limit}", "resource/memory")

    def _make_group(self, group: Group) -> None:
        if os.path.isdir(group.path):
            return
        super()._make_group(group)
        # The pod's own group in a hierarchy where only an app is limited stays without processes of others.
        if group.scope == self._scope and group.controllers:
            self._fill(group)

    def _fill(self, group: Group) -> None:
        """Move every process of the scope into a new v1 group, those too that are forked meanwhile."""
        for _ in range(_ROUNDS):
            inside = set(read(f"{group.path}/cgroup.procs").split())
            outside = [pid for pid in self._members() if str(pid) not in inside]
            if not outside:
                return
            for pid in outside:
                try:
                    write(f"{group.path}/cgroup.procs", str(pid))
                except ProcessLookupError:
                    continue
        raise HostError("its processes fork faster than they can be moved", group.path)

    def _apply(self, group: Group) -> None:
        if group.scope not in (self._scope, POD):
            return
        # v1 keeps the limit of memory below that of memory and swap at any time: the upper one grows first.
        together = next((one for one in group.settings if one.field == "memory.swap" and group.controllers), None)
        if together is not None:
            file, value = together.choices[0]
            if os.path.exists(f"{group.path}/{file}") and int(value) > int(read(f"{group.path}/{file}")):
                group.settings = [together, *(one for one in group.settings if one is not together)]
        super()._apply(group)
