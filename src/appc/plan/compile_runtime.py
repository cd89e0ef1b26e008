"""Apps and handlers that another OCI runtime makes: the tracks of who runs it.

The runtime is a program of the host's, run outside of the pod. Its containers join the pod's namespaces by path, and
have a root that is mounted for them beforehand, in a mount namespace that nothing else is in.
"""

from __future__ import annotations

from appc.plan.compile_root import RootBuilder
from appc.plan.constants import CLONE_NEWNS
from appc.plan.ops import Op, Track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.plan.compile_pod import PodApp
    from appc.plan.facts import Facts

ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)


class Runtime:
    """An OCI runtime: `argv` is the program with its global options, `bundles` the directory with a bundle for each
    container, by its name; the container's ID is that with `prefix` before it."""

    __slots__ = ("argv", "bundles", "prefix")

    def __init__(self, argv: Sequence[str], bundles: str, prefix: str) -> None:
        self.argv = tuple(argv)
        self.bundles = bundles
        self.prefix = prefix

    def app_track(self, track: str, app: PodApp, facts: Facts) -> Track:
        """Return the track that mounts the root of `app` and, when the app is to start, has it made."""
        ops = [Op("unshare", CLONE_NEWNS, source="appc")]
        ops += RootBuilder(app.config, app.root, facts, hints=app.hints, files=app.files).bare()
        ops.append(Op("sync", "start", source="appc"))
        ops.append(self._make(app.name))
        return Track(track, ops)

    def track_beside(self, track: str, container: str) -> Track:
        """Return the track that has `container` made, whose root is that of an app."""
        return Track(track, [Op("join", CLONE_NEWNS, source="appc"), self._make(container)])

    def _make(self, container: str) -> Op:
        bundle = f"{self.bundles}/{container}"
        argv = (*self.argv, "--log", f"{bundle}/log", "--log-format", "json")
        return Op("runtime", argv, ENVIRONMENT, bundle, f"{self.prefix}{container}", f"{bundle}/pid", source="appc")
