"""From what the keeper recorded of a failed start to the error a user reads.

The pod's own plan says what was being done and which field of the manifest asked for it, so a
failure can be explained at any time after, by whoever asks.
"""

from __future__ import annotations

import os

from appc.errors import AppcError, LaunchError, PodNotFound
from appc.launch.diagnose import Program, RootView, explain_exec
from appc.plan import wire_read
from appc.plan.explain import explain as explain_op
from appc.pods import records
from appc.pods.layout import Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.plan.ops import Op, Plan

CAP_DAC_OVERRIDE = 1 << 1
ECHILD, ECONNRESET = 10, 104


class Failure:
    """Op `index` of `track` failed with `errno`; `status` is that of the handler that did, if one did."""

    __slots__ = ("errno", "index", "status", "track")

    def __init__(self, track: str, index: int, errno: int, status: int = 0) -> None:
        self.track = track
        self.index = index
        self.errno = errno
        self.status = status


def recorded(pod: Pod) -> AppcError | None:
    """Return why the pod did not start, or None when nothing says that it did not."""
    fields = records.read(pod, "_failure")
    if not fields:
        return None
    index, errno = records.number(fields.get("op")), records.number(fields.get("errno"))
    try:
        if index is None or errno is None:
            raise LaunchError("no op and errno are recorded")
        failure = Failure(fields.get("track", ""), index, errno, records.number(fields.get("status")) or 0)
        return explain_failure(pod, wire_read.decode(pod.read("plan")), failure)
    except (LaunchError, FileNotFoundError):
        return LaunchError("did not start, and left no readable record why", f"pod {pod.uuid}")


def warnings(pod: Pod, lines: list[str]) -> list[str]:
    """Return what the keeper noted of a pod (`TRACK OP ERRNO` a line) although it went on, a sentence each."""
    try:
        plan = wire_read.decode(pod.read("plan"))
    except (LaunchError, FileNotFoundError):
        return []
    found = []
    for line in lines:
        words = line.rsplit(" ", 2)
        index, errno = (records.number(word) for word in words[-2:]) if len(words) == 3 else (None, None)
        if index is not None and errno is not None:
            found.append(str(explain_failure(pod, plan, Failure(words[0], index, errno))))
    return found


def explain_failure(pod: Pod, plan: Plan, failure: Failure) -> AppcError:
    """Return the error that `failure` of the pod's `plan` means to its user."""
    kind, _, app = failure.track.partition(" ")
    op = find_op(plan, failure)
    if op is not None and op.name == "exec":
        where = f"app {app}" if kind in ("app", "again") else f"{kind} handler of app {app}"
        if kind == "health":
            where = f"health check of app {app}"
        return explain_exec(_root(plan, app, pod), tried(plan, failure.track), failure.errno, where)
    if op is not None and op.name == "runtime" and failure.errno == ECHILD:
        from appc.executor import runtime

        argv, bundle = op.args[0], str(op.args[2])
        assert isinstance(argv, tuple)
        where = f"app {app}" if kind in ("app", "again") else f"{kind} of app {app}"
        said = runtime.explain(pod, argv[0], bundle, where)
        if said is not None:
            return said
    if op is not None and op.name == "handler" and failure.errno == ECHILD:
        app, how = str(op.args[0]), f"ended with status {failure.status}"
        if failure.status > 128:
            how = f"was killed by signal {failure.status - 128}"
        hint = f"`appc logs --app {app} {pod.uuid[:8]}` shows what it wrote"
        return AppcError(how, f"pre-start handler of app {app}", hint)
    if op is not None and op.name in ("app", "start") and failure.errno == ECONNRESET:
        limit = _memory_limit(pod, str(op.args[0]))
        if limit:
            return AppcError(
                "was killed before its program ran",
                f"app {op.args[0]!s}",
                f"its memory limit of {limit} bytes may be too low to start anything",
            )
    # A missing working directory is the image's or the user's fault, not the host's.
    error = AppcError if op is not None and op.name == "chdir" else LaunchError
    return error(explain_op(plan, failure.track, failure.index, failure.errno), f"pod {pod.uuid[:8]}")


def find_op(plan: Plan, failure: Failure) -> Op | None:
    """Return the op that failed; None for a failure before the first op, or one the plan knows nothing of."""
    ops = next((track.ops for track in plan.tracks if track.name == failure.track), [])
    return ops[failure.index] if failure.index < len(ops) else None


def tried(plan: Plan, track: str) -> Program:
    """Return what the track executes at its end: which files, from where, as whom."""
    last = {op.name: op for op in plan.track(track).ops}
    files, argv = last["exec"].args[0], last["exec"].args[1]
    assert isinstance(files, tuple)
    assert isinstance(argv, tuple)
    uid, gid, groups = last["ids"].args
    assert isinstance(uid, int)
    assert isinstance(gid, int)
    assert isinstance(groups, tuple)
    effective = last["caps"].args[0]
    assert isinstance(effective, int)
    everywhere = effective & CAP_DAC_OVERRIDE
    return Program(
        files,
        argv[0],
        str(last["chdir"].args[0]),
        None if everywhere else (uid, gid, tuple(int(group) for group in groups)),
    )


def _root(plan: Plan, app: str, pod: Pod) -> RootView:
    """The app's root, as its track builds it: its trees (topmost first) and what is bound into them."""
    trees: tuple[str, ...] = ()
    mounts = {}
    # What a user namespace would keep it from is opened before, and named by its number.
    opened: list[str] = []
    for op in plan.track(f"app {app}").ops:
        if op.name in ("tree", "overlay"):
            opened.append(str(op.args[0]))
        if op.name in ("root-overlay", "overlay"):
            lowers = op.args[0 if op.name == "overlay" else 1]
            assert isinstance(lowers, tuple)
            lowers = tuple(_opened(path, opened) for path in lowers)
            upper = pod.file(f"apps/{app}/upper")
            # A pod that was run with --rm has lost it.
            trees = (upper, *lowers) if os.path.isdir(upper) else lowers
        elif op.name == "root-bind" and not trees:
            trees = (pod.file(f"apps/{app}/rootfs"),)
        elif op.name == "bind" and not str(op.args[0]).startswith("@"):
            mounts[str(op.args[1])] = _moved(_opened(str(op.args[0]), opened), pod)
    return RootView(trees, mounts)


def _opened(path: str, opened: list[str]) -> str:
    """The path of the host that a source in a plan stands for."""
    return opened[int(path[1:])] if path[:1] == "#" else path


def _memory_limit(pod: Pod, app: str) -> int:
    try:
        limit: int = pod.read_json(f"config/{app}")["linux"]["resources"].get("memory", {}).get("limit", 0)
    except (FileNotFoundError, PodNotFound):
        return 0
    return limit


def _moved(source: str, pod: Pod) -> str:
    """Where a path of the pod's own directory, as its plan has it, is now."""
    before = f"{pod.root}/pods/run/{pod.uuid}/"
    return pod.file(source.removeprefix(before)) if source.startswith(before) else source
