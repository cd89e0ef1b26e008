"""The control groups of a single container: at the path its configuration names, in every hierarchy.

An engine chose the path and may have made its beginning, so what is there already is used as it is, if nobody else is
in it.
"""

from __future__ import annotations

import os

from appc.errors import AppcError, HostError
from appc.host.cgroup_layout import POD, Cgroups, Group, Layout
from appc.host.cgroup_maker import Maker, inherit_cpuset
from appc.host.cgroupfs import frozen, processes, read, remove, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from appc.host.probe import HostFacts

# What every container may do with devices, whatever its rules say (runtime-spec, "Default Devices"): make nodes,
# and use those it is given.
DEFAULT_RULES: tuple[dict[str, Any], ...] = (
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, None))
    ),
)


# What of a group its owner may write to.
_DELEGATED = "/sys/kernel/cgroup/delegate"


def predict(path: str, facts: HostFacts) -> list[str]:
    """Return the directories that groups at `path` are; nothing is made."""
    return _Layout(_checked(path), {}, facts).result.pod_paths


def check_unused(directories: Iterable[str]) -> None:
    """AppcError for groups that already hold processes, which are somebody else's, or in which nothing would run."""
    existing = [directory for directory in directories if os.path.isdir(directory)]
    for directory in existing:
        count = sum(len(processes(group)) for group in tree(directory))
        if count:
            raise AppcError(f"container's cgroup is not empty: {count} process(es) found", _where(directory))
        if frozen((directory,)):
            raise AppcError("container's cgroup unexpectedly frozen", _where(directory))


def _where(directory: str) -> str:
    return f"linux.cgroupsPath: {directory}"


def create(path: str, resources: Mapping[str, Any], facts: HostFacts) -> Cgroups:
    """Make the groups at `path` ("/a/b") and set their limits; `outcome` of the result says what became of each.

    Programs for devices are left to whoever starts the container: `device_filters` of the result.

    HostError when a group cannot be made; then none is left of those made here.
    """
    maker = _Maker(_Layout(_checked(path), resources, facts), facts)
    try:
        return maker.make()
    except BaseException as error:
        remove(reversed(maker.made), patience=0)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise HostError(f"the control group cannot be made: {reason}", str(error.filename or path)) from error
        raise


def update(path: str, resources: Mapping[str, Any], facts: HostFacts) -> Cgroups:
    """Set limits of groups that exist; HostError when one is gone. `resources` has no devices."""
    return _Updater(_Layout(_checked(path), resources, facts), facts).make()


def delegate(directory: str, uid: int) -> None:
    """Give a cgroup2 group, and the files that manage what is below it, to a user of the host."""
    os.chown(directory, uid, -1)
    for name in read(_DELEGATED).split():
        try:
            os.chown(f"{directory}/{name}", uid, -1)
        except FileNotFoundError:
            continue  # of a controller that is not enabled


def _checked(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise AppcError(f"{path!r} names no control group of a container's own", "linux.cgroupsPath")
    return "/" + "/".join(parts)


class _Layout(Layout):
    """One group in each hierarchy, in the one scope there is."""

    def __init__(self, path: str, resources: Mapping[str, Any], facts: HostFacts) -> None:
        self._path = path
        super().__init__("", (), {POD: resources}, facts)

    def _hierarchies(self) -> list[str]:
        unified = self._facts.unified
        return sorted(self._facts.bases, key=lambda place: (place != unified, place))

    def _v1(self, mountpoint: str) -> None:
        controllers = frozenset(name for name, place in self._facts.controllers.items() if place == mountpoint)
        self._add(mountpoint, controllers, "devices" in controllers)

    def _unified(self, unified: str) -> None:
        self._add(unified, frozenset(), self.device_programs)

    def _add(self, mountpoint: str, controllers: frozenset[str], guards: bool) -> None:
        base = self._facts.bases[mountpoint]
        rules = self._rules[POD] if guards else ()
        group = Group(base + self._path, POD, self._here(POD, mountpoint), rules, controllers, base)
        self.groups.append(group)
        self.result.pod_paths.append(group.path)


class _Maker(Maker):
    """Makes each group with what leads to it."""

    def __init__(self, layout: Layout, facts: HostFacts) -> None:
        super().__init__(layout)
        self._facts = facts

    def _make_group(self, group: Group) -> None:
        directory = group.base
        for name in group.path[len(group.base) :].strip("/").split("/"):
            directory = f"{directory}/{name}"
            try:
                os.mkdir(directory, 0o755)
                self.made.append(directory)
            except FileExistsError:
                pass
        if "cpuset" in group.controllers:
            inherit_cpuset(group.path)

    def _enable_controllers(self, group: Group) -> None:
        """All there are: who looks at the container reads what they count."""
        names = sorted(name for name, place in self._facts.controllers.items() if place == self._facts.unified)
        directory = group.base
        for name in group.path[len(group.base) :].strip("/").split("/"):
            try:
                enabled = read(f"{directory}/cgroup.subtree_control").split()
            except OSError:
                enabled = []
            self._enable(directory, [name for name in names if name not in enabled])
            directory = f"{directory}/{name}"

    def _filter_devices(self, path: str, program: bytes) -> str:
        self.layout.result.device_filters.append((path, program))
        return ""


class _Updater(_Maker):
    """Leaves the groups as they are, and their devices: rules are only ever added to."""

    def make(self) -> Cgroups:
        """Set the limits; again where one was in the way of another, since memory must not exceed memory and swap."""
        result = super().make()
        if any(row[2] == "ignored" for row in result.outcome):
            self.rows.clear()
            result = super().make()
        return result

    def _make_group(self, group: Group) -> None:
        if not os.path.isdir(group.path):
            raise HostError("the control group is gone", group.path)

    def _enable_controllers(self, group: Group) -> None:
        pass
