"""The plan of a whole pod: keeper, PID 1, apps, handlers and teardown; and the plan to enter one."""

from __future__ import annotations

from appc.plan.check import KEEPER, TEARDOWN, check
from appc.plan.compile import compile_app, compile_handler, compile_init, init_flags
from appc.plan.compile_cgroups import membership
from appc.plan.compile_common import namespace_types
from appc.plan.compile_root import FILE, NO_SYMLINKS, REPLACES_FILE
from appc.plan.constants import NAMESPACES
from appc.plan.ops import Op, Plan, Track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Protocol

    from appc.plan.compile_root import RootFS
    from appc.plan.compile_runtime import Runtime
    from appc.plan.facts import Facts

    class ResolvedMount(Protocol):
        """A volume as an app mounts it."""

        @property
        def source(self) -> str: ...
        @property
        def target(self) -> str: ...
        @property
        def is_directory(self) -> bool: ...
        @property
        def replaces_file(self) -> bool: ...


INIT = "init"
AGAIN = "again"
# The socket, in the pod's directory, of those who attach to apps.
ATTACH = "attach"

# Milliseconds before an app runs again, doubled each time up to the second number.
RESTART_DELAY, LONGEST_RESTART_DELAY = 100, 60_000


class PodApp:
    """An app as the plan needs it.

    `config` is its OCI configuration and `seccomp` the program for it; `pre_start` and `post_stop` are configurations
    of its handlers or None, `timeouts` how long they may take (milliseconds, 0 = for ever). `restart` is (when, most)
    as the op has them, if the app is to run again, `health` how it is asked whether it is well. `streams` are modes for
    stdin, stdout and stderr, `log` the log file and `notify` the socket at which the app says that it is ready ("" = it
    does not), both relative to the pod's directory. `sockets` are (kind, address, port, made in the pod) as the op has
    them. `runtime` is that which makes its containers (None = the plan does it all). The rest is `compile_app`'s.
    """

    __slots__ = (
        "cgroups",
        "config",
        "files",
        "health",
        "hints",
        "log",
        "name",
        "notify",
        "post_stop",
        "pre_start",
        "restart",
        "root",
        "runtime",
        "seccomp",
        "sockets",
        "streams",
        "timeouts",
    )

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        root: RootFS,
        *,
        cgroups: Sequence[str] = (),
        seccomp: bytes | None = None,
        hints: Mapping[str, tuple[str, ...]] | None = None,
        files: Sequence[tuple[str, int, bytes, bool]] = (),
        pre_start: Mapping[str, Any] | None = None,
        post_stop: Mapping[str, Any] | None = None,
        timeouts: tuple[int, int] = (0, 0),
        restart: tuple[int, int] | None = None,
        health: HealthCheck | None = None,
        streams: tuple[str, str, str] = ("null", "log", "log"),
        log: str = "",
        notify: str = "",
        sockets: Sequence[tuple[str, str, int, int]] = (),
        runtime: Runtime | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.root = root
        self.cgroups = cgroups
        self.seccomp = seccomp
        self.hints = hints
        self.files = files
        self.pre_start = pre_start
        self.post_stop = post_stop
        self.timeouts = timeouts
        self.restart = restart
        self.health = health
        self.streams = streams
        self.log = log or f"logs/{name}.log"
        self.notify = notify
        self.sockets = sockets
        self.runtime = runtime


class HealthCheck:
    """How an app is asked whether it is well: `config` is that of a command beside it, or None for the `port`, of which
    `path` is asked for ("" = a connection is enough). `times` are (interval, timeout, most, start) as ops have them.
    """

    __slots__ = ("config", "path", "port", "times")

    def __init__(
        self,
        times: tuple[int, int, int, int],
        *,
        config: Mapping[str, Any] | None = None,
        port: int = 0,
        path: str = "",
    ) -> None:
        self.times = times
        self.config = config
        self.port = port
        self.path = path


def compile_pod(
    apps: Sequence[PodApp],
    *,
    sandbox: Mapping[str, Any],
    facts: Facts,
    pod_dir: str,
    init_cgroups: Sequence[str] = (),
    shm: str = "",
    metadata: tuple[str, int, str, tuple[str, ...]] | None = None,
    grace: int = 10_000,
    log_size: int = 0,
    log_files: int = 0,
    journal: str = "",
    teardown: Sequence[str] = (),
    exited_dir: str = "",
    finish: tuple[str, ...] = (),
    joined: bool = False,
    namespaces: str = "",
    warnings: list[str] | None = None,
) -> Plan:
    """Return the plan of a pod, checked.

    `sandbox` is the OCI configuration its apps share; `shm` the directory where the pod's /dev/shm is mounted ("" =
    none); `metadata` the (address, port, service socket, argv to start the service) to listen on; `grace` the
    milliseconds between SIGTERM and SIGKILL; `log_size` (bytes) and `log_files` bound the logs, of which the socket
    `journal` gets a copy ("" = none). At the end the groups `teardown` are removed in that order, the pod's directory
    becomes `exited_dir` ("" = stays) and `finish` is run. `joined` says that the pod's network is another pod's,
    `namespaces` where there is to be a link to the pod's namespaces ("" = nowhere).
    Raises AppcError, with the field's path, for what cannot be honoured.
    """
    # In a network that another pod made it is there.
    address = metadata[0] if metadata and not metadata[0].startswith("127.") and not joined else ""
    # Whatever is mounted over this directory, nobody but PID 1 sees it.
    target = f"{pod_dir}/apps"
    tracks = [
        compile_init(sandbox, name=INIT, target=target, facts=facts, cgroups=init_cgroups, metadata_address=address)
    ]
    parts = [AppParts(index, app, sandbox, pod_dir, facts, warnings) for index, app in enumerate(apps)]
    for part in parts:
        tracks += part.tracks
    ops = [Op("mount-namespace", source="appc")]
    if shm:
        ops.append(Op("tmpfs", shm, ("mode=1777",), source="appc"))
    ops += _adoptions(sandbox)
    if any(namespace["type"] == "user" for namespace in sandbox["linux"]["namespaces"]):
        from appc.plan.compile_user import check_user, keeper_ops

        ops += keeper_ops(sandbox, namespace_types(sandbox))
        for app in apps:
            check_user(app.config, f"app {app.name}.")
    ops.append(Op("init", init_flags(sandbox), INIT, membership(init_cgroups, facts)[0], source="linux.namespaces"))
    if namespaces:
        ops.append(Op("namespaces", namespaces, source="appc"))
    if metadata:
        ops.append(Op("listen", *metadata, source="appc"))
    if journal:
        ops.append(Op("journal", journal, source="appc"))
    ops.append(Op("attach", ATTACH, source="appc"))
    ops += app_ops(parts)
    ops.append(Op("ready", source="appc"))
    ops.append(Op("supervise", grace, log_size, log_files, source="appc"))
    end = _teardown(teardown, pod_dir, exited_dir, finish)
    plan = Plan([Track(KEEPER, ops), *tracks, Track(TEARDOWN, end)], facts.as_text())
    check(plan)
    return plan


class AppParts:
    """What one app adds to a plan: its `tracks`, and the ops of the keeper that `app_ops` puts in order."""

    __slots__ = ("begun", "declared", "handlers", "notify", "sockets", "start", "tracks")

    def __init__(
        self,
        index: int,
        app: PodApp,
        sandbox: Mapping[str, Any],
        pod_dir: str,
        facts: Facts,
        warnings: list[str] | None,
    ) -> None:
        # What a runtime needs for itself is not the app's: it puts the container into groups, and is in none of them.
        born, source = "" if app.runtime else membership(app.cgroups, facts)[0], f"apps[{index}]"
        keyring = keyring_of(pod_dir)
        shared = [kind for kind in namespace_types(sandbox) if kind not in ("mount", "cgroup")]
        runtime = app.runtime
        self.tracks = [
            runtime.app_track(f"app {app.name}", app, facts)
            if runtime
            else compile_app(
                app.config,
                name=f"app {app.name}",
                root=app.root,
                facts=facts,
                cgroups=app.cgroups,
                shared=shared,
                seccomp=app.seccomp,
                hints=app.hints,
                files=app.files,
                keyring=keyring,
                warnings=warnings,
                sockets=len(app.sockets),
            )
        ]
        self.sockets = [Op("socket", app.name, *one, source=f"{source}.app.ports") for one in app.sockets]
        self.notify = [Op("notify", app.name, app.notify, source="appc")] if app.notify else []
        self.begun = Op("app", app.name, f"app {app.name}", *app.streams, app.log, born, source=source)
        self.declared: list[Op] = []
        self.handlers: list[Op] = []
        self.start = Op("start", app.name, source=source)

        def beside(name: str, config: Mapping[str, Any], sockets: int = 0) -> str:
            track = (
                runtime.track_beside(f"{name} {app.name}", app.name if name == AGAIN else f"{app.name}.{name}")
                if runtime
                else compile_handler(
                    config,
                    name=f"{name} {app.name}",
                    facts=facts,
                    cgroups=app.cgroups,
                    seccomp=app.seccomp,
                    keyring=keyring,
                    warnings=warnings,
                    sockets=sockets,
                )
            )
            self.tracks.append(track)
            return track.name

        for event, op, handler, timeout, ops in (
            ("pre-start", "handler", app.pre_start, app.timeouts[0], self.handlers),
            ("post-stop", "post-stop", app.post_stop, app.timeouts[1], self.declared),
        ):
            if handler is not None:
                track, where = beside(event, handler), f"{source}.app.eventHandlers {event}"
                ops.append(Op(op, app.name, track, app.log, timeout, born, source=where))
        if app.restart:
            track = beside(AGAIN, app.config, len(app.sockets))
            self.declared.append(restart_op(app.name, track, app.restart, f"{source}.annotations"))
        health = app.health
        if health and health.config is not None:
            track = beside("health", health.config)
            self.declared.append(
                Op("health-command", app.name, track, born, *health.times, source=f"{source}.annotations")
            )
        elif health:
            place = (health.port, health.path)
            self.declared.append(Op("health-port", app.name, *place, *health.times, source=f"{source}.annotations"))


def app_ops(parts: Sequence[AppParts]) -> list[Op]:
    """Return the ops that bring apps up, all built before the first handler, all handlers before the first start."""
    ops = [op for part in parts for op in (*part.sockets, *part.notify)]
    ops += [part.begun for part in parts]
    # Declared before any app runs: one may end at once.
    ops += [op for part in parts for op in part.declared]
    ops += [op for part in parts for op in part.handlers]
    return ops + [part.start for part in parts]


def restart_op(app: str, track: str, policy: tuple[int, int], source: str) -> Op:
    """Return the op by which an app runs again by `track` when it has ended; `policy` is (when, most)."""
    when, most = policy
    return Op("restart", app, track, when, RESTART_DELAY, LONGEST_RESTART_DELAY, most, source=source)


def keyring_of(pod_dir: str) -> str:
    """Return the session keyring that the apps of a pod share, and none of which sees the caller's."""
    return f"_ses.{pod_dir.rpartition('/')[2]}"


def compile_enter(
    config: Mapping[str, Any],
    *,
    name: str,
    pid: int,
    facts: Facts,
    cgroups: Sequence[str] = (),
    seccomp: bytes | None = None,
    streams: tuple[str, str, str] = ("inherit", "inherit", "inherit"),
    warnings: list[str] | None = None,
) -> Plan:
    """Return the plan, checked, that runs `config`'s process beside the app `name`, whose process is `pid`."""
    track = f"enter {name}"
    ops = []
    for kind in namespace_types(config):
        if kind != "cgroup":
            flag, file = NAMESPACES[kind]
            ops.append(Op("adopt", flag, f"/proc/{pid}/ns/{file}", source="linux.namespaces"))
    ops.append(Op("execute", track, *streams, membership(cgroups, facts)[0], source="appc"))
    inside = compile_handler(
        config,
        name=track,
        facts=facts,
        cgroups=cgroups,
        seccomp=seccomp,
        keyring=f"_ses.appc-enter-{pid}",
        warnings=warnings,
    )
    plan = Plan([Track(KEEPER, ops), inside], facts.as_text())
    check(plan)
    return plan


def volume_hints(volumes: Iterable[ResolvedMount], own_dir: str) -> dict[str, tuple[str, ...]]:
    """Return `compile_app`'s hints for volumes; sources below `own_dir` are appc's own and may lie behind links."""
    hints = {}
    for volume in volumes:
        words = []
        if not volume.is_directory:
            words.append(FILE)
        if volume.replaces_file:
            words.append(REPLACES_FILE)
        if not volume.source.startswith(own_dir + "/"):
            words.append(NO_SYMLINKS)
        hints[volume.target] = tuple(words)
    return hints


def _adoptions(sandbox: Mapping[str, Any]) -> list[Op]:
    return [
        Op("adopt", NAMESPACES[kind][0], path, source="linux.namespaces")
        for kind, path in namespace_types(sandbox).items()
        if path
    ]


def _teardown(cgroups: Sequence[str], pod_dir: str, exited_dir: str, finish: tuple[str, ...]) -> list[Op]:
    ops = [Op("record", source="appc")]
    ops += [Op("rmdir-cgroup", directory, "cgroup.procs", source="linux.cgroupsPath") for directory in cgroups]
    if exited_dir:
        ops.append(Op("rename-phase", pod_dir, exited_dir, source="appc"))
    if finish:
        ops.append(Op("finish", finish, source="appc"))
    return ops
