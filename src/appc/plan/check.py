"""The order law: what every plan must obey, whoever made it.

A plan that breaks it would leave a privilege, a path of the host or a namespace where an app could
use it, so it is refused as a whole. The law says nothing about what a container should look like.
"""

from __future__ import annotations

from appc.errors import LaunchError
from appc.plan.constants import CLONE_NEWCGROUP, CLONE_NEWNS, CLONE_NEWUSER, ROOT, SIGKILL
from appc.plan.ops import INSIDE, TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from appc.plan.ops import Op, Plan, Track

# The tracks the keeper performs itself: the pod's life, its end, and what else is done when it could not start; in a
# plan of its own, what changes while the pod runs.
KEEPER, TEARDOWN, FAILURE, CHANGE = "keeper", "teardown", "failure", "change"

_PERFORMER = {name: performer for name, _, performer in TABLE}
_ROOTS = ("root-overlay", "root-bind", "root-tmpfs")
_BUILDING = (
    *("mkdir", "file", "remove", "symlink", "mknod", "mount", "bind", "copy-up", "attributes", "mount-propagation"),
    *("mask", "console"),
)
# Those that are about what is outside it.
_OUTSIDE = ("cgroup", "join", "tree", "overlay", "fork", "clocks")
_ENDS = ("exec", "reap")
# What may be done for a container that another runtime makes: its root is mounted, or the mounts it has are joined.
_FOR_RUNTIME = ("unshare", "join", *_ROOTS, "remove", "file", "sync", "runtime")
# At most one of each, in this order. `caps`, `no-new-privs` and `seccomp` have laws of their own.
_BEFORE_START = ("created", "pivot", "sync", "bounding", "ids", "death-signal", "await-start")
_SEQUENCE = (*_BEFORE_START, "start-hook", *_ENDS)
_ONCE = (
    *_BEFORE_START,
    *_ENDS,
    "own-output",
    "fork",
    "act-as",
    *_ROOTS,
    "no-new-privs",
    "seccomp",
    "chdir",
    "console",
    "keyring",
    "oom-score-adj",
    "umask",
    "program",
    "sockets",
    "clocks",
    "scheduler",
)
# What may follow the bounding set: nothing that opens a path, but to walk to the working directory.
_LAST = (
    *("bounding", "ids", "chdir", "death-signal", "caps", "await-start", "start-hook", "no-new-privs", "seccomp"),
    *_ENDS,
)
# Op that starts a track → (index of the argument that names it, whether the keeper waits for its `sync start`).
_STARTERS = {
    "init": (1, False),
    "app": (1, True),
    "handler": (1, False),
    "post-stop": (1, False),
    "restart": (1, False),
    "run-again": (1, False),
    "health-command": (1, False),
    "execute": (0, False),
    "process": (0, False),
}
_PHASES = (
    *(
        "mount-namespace",
        "tmpfs",
        "target",
        "adopt",
        "userns",
        "device-filter",
        "init",
        "namespaces",
        "listen",
        "journal",
        "attach",
    ),
    *("socket", "notify", "app", "start"),
    *("agent", "process", "pidfd", "net-device", "hook", "proceed", "ready", "supervise", "wait"),
)
# Ops whose first argument is an app.
_OF_APPS = ("app", "handler", "post-stop", "restart", "health-command", "health-port", "start")
# What may change in a pod that runs.
_CHANGES = (*_OF_APPS, "notify", "stop-app", "run-again", "drop-app", "rmdir-cgroup", "ready")
_END_OPS = ("rmdir-cgroup", "record", "rename-phase", "finish")


def check(plan: Plan) -> None:
    """Raise LaunchError, naming track and op, when `plan` breaks the order law."""
    names = [track.name for track in plan.tracks]
    if len(set(names)) != len(names):
        raise LaunchError("has two tracks of one name", "plan")
    if (KEEPER in names) == (CHANGE in names):
        raise LaunchError("has no keeper track", "plan")
    life = KEEPER if KEEPER in names else CHANGE
    started = _check_keeper(plan.track(KEEPER)) if life == KEEPER else _check_change(plan.track(CHANGE))
    for track in plan.tracks:
        if track.name == TEARDOWN and life == CHANGE:
            _check_groups(track)
        elif track.name in (TEARDOWN, FAILURE) and life == KEEPER:
            _check_end(track)
        elif track.name != life:
            if track.name not in started:
                raise LaunchError("nobody performs this track", track.name)
            _check_inside(track, started.pop(track.name))
    for name, op in started.items():
        raise LaunchError(f"starts a track that does not exist: {name}", f"{life} {op.name}")


def _check_inside(track: Track, starter: Op) -> None:
    first, positions = _positions(track, INSIDE)
    if "runtime" in first:
        _check_outside(track, first, starter)
        return
    where = track.name
    if not track.ops or track.ops[-1].name not in _ENDS:
        raise LaunchError("does not end with exec or reap", where)
    if (track.ops[-1].name == "reap") != (starter.name == "init"):
        raise LaunchError(f"cannot be started by {starter.name}: it ends with {track.ops[-1].name}", where)
    if ("sync" in first) != _STARTERS[starter.name][1]:
        raise LaunchError(f"{starter.name} and the track's sync do not belong together", where)
    _check_start(track, first, starter)
    for name in _ONCE:
        if len(positions.get(name, ())) > 1:
            raise LaunchError(f"{name} is done twice", f"{where}[{positions[name][1]}]")
    _ordered(track, _SEQUENCE)
    _check_root(track, first)
    _check_user(track)
    if "bounding" not in first or "caps" not in first:
        raise LaunchError("keeps capabilities: bounding and caps are needed", where)
    if "exec" in first and ("ids" not in first or "chdir" not in first):
        raise LaunchError("executes without ids and chdir", where)
    for index in range(first["bounding"], len(track.ops)):
        if track.ops[index].name not in _LAST:
            raise LaunchError("comes after the bounding set was dropped", f"{where}[{index}] {track.ops[index].name}")
    if "sockets" in first and first["sockets"] + 1 != first["bounding"]:
        # Who is at a number that a socket gets is not needed after this.
        raise LaunchError("does not come right before bounding", f"{where}[{first['sockets']}] sockets")
    for index in positions.get("label", ()):
        _before(where, "label", index, "bounding", first["bounding"])
    _check_privileges(track, first, positions)


def _check_outside(track: Track, first: dict[str, int], starter: Op) -> None:
    """A runtime is run on the host, by who has done nothing but give its container a root, in mounts of its own."""
    where = track.name
    if starter.name not in ("app", "handler", "post-stop", "restart", "run-again", "health-command"):
        raise LaunchError(f"cannot be started by {starter.name}", f"{where}[{first['runtime']}] runtime")
    if ("sync" in first) != _STARTERS[starter.name][1]:
        raise LaunchError(f"{starter.name} and the track's sync do not belong together", where)
    for index, op in enumerate(track.ops):
        if op.name not in _FOR_RUNTIME or (op.name in ("unshare", "join") and op.args[0] != CLONE_NEWNS):
            raise LaunchError("is not for a container that a runtime makes", f"{where}[{index}] {op.name}")
        if (op.name == "runtime") != (index == len(track.ops) - 1):
            raise LaunchError("ends with runtime, once", where)
    if (track.ops[0].name not in ("unshare", "join")) or ("unshare" in first and "join" in first):
        raise LaunchError("mounts in its keeper's mount namespace", where)


def _check_start(track: Track, first: dict[str, int], starter: Op) -> None:
    """Who awaits a start outlives its keeper, and until then holds on to it only for its hooks."""
    if starter.name != "process":
        for name in ("created", "await-start"):
            if name in first:
                raise LaunchError(f"cannot be started by {starter.name}", f"{track.name}[{first[name]}]")
    elif bool(starter.args[2]) == bool(track.ops[first.get("death-signal", -1)].args[:1] == (SIGKILL,)):
        raise LaunchError("dies with its keeper if and only if that waits for it", track.name)


def _check_root(track: Track, first: dict[str, int]) -> None:
    """Paths are resolved in a root; the host's are named only before it is built or joined."""
    where = track.name
    joined = unshared = None
    for index, op in enumerate(track.ops):
        if op.name == "join" and op.args[0] in (CLONE_NEWNS, ROOT):
            joined = index
        if op.name == "unshare" and isinstance(op.args[0], int) and op.args[0] & CLONE_NEWNS:
            unshared = index
    roots = [first[name] for name in _ROOTS if name in first]
    if len(roots) > 1 or (roots and joined is not None):
        raise LaunchError("has more than one root", where)
    if not roots and joined is None:
        raise LaunchError("would run in the host's root: no root is built or joined", where)
    if roots and "pivot" not in first:
        raise LaunchError("would run in the host's root: no pivot", where)
    entered = roots[0] if roots else joined or 0
    if roots:
        _before(where, track.ops[roots[0]].name, roots[0], "pivot", first["pivot"])
        if track.ops[-1].name == "exec" and (unshared is None or unshared > roots[0]):
            raise LaunchError("builds a root in its keeper's mount namespace", f"{where}[{roots[0]}]")
    elif "pivot" in first:
        raise LaunchError("pivots without a root", f"{where}[{first['pivot']}]")
    for index, op in enumerate(track.ops):
        if op.name in _BUILDING and index < entered:
            raise LaunchError("comes before the root it works in", f"{where}[{index}] {op.name}")
        if op.name in _OUTSIDE and index > entered:
            raise LaunchError("comes after the root: its path was the host's", f"{where}[{index}] {op.name}")
        if op.name == "mask" and "pivot" in first and index > first["pivot"]:
            raise LaunchError("comes after the pivot, when the host's null device is gone", f"{where}[{index}] mask")
        if op.name == "cgroup" and _leaves_cgroup(track.ops[:index]):
            raise LaunchError("comes after its cgroup namespace was made", f"{where}[{index}] cgroup")


def _check_user(track: Track) -> None:
    """The host's privileges end where a user namespace is joined: what needs them comes before, its root's after."""
    joined = [index for index, op in enumerate(track.ops) if op.name == "join" and op.args[0] == CLONE_NEWUSER]
    if len(joined) > 1:
        raise LaunchError("joins a second user namespace", f"{track.name}[{joined[1]}]")
    at = joined[0] if joined else len(track.ops)
    for index, op in enumerate(track.ops):
        if op.name in ("cgroup", "tree", "overlay", "own-output") and index > at:
            raise LaunchError("comes after the user namespace was joined", f"{track.name}[{index}] {op.name}")
        if op.name in ("fork", "act-as") and index < at:
            raise LaunchError("comes before a user namespace was joined", f"{track.name}[{index}] {op.name}")
        # A new namespace belongs to the user namespace it is made in.
        if joined and op.name == "unshare" and index < at and op.args[0] != CLONE_NEWCGROUP:
            raise LaunchError("comes before the user namespace was joined", f"{track.name}[{index}] unshare")
    if joined:
        acts = next((index for index, op in enumerate(track.ops) if op.name == "act-as"), len(track.ops))
        made = next((index for index, op in enumerate(track.ops) if op.name in (*_BUILDING, "ids")), len(track.ops))
        if acts > made:
            raise LaunchError("is nobody in the user namespace it joined", f"{track.name}[{made}]")


def _leaves_cgroup(ops: Iterable[Op]) -> bool:
    return any(op.name == "unshare" and isinstance(op.args[0], int) and op.args[0] & CLONE_NEWCGROUP for op in ops)


def _check_privileges(track: Track, first: dict[str, int], positions: dict[str, list[int]]) -> None:
    """The tail: with no_new_privs caps, flag, filter; without it filter, caps; then nothing but exec or reap."""
    where, end = track.name, len(track.ops) - 1
    identity = first.get("ids", first["bounding"])
    caps, flag, seccomp = positions["caps"], first.get("no-new-privs"), first.get("seccomp")
    _before(where, "ids" if "ids" in first else "bounding", identity, "caps", caps[0])
    # Before a filter loaded without no_new_privs, effective capabilities may have to be raised once.
    allowed = 2 if flag is None and seccomp is not None else 1
    if len(caps) > allowed:
        raise LaunchError("capabilities are set more often than needed", f"{where}[{caps[-1]}] caps")
    if "chdir" in first and seccomp is not None:
        _before(where, "chdir", first["chdir"], "seccomp", seccomp)
    if flag is not None:
        _before(where, "caps", caps[0], "no-new-privs", flag)
        expected = flag if seccomp is None else seccomp
        if seccomp is not None:
            _before(where, "no-new-privs", flag, "seccomp", seccomp)
    else:
        expected = caps[-1]
        if seccomp is not None:
            _before(where, "ids", identity, "seccomp", seccomp)
            _before(where, "seccomp", seccomp, "the last caps", caps[-1])
            if len(caps) > 1:
                _before(where, "the first caps", caps[0], "seccomp", seccomp)
    if expected != end - 1:
        raise LaunchError(
            f"must be the last step before {track.ops[end].name}", f"{where}[{expected}] {track.ops[expected].name}"
        )


def _check_keeper(track: Track) -> dict[str, Op]:
    """Check the keeper's track; return track name → the op that starts it."""
    first, positions = _positions(track, "keep")
    for index, op in enumerate(track.ops):
        if op.name in _END_OPS:
            raise LaunchError("belongs into the teardown track", f"{track.name}[{index}] {op.name}")
        if op.name in ("stop-app", "run-again", "drop-app"):
            raise LaunchError("is for a pod that runs already", f"{track.name}[{index}] {op.name}")
    started, apps = _check_apps(track)
    once = ("init", "namespaces", "mount-namespace", "target", "ready", "supervise", "execute")
    for name in (*once, "agent", "process", "pidfd", "proceed", "wait"):
        if len(positions.get(name, ())) > 1:
            raise LaunchError(f"{name} is done twice", track.name)
    _ordered(track, _PHASES)
    if apps and not {"mount-namespace", "init", "ready", "supervise"} <= first.keys():
        raise LaunchError("runs apps without mount-namespace, init, ready and supervise", track.name)
    if "execute" in first and (apps or "adopt" not in first or first["execute"] != len(track.ops) - 1):
        raise LaunchError("is for a pod that runs already, and comes last", f"{track.name}[{first['execute']}] execute")
    _check_process(track, first, apps)
    if not started:
        raise LaunchError("starts nothing", track.name)
    return started


def _check_change(track: Track) -> dict[str, Op]:
    """Check a track of what changes in a pod; return track name → the op that starts it."""
    for index, op in enumerate(track.ops):
        if op.name not in _CHANGES:
            raise LaunchError("cannot be done to a pod that runs", f"{track.name}[{index}] {op.name}")
        if (op.name == "ready") != (index == len(track.ops) - 1):
            raise LaunchError("ends with ready, once", track.name)
    _ordered(track, _PHASES)
    return _check_apps(track, there=("restart",))[0]


def _check_apps(track: Track, there: tuple[str, ...] = ()) -> tuple[dict[str, Op], list[str]]:
    """Check what starts tracks, and the order of each app's ops; return track name → its starter, and the apps.

    Ops `there` may also be about an app that the pod has already.
    """
    started: dict[str, Op] = {}
    apps: list[str] = []
    running: list[str] = []
    for index, op in enumerate(track.ops):
        where = f"{track.name}[{index}] {op.name}"
        if op.name in _STARTERS:
            name = str(op.args[_STARTERS[op.name][0]])
            if name in started:
                raise LaunchError(f"starts {name} a second time", where)
            started[name] = op
        app = str(op.args[0]) if op.name in _OF_APPS else ""
        if op.name == "app":
            apps.append(app)
        elif app and app not in apps:
            if op.name in there:
                continue
            raise LaunchError(f"comes before the app {app}", where)
        elif app and op.name != "start" and app in running:
            raise LaunchError(f"comes after the start of {app}", where)
        if op.name == "start":
            running.append(app)
    if sorted(apps) != sorted(running):
        raise LaunchError("not every app is started, once", track.name)
    return started, apps


def _check_process(track: Track, first: dict[str, int], apps: list[str]) -> None:
    """A container, or a process beside one, is all its keeper has; one that is not waited for is left to others."""
    if "process" not in first:
        if first.keys() & {"hook", "proceed", "wait", "agent", "pidfd", "net-device"}:
            raise LaunchError("does for a process what has none", track.name)
        return
    if apps or first.keys() & {"init", "execute"} or "proceed" not in first:
        raise LaunchError("starts a process beside others, or never lets it proceed", track.name)
    if bool(track.ops[first["process"]].args[2]) == ("wait" in first):
        raise LaunchError("waits for a detached process, or not for another", track.name)


def _check_groups(track: Track) -> None:
    """A change adds to the end of its pod no more than control groups."""
    for index, op in enumerate(track.ops):
        if op.name != "rmdir-cgroup":
            raise LaunchError("is the pod's own business", f"{track.name}[{index}] {op.name}")


def _check_end(track: Track) -> None:
    first, _ = _positions(track, "keep")
    for index, op in enumerate(track.ops):
        if op.name not in _END_OPS:
            raise LaunchError("has no place at the end of a pod", f"{track.name}[{index}] {op.name}")
        # Python is run by `finish` and may remove what the others still need; a moved pod has other paths.
        if op.name == "finish" and index != len(track.ops) - 1:
            raise LaunchError("must be the last step", f"{track.name}[{index}] finish")
        if op.name == "record" and first.get("rename-phase", index) < index:
            raise LaunchError("comes after the pod was put away", f"{track.name}[{index}] record")


def _positions(track: Track, performer: str) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Return op name → first position, and → all positions; refuse ops that are not `performer`'s."""
    positions: dict[str, list[int]] = {}
    for index, op in enumerate(track.ops):
        if _PERFORMER.get(op.name) != performer:
            raise LaunchError("cannot be performed in this track", f"{track.name}[{index}] {op.name}")
        positions.setdefault(_name(op), []).append(index)
    return {name: found[0] for name, found in positions.items()}, positions


def _name(op: Op) -> str:
    """Return the name of an op; `sync created` is another thing than the `sync start` of an app."""
    if op.name in ("move-root", "carry-root"):
        return "pivot"
    return "created" if op.name == "sync" and op.args[0] == "created" else op.name


def _ordered(track: Track, order: tuple[str, ...]) -> None:
    """Refuse an op of `order` that comes after one that stands behind it there."""
    highest = 0
    for index, op in enumerate(track.ops):
        if _name(op) in order:
            rank = order.index(_name(op))
            if rank < highest:
                raise LaunchError(f"comes after {order[highest]}", f"{track.name}[{index}] {op.name}")
            highest = rank


def _before(where: str, earlier: str, index: int, later: str, other: int) -> None:
    if index > other:
        raise LaunchError(f"comes after {later}", f"{where}[{index}] {earlier}")
