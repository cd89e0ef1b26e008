"""`create` and `run`: from a bundle to a container."""

from __future__ import annotations

import os

from appc.errors import AppcError, ManifestError, Unenforceable
from appc.host import cgroupfs, probe
from appc.launch import spawn
from appc.oci import container as containers
from appc.oci.handles import handles, with_listened
from appc.oci.home import with_home
from appc.oci.running import ENVIRONMENT, explain, seccomp, tell_warnings, wait
from appc.plan import wire
from appc.plan.compile_container import compile_container
from appc.plan.compile_mounts import clean
from appc.plan.compile_root import FILE, RootFS
from appc.schema.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.host.probe import HostFacts
    from appc.oci.container import Container
    from appc.oci.main import Context
    from appc.oci.options import Args
    from appc.oci.scope import Scope
    from appc.plan.compile_container import NetDevice
    from appc.plan.ops import Plan

_KILL = 9
# What the kernel no longer has; every runtime takes these and does nothing.
_OBSOLETE = ("memory.kernel", "memory.kernelTCP", "memory.useHierarchy")


def create(args: Args, context: Context) -> int:
    """Make a container whose process awaits its start."""
    making = Making(args, context, detached=True, awaits_start=True)
    making.make()
    tell_warnings(making.warnings, context)
    return 0


def run(args: Args, context: Context) -> int:
    """Make a container and start it; return its status, unless it is detached."""
    detached = args.flag("detach")
    making = Making(args, context, detached=detached, awaits_start=False)
    keeper = making.make()
    tell_warnings(making.warnings, context)
    container = making.container
    try:
        if (making.config.get("hooks") or {}).get("poststart"):
            from appc.oci import hooks

            hooks.run("poststart", making.config, container.state(containers.RUNNING))
    except BaseException:
        _end(container, keeper)
        _delete(container)
        raise
    if detached:
        return 0
    status = wait(keeper)
    if not args.flag("keep"):
        _delete(container)
    return status


class Making:
    """One container on its way from bundle to process."""

    def __init__(self, args: Args, context: Context, *, detached: bool, awaits_start: bool) -> None:
        self._args = args
        self._detached = detached
        self._awaits_start = awaits_start
        self._root = context.root
        self._systemd_cgroup = context.systemd_cgroup
        self._scope: Scope | None = None
        self.bundle = os.path.abspath(args.option("bundle") or ".")
        self.config = self._config()
        self._handles = handles(args, detached, bool((self.config.get("process") or {}).get("terminal")))
        self.container = containers.Container(context.root, args.words[0])
        self._device_filters: list[tuple[str, bytes]] = []
        self.warnings: list[str] = []

    def make(self) -> int:
        """Make the container; return its keeper, whose end was waited for if the container is detached."""
        facts = probe.facts()
        self.container = containers.create(self._root, self._args.words[0])
        try:
            self._record(facts)
            keeper = self._bring_up(facts)
            if self._scope is not None:
                self._scope.settle(self.config["linux"].get("resources") or {}, facts)
        except BaseException:
            self._remove_groups()
            self.container.remove()
            raise
        finally:
            if self._scope is not None:
                self._scope.release()
            self.container.unlock()
        return keeper

    def _remove_groups(self) -> None:
        """End what is in the container's groups, and remove them."""
        if self._scope is not None and not self._scope.started:
            return  # one of that name may be another container's
        cgroupfs.kill(self.container.cgroups)
        if self._scope is not None:
            self._scope.give_up()
        cgroupfs.remove(self.container.cgroups)

    def _bring_up(self, facts: HostFacts) -> int:
        plan = self._plan(facts)
        data = wire.encode(plan)
        self.container.write("plan", data)
        keeper, reader = spawn.spawn_here(data, self.container.path, ENVIRONMENT, self._handles.descriptors)
        try:
            report = spawn.read_report(reader)
        except BaseException:
            _end(self.container, keeper)
            raise
        if report.ready:
            if self._detached:
                os.waitpid(keeper, 0)
            return keeper
        os.waitpid(keeper, 0)
        raise explain(plan, report, self.container.name)

    def _config(self) -> dict[str, Any]:
        from appc.schema.oci_runtime import parse

        path = f"{self.bundle}/config.json"
        try:
            with open(path, "rb") as file:
                config = parse(file.read(), path)
        except FileNotFoundError:
            raise AppcError("the bundle has no config.json", self.bundle) from None
        if not config.get("process") and not self._awaits_start:
            raise ManifestError([("process", "is required to run anything")], path)
        if not config.get("linux"):
            config["linux"] = {}
        return config

    def _record(self, facts: HostFacts) -> None:
        """Write down what there is to remove, then make the control groups."""
        from time import time

        from appc.host import cgroup_container
        from appc.oci import front
        from appc.schema.oci_runtime import OCI_VERSION

        linux, container, rootfs = self.config["linux"], self.container, self._rootfs()
        container.record = {
            "ociVersion": OCI_VERSION,
            "bundle": self.bundle,
            "rootfs": rootfs,
            "created": int(time() * 1e9),
            "boot": containers.boot_id(),
            "owner": os.getuid(),
            "annotations": self.config.get("annotations") or {},
        }
        path = linux.get("cgroupsPath") or f"/appc-oci/{container.name}"
        if self._systemd_cgroup:
            from appc.oci.scope import Scope

            self._scope = Scope(linux.get("cgroupsPath") or "", container.name, facts)
            path = self._scope.path
            container.record["unit"] = self._scope.unit
        container.record["cgroup"] = path
        resources = dict(linux.get("resources") or {})
        resources["devices"] = [*(resources.get("devices") or ()), *cgroup_container.DEFAULT_RULES]
        places = cgroup_container.predict(path, facts)
        if self._scope is None:
            # Before they are recorded as the container's: whatever is in them ends with it. systemd looks itself.
            cgroup_container.check_unused(places)
        container.record["cgroups"] = places
        container.write_json("state.json", container.record)
        container.write_json("config.json", self.config)
        container.write(front.FILE, front.describe(container, self.config))
        if self.config.get("process"):
            # Of this process alone: commands beside it have another user, and get no sockets.
            self.config["process"] = with_listened(with_home(self.config["process"], rootfs))
        if self._scope is not None:
            self._scope.start(linux.get("resources") or {}, container.record["annotations"], container.cgroups)
            resources = self._scope.with_room(resources)
        groups = cgroup_container.create(path, resources, facts)
        refuse_unmet(groups.outcome)
        self._device_filters = groups.device_filters
        if linux.get("uidMappings") and facts.cgroup == "v2":
            from appc.plan.compile_user import cgroup_owner

            owner = cgroup_owner(self.config)
            if owner is not None:
                cgroup_container.delegate(container.cgroups[0], owner)

    def _plan(self, facts: HostFacts) -> Plan:
        args, container = self._args, self.container
        if self.config["linux"].get("sysctl"):
            refuse_shared_parameters(self.config["linux"])
        return compile_container(
            self.config,
            root=RootFS(container.record["rootfs"]),
            facts=facts,
            bundle=self.bundle,
            cgroups=container.cgroups,
            device_filters=self._device_filters,
            seccomp=seccomp(self.config, facts),
            hints=self._hints(),
            keyring="" if args.flag("no-new-keyring") else f"_ses.{container.name}",
            state=around_pid(container.state(containers.CREATING)),
            start_state=around_pid(container.state(containers.CREATED)),
            agent_state=self._agent_state(),
            net_devices=self._net_devices(),
            handles=self._handles,
            no_pivot=args.flag("no-pivot"),
            detached=self._detached,
            awaits_start=self._awaits_start,
            warnings=self.warnings,
        )

    def _agent_state(self) -> tuple[str, ...]:
        section = self.config["linux"].get("seccomp") or {}
        if self._awaits_start or not section.get("listenerPath"):
            return ()
        from appc.oci.agent import state_texts

        return state_texts(section, self.container.state(containers.CREATING))

    def _net_devices(self) -> list[NetDevice]:
        wanted = self.config["linux"].get("netDevices")
        if not wanted:
            return []
        from appc.oci.net_devices import net_devices

        return net_devices(wanted)

    def _rootfs(self) -> str:
        path = os.path.join(self.bundle, self.config["root"]["path"])
        if not os.path.isdir(path):
            raise AppcError("no such directory", f"root.path: {path}")
        return os.path.realpath(path)

    def _hints(self) -> dict[str, tuple[str, ...]]:
        """Which bind mounts are of files."""
        hints: dict[str, tuple[str, ...]] = {}
        for index, mount in enumerate(self.config.get("mounts") or ()):
            options = mount.get("options") or ()
            if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
                source = os.path.join(self.bundle, mount.get("source") or "")
                if os.path.exists(source) and not os.path.isdir(source):
                    hints[clean(mount["destination"], f"mounts[{index}].destination")] = (FILE,)
        return hints


def refuse_shared_parameters(linux: dict[str, Any]) -> None:
    """Unenforceable for kernel parameters of a namespace that is joined by its path, and is the runtime's own."""
    from appc.abi import is_own_sysctl
    from appc.plan.constants import NAMESPACES

    own = []
    for entry in linux.get("namespaces") or ():
        path = entry.get("path")
        if (
            not path
            or not os.path.exists(path)
            or not os.path.samefile(path, f"/proc/self/ns/{NAMESPACES[entry['type']][1]}")
        ):
            own.append(entry["type"])
    for key in linux["sysctl"]:
        if not is_own_sysctl(key, own):
            where = f"linux.sysctl.{key}"
            raise Unenforceable("is not a parameter of the container's own namespaces, it would change the host", where)


def refuse_unmet(outcome: list[tuple[str, str, str, str]]) -> None:
    """Unenforceable, with the field's path, for a limit that the kernel did not take."""
    for _, field, status, reason in outcome:
        if status == "ignored" and field not in _OBSOLETE:
            raise Unenforceable(reason, f"linux.resources.{field}")


def around_pid(state: dict[str, Any]) -> tuple[str, str]:
    """Return the state as JSON, in two parts between which the pid is put by who knows it."""
    return '{"pid":', "," + dumps({key: value for key, value in state.items() if key != "pid"})[1:]


def _end(container: Container, keeper: int) -> None:
    cgroupfs.kill(container.cgroups)
    try:
        os.kill(keeper, _KILL)
        os.waitpid(keeper, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # its end was waited for before


def _delete(container: Container) -> None:
    from appc.oci.life import take_away

    take_away(containers.claim(os.path.dirname(container.path), container.name))
