"""The mount of type "cgroup" on each layout of cgroups."""

from __future__ import annotations

from appc.errors import Unenforceable
from appc.plan.constants import ATTR_RDONLY
from appc.plan.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.plan.facts import Facts


CLONE_INTO_CGROUP = (5, 7)  # the first Linux whose clone3(2) has that flag


def membership(directories: Sequence[str], facts: Facts) -> tuple[str, tuple[str, ...]]:
    """Return how a process comes into `directories`: (the cgroup2 one it is born in or "", control files to write to).

    Moving a whole process takes a lock that stops every fork of the machine for milliseconds. Being born in a group
    does not, nor does moving the one thread there is, which v1 lets by its `tasks`.
    """
    born, files = "", []
    for directory in directories:
        unified = bool(facts.unified) and (directory + "/").startswith(facts.unified + "/")
        if unified and not born and facts.kernel >= CLONE_INTO_CGROUP:
            born = directory
        else:
            files.append(f"{directory}/{'cgroup.procs' if unified else 'tasks'}")
    return born, tuple(files)


def cgroup_mounts(
    path: str, attributes: int, directories: Sequence[str], facts: Facts, own_namespace: bool, where: str
) -> list[Op]:
    """Return the ops that show a container its cgroups at `path`, which exists.

    `directories` are the groups it is in. On v1 and hybrid only their hierarchies are shown: in any other the
    container is where its runtime is. In a cgroup namespace of its own a fresh mount begins at the container's
    group; without one, that directory is bound.
    """
    if facts.cgroup == "none":
        raise Unenforceable("this host has no cgroup hierarchy", where)
    if facts.cgroup == "v2":
        return [
            _hierarchy("cgroup2", path, attributes, (), directories[0] if directories else "", own_namespace, where)
        ]
    ops = [Op("mount", "tmpfs", "cgroup", path, attributes & ~ATTR_RDONLY, ("mode=755", "size=64k"), source=where)]
    places = {place: [name for name, other in facts.controllers.items() if other == place] for place in _places(facts)}
    for directory in directories:
        place = next((place for place in places if directory == place or directory.startswith(place + "/")), "")
        if not place:
            continue
        name, controllers = place.rpartition("/")[2], places[place]
        fstype = "cgroup2" if place == facts.unified else "cgroup"
        options = tuple(controllers) if fstype == "cgroup" else ()
        ops.append(Op("mkdir", f"{path}/{name}", 0o755, 0, 0, source=where))
        ops.append(_hierarchy(fstype, f"{path}/{name}", attributes, options, directory, own_namespace, where))
        links = [other for other in options if other != name]
        ops += [Op("symlink", name, f"{path}/{other}", source=where) for other in links]
    if attributes & ATTR_RDONLY:
        ops.append(Op("attributes", path, 0, ATTR_RDONLY, 0, source=where))
    return ops


def _places(facts: Facts) -> list[str]:
    """Return the mount points of all hierarchies, longest first, so that the first that fits is the right one."""
    places = {*facts.controllers.values(), facts.unified} - {""}
    return sorted(places, key=len, reverse=True)


def _hierarchy(
    fstype: str, path: str, attributes: int, options: tuple[str, ...], directory: str, own_namespace: bool, where: str
) -> Op:
    if own_namespace or not directory:
        return Op("mount", fstype, "cgroup", path, attributes, options, source=where)
    return Op("bind", directory, path, 0, attributes, source=where)
