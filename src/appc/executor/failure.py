"""From what the keeper recorded of a failed start to the error a user reads.

The pod's own plan says what was being done and which field of the manifest asked for it, so a
failure can be explained at any time after, by whoever asks.
"""

from __future__ import annotations

from appc.errors import AppcError, LaunchError
from appc.images.view import TreeView
from appc.launch.diagnose import explain_exec
from appc.plan import wire
from appc.plan.explain import explain as explain_op
from appc.pods import records
from appc.pods.layout import Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.plan.ops import Op, Plan


def recorded(pod: Pod) -> AppcError | None:
    """Return why the pod did not start, or None when nothing says that it did not."""
    fields = records.read(pod, "_failure")
    return explain(pod, fields) if fields else None


def explain(pod: Pod, fields: dict[str, str]) -> AppcError:
    """Return the error that a pod's `status/_failure` file stands for."""
    try:
        track, index, error = fields["track"], int(fields["op"]), int(fields["errno"])
        return explain_failure(pod, wire.decode(pod.read("plan")), track, index, error)
    except (KeyError, ValueError, OSError):
        return LaunchError("did not start, and left no readable record why", f"pod {pod.uuid}")


def explain_failure(pod: Pod, plan: Plan, track: str, index: int, error: int) -> AppcError:
    """Return the error for op `index` of `track` having failed with errno `error`."""
    ops = plan.track(track).ops
    op = ops[index] if index < len(ops) else None
    if op is not None and op.name == "exec":
        app = track.rpartition(" ")[2]
        view = TreeView(_trees(plan, app, pod))
        files, argv = op.args[0], op.args[1]
        assert isinstance(files, tuple)
        assert isinstance(argv, tuple)
        return explain_exec(view, files, argv[0], error, f"app {app}" if track == f"app {app}" else track)
    # A missing working directory is the image's or the user's fault, not the host's.
    kind = AppcError if op is not None and op.name == "chdir" else LaunchError
    return kind(explain_op(plan, track, index, error), f"pod {pod.uuid[:8]}")


def _trees(plan: Plan, app: str, pod: Pod) -> tuple[str, ...]:
    """The trees that make the app's root, topmost first, as its track mounts them."""
    for op in plan.track(f"app {app}").ops:
        if op.name == "root-overlay":
            return (pod.file(f"apps/{app}/upper"), *_lowers(op))
        if op.name == "root-bind":
            return (str(op.args[0]),)
    return ()


def _lowers(op: Op) -> tuple[str, ...]:
    lowers = op.args[1]
    assert isinstance(lowers, tuple)
    return lowers
