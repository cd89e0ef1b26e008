"""From a prepared pod to its plan: identities and volumes resolved, isolators settled, configurations compiled."""

from __future__ import annotations

import os
import stat

from appc.errors import Unenforceable
from appc.executor import keeper, outcome
from appc.executor.prepare import FOREGROUND, Prepared, stream_modes
from appc.formats import convert
from appc.images.view import TreeView
from appc.metadata import access
from appc.network import names
from appc.plan.compile_pod import PodApp, compile_pod, volume_hints
from appc.plan.compile_root import FILE, RootFS
from appc.pods import users as identities
from appc.pods import volumes
from appc.pods.reify import SUPPORTS_NOTIFY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from appc.config import Directories
    from appc.executor.runtime import Making
    from appc.executor.sockets import PodSocket
    from appc.host.cgroups import Cgroups
    from appc.host.probe import HostFacts
    from appc.images.render import Rootfs
    from appc.network.setup import Networked
    from appc.plan.ops import Plan
    from appc.pods.layout import Pod
    from appc.schema.image import App
    from appc.schema.isolators import Isolator
    from appc.schema.pod import RuntimeApp

DEVICES = "appc.io/devices"  # as in schema/policies.py
POD_SCOPE = ""
# Where an app says that it is ready: in a file system that is the executor's, so no volume of the user's is in the way.
NOTIFY_SOCKET = "/dev/appc/notify"
# An app's own layer lives no longer than its pod, which no crash of the host outlives. Without this option the kernel
# writes the whole file system that holds the layer to disk when the pod ends, and the pod waits for it.
OVERLAY_OPTIONS = ("volatile",)


class Compilation:
    """One pod on its way from manifest to plan, by way of OCI configurations (the middle level).

    `pod` is the pod in phase `run`, in which it need not be yet. Making one looks things up and raises AppcError for
    what cannot be honoured; `settle` writes down what was decided, `plan` gives the plan.
    """

    def __init__(
        self,
        prepared: Prepared,
        pod: Pod,
        where: Directories,
        kind: str,
        facts: HostFacts,
        networked: Networked | None = None,
        sockets: Mapping[str, Sequence[PodSocket]] | None = None,
    ) -> None:
        self.networked = networked
        self.sockets = sockets or {}
        self.prepared = prepared
        self.pod = pod
        self.where = where
        self.kind = kind
        self.facts = facts
        self.isolators: list[outcome.Row] = []
        request = prepared.request
        self.namespaces = tuple(
            name for name in convert.NAMESPACES if not (name == "network" and request.net == "host")
        )
        self.hostname = request.hostname or f"appc-{self.pod.uuid}"
        self.making: Making | None = None
        if request.runtime:
            from appc.executor.runtime import Making

            self.making = Making(pod, request.runtime, facts)
        self.address = access.HOST_ADDRESS if request.net == "host" else access.POD_ADDRESS
        self.port, self.token = self._service()
        self.sandbox, rows = convert.pod_to_oci(
            prepared.manifest.isolators,
            facts=facts,
            hostname=self.hostname,
            namespaces=self.namespaces,
            block_devices=_disks(prepared.manifest.isolators),
        )
        for namespace in self.sandbox["linux"]["namespaces"]:
            if namespace["type"] == "network" and networked is not None:
                namespace["path"] = networked.namespace
        self.isolators += [outcome.Row(POD_SCOPE, *row) for row in rows]
        self.users = _private_users(prepared)
        if self.users:
            self.sandbox = self._private(self.sandbox, self.users)
        self.mounts: dict[str, list[volumes.ResolvedMount]] = {}
        self.device_files: dict[str, list[str]] = {}
        self.configs = {
            str(app.name): self._config(index, app, root)
            for index, (app, root) in enumerate(zip(prepared.manifest.apps, prepared.roots, strict=True))
        }

    def _service(self) -> tuple[int, str]:
        """Return the port at which the pod asks the metadata service, and the token that it is known by."""
        own_host = self.prepared.request.net == "host"
        declared = declared_ports(self.prepared.manifest.apps)
        if self.prepared.request.joined:
            from appc.executor.joining import ports_in_use

            declared |= ports_in_use(self.pod.root, self.prepared.request)
        port = access.choose_port(declared, access.ephemeral_range(), self.address if own_host else "")
        return port, access.new_token()

    def _config(self, index: int, entry: RuntimeApp, root: Rootfs) -> dict[str, Any]:
        name, app = str(entry.name), entry.app
        assert app is not None, "check_executable was called before"
        terminal = self.modes(index)[0] == "tty"
        view = TreeView(root.lowers)
        identity = identities.resolve(view, app.user, app.group, tuple(app.supplementary_gids), f"app {name}")
        self.mounts[name] = volumes.resolve(
            self.prepared.manifest, entry, self.pod.file("volumes"), view, self.prepared.warnings
        )
        config, rows = convert.app_to_oci(
            app,
            name=name,
            facts=self.facts,
            uid=identity.uid,
            gid=identity.gid,
            groups=identity.groups,
            home=identity.home,
            environment=(
                *(_terminal_type(app) if terminal else ()),
                *((("NOTIFY_SOCKET", NOTIFY_SOCKET),) if self._notifies(entry) else ()),
                *self._socket_variables(name),
            ),
            metadata_url=access.url(self.address, self.port, self.token),
            hostname=self.hostname,
            volumes=self.mounts[name],
            read_only_rootfs=entry.read_only_root_fs,
            pod_isolators=self.prepared.manifest.isolators,
            namespaces=self.namespaces,
            rootfs=self.pod.file(f"apps/{name}/rootfs"),
            shm=self.pod.file("shm"),
            terminal=terminal,
            alone=self._alone(),
            block_devices=_disks((*app.isolators, *self.prepared.manifest.isolators)),
        )
        self.isolators += [outcome.Row(name, *row) for row in rows]
        if self._notifies(entry):
            source = self.pod.file(self._notify_file(index))
            config["mounts"].append(
                {"destination": NOTIFY_SOCKET, "type": "bind", "source": source, "options": ["bind"]}
            )
        self._give_devices(entry, config)
        if config["process"].get("apparmorProfile"):
            from appc.host import apparmor

            apparmor.require(config["process"]["apparmorProfile"], f"app {name}")
        if not self.facts.initial_userns:
            from appc.formats.private_users import rootless

            config = rootless(config, groups=self.facts.setgroups)
        if self.making:
            config = self.making.joined(config, name)
        return self._private(config, self.users, name) if self.users else config

    def _private(self, config: dict[str, Any], users: tuple[int, int], app: str = "") -> dict[str, Any]:
        """Put a configuration into the user namespace of the pod, which owns its network if that was made before."""
        from appc.formats.private_users import in_user_namespace

        targets = [mount.target for mount in self.mounts[app] if not _is_device(mount.source)] if app else ()
        path = self.networked.namespace if self.networked else ""
        return in_user_namespace(config, *users, path=path, volumes=targets)

    def _give_devices(self, entry: RuntimeApp, config: dict[str, Any]) -> None:
        """Give the app the devices that the pod manifest names for it, and those among its volumes."""
        name = str(entry.name)
        named = any(annotation.name == DEVICES for annotation in entry.annotations)
        if not named and all(mount.is_directory for mount in self.mounts[name]):
            return
        from appc.pods import devices
        from appc.schema.policies import Policies

        given = devices.give(Policies(entry.annotations).devices, self.where.settings.devices_cdi_path, f"app {name}")
        for mount in self.mounts[name]:
            if not mount.is_directory:
                given.add_volume(mount)
        given.apply(config, bound=bool(self.users))
        self.device_files[name] = given.files
        if named:
            note = f"left out: {', '.join(given.left_out)}" if given.left_out else ""
            state = outcome.MODIFIED if note else outcome.ENFORCED
            self.isolators.append(outcome.Row(name, outcome.DEVICES, state, note))

    def _alone(self) -> bool:
        """Whether the pod has one app only, whose limits the pod's are."""
        return len(self.prepared.manifest.apps) == 1

    def modes(self, index: int) -> tuple[str, str, str]:
        """Return the keeper's modes for the streams of app `index`."""
        return stream_modes(self.prepared.request, index, self.kind)

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return the OCI resources of the pod and of its apps, as host.cgroups takes them."""
        found = {name: config["linux"]["resources"] for name, config in self.configs.items()}
        found[POD_SCOPE] = self.sandbox["linux"]["resources"]
        if self.making:
            # It guards them itself, and cannot in groups that are guarded already.
            found = {name: {key: one[key] for key in one if key != "devices"} for name, one in found.items()}
        return found

    def judge(self, groups: Cgroups) -> None:
        """Combine what was asked with what the kernel took, or would; refuse what is lacking if strict, else warn."""
        unlimited = self.networked.unlimited if self.networked else None
        links = [field for row in self.isolators for field in unlimited.rows(row.scope)] if unlimited else []
        self.isolators = outcome.combine(self.isolators, [*groups.outcome, *links])
        lacking = [row for row in self.isolators if row.state != outcome.ENFORCED]
        if self.prepared.request.strict and lacking:
            rows = "; ".join(f"{row.where}: {row.name} {row.state}: {row.reason}" for row in lacking)
            raise Unenforceable(rows, f"pod {self.pod.uuid[:8]}", "without --strict it runs all the same")
        for row in lacking:
            self.prepared.warnings.append(f"{row.where}: isolator {row.name} is {row.state}: {row.reason}")

    def settle(self, groups: Cgroups) -> None:
        """Judge, and write it all down for `status` and the metadata service."""
        self.judge(groups)
        if self.making:
            self.making.adapt(groups, self.configs)
        pod = self.pod
        if self.isolators:
            pod.write("pod", outcome.annotated(self.prepared.manifest, self.isolators).to_json())
        pod.write("token", self.token.encode())
        pod.write("hmac-key", access.new_hmac_key())
        if self.where.settings.metadata_verifier:
            pod.write("verifier", os.fsencode(self.where.settings.metadata_verifier))
        for name, config in self.configs.items():
            pod.write_json(f"config/{name}", config)
        pod.write_json("isolators", [row.to_dict() for row in self.isolators])
        if self.making:
            self.making.write_bundles(self.app_plans(groups))

    def plan(self, groups: Cgroups) -> Plan:
        """Compile the configurations to the plan."""
        pod, request, settings = self.pod, self.prepared.request, self.where.settings
        state = self.where.state
        finish = keeper.finish_argv(pod, state)
        if settings.logs_journal and not os.path.exists(settings.logs_journal):
            self.prepared.warnings.append(f"logs.journal: nobody listens at {settings.logs_journal}")
        plan = compile_pod(
            self.app_plans(groups),
            sandbox=self.sandbox,
            facts=self.facts,
            pod_dir=pod.path,
            init_cgroups=groups.init_paths,
            shm=pod.file("shm"),
            metadata=(
                self.address,
                self.port,
                access.socket_path(pod.root, state),
                access.service_argv(pod.root, state),
            ),
            grace=round(request.grace * 1000),
            log_size=settings.logs_size,
            log_files=settings.logs_files,
            journal=settings.logs_journal,
            teardown=groups.teardown,
            exited_dir=f"{pod.root}/pods/exited/{pod.uuid}",
            finish=finish if request.remove or request.networked else (),
            joined=bool(request.joined),
            namespaces=self.making.namespaces if self.making else "",
            warnings=self.prepared.warnings,
        )
        if self.kind == FOREGROUND and not (request.remove or request.networked):
            # Nobody else is left to say why a start failed.
            plan.tracks.append(keeper.failure_track(finish))
        return plan

    def app_plans(self, groups: Cgroups) -> list[PodApp]:
        """Return the apps as plans need them."""
        return [self._app_plan(index, entry, groups) for index, entry in enumerate(self.prepared.manifest.apps)]

    def _app_plan(self, index: int, entry: RuntimeApp, groups: Cgroups) -> PodApp:
        name = str(entry.name)
        config = self.configs[name]
        app = entry.app
        assert app is not None, "check_executable was called before"
        handlers = {
            event: convert.handler_config(config, app.handler(event)) if app.handler(event) else None
            for event in ("pre-start", "post-stop")
        }
        return PodApp(
            name,
            config,
            self._root(name, self.prepared.roots[index]),
            cgroups=groups.app_paths[name],
            seccomp=self._filter(config),
            hints={
                **volume_hints(self.mounts[name], self.pod.path),
                **dict.fromkeys((NOTIFY_SOCKET, *self.device_files.get(name, ())), (FILE,)),
            },
            files=self._files(name),
            pre_start=handlers["pre-start"],
            post_stop=handlers["post-stop"],
            **self._policies(index, entry),
            streams=self.modes(index),
            notify=self._notify_file(index) if self._notifies(entry) else "",
            sockets=[(one.kind, one.address, one.port, int(one.in_pod)) for one in self.sockets.get(name, ())],
            runtime=self.making.runtime if self.making else None,
        )

    def _socket_variables(self, app: str) -> tuple[tuple[str, str], ...]:
        if app not in self.sockets:
            return ()
        from appc.executor.sockets import variables

        return variables(self.sockets[app])

    def _policies(self, index: int, entry: RuntimeApp) -> dict[str, Any]:
        """Return what the app's annotations ask of its keeper, as arguments of PodApp."""
        if not entry.annotations:
            return {}
        from appc.executor.policies import keeper_policies

        return keeper_policies(entry, self.configs[str(entry.name)], terminal=self.modes(index)[0] == "tty")

    def _notify_file(self, index: int) -> str:
        """Where, below the pod's directory, app `index` says that it is ready."""
        return f"notify/{index}"

    def _notifies(self, entry: RuntimeApp) -> bool:
        """Whether the app says itself when it is ready, at a socket in its /dev."""
        wanted = any(str(one.name) == SUPPORTS_NOTIFY and one.value == "true" for one in entry.annotations)
        return wanted and not self._is_mounted(str(entry.name), NOTIFY_SOCKET)

    def _root(self, name: str, root: Rootfs) -> RootFS:
        directory = self.pod.file(f"apps/{name}")
        if not os.path.isdir(f"{self.prepared.pod.file('apps')}/{name}/upper"):
            return RootFS(f"{directory}/rootfs", mapped=True)
        # Who is root only in a user namespace may write no other attributes, which an overlay needs for itself.
        options = OVERLAY_OPTIONS if self.facts.initial_userns else (*OVERLAY_OPTIONS, "userxattr")
        return RootFS(f"{directory}/rootfs", root.lowers, f"{directory}/upper", f"{directory}/work", options)

    def _filter(self, config: dict[str, Any]) -> bytes | None:
        if self.making or not config["linux"].get("seccomp"):
            return None
        from appc.executor.filters import app_filter

        return app_filter(config, self.pod.root, self.facts.machine)

    def _files(self, app: str) -> tuple[tuple[str, int, bytes, bool], ...]:
        """Files an app gets as (path, mode, content, whether to replace the image's); never what a volume holds."""
        found = names.files(
            self.prepared.request.names,
            hostname=self.hostname if "network" in self.namespaces else "",
            addresses=self.networked.addresses if self.networked else (),
            results=self.networked.results if self.networked else None,
            on_host=self.prepared.request.net == "host",
            warnings=self.prepared.warnings,
        )
        return tuple(
            (path, 0o644, content, replaces and not self._is_mounted(app, path)) for path, content, replaces in found
        )

    def _is_mounted(self, app: str, path: str) -> bool:
        return any(f"{path}/".startswith(mount.target.rstrip("/") + "/") for mount in self.mounts[app])


def declared_ports(apps: Iterable[RuntimeApp]) -> set[int]:
    """Return the numbers of all ports that apps declare."""
    ports = [port for app in apps for port in (app.app.ports if app.app else ())]
    return {port.port + offset for port in ports for offset in range(port.count)}


def _is_device(path: str) -> bool:
    """Tell whether it is a device: who may use it is not a matter of the pod's users alone."""
    mode = os.stat(path).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _private_users(prepared: Prepared) -> tuple[int, int] | None:
    """The range of users that the pod has for itself."""
    if not prepared.request.private_users:
        return None
    from appc.pods.private_users import recorded

    return recorded(prepared.pod)


def _disks(isolators: Iterable[Isolator]) -> tuple[tuple[int, int], ...]:
    """The disks that limits of block devices are for; nobody looks when there are none."""
    if not any(str(isolator.name).startswith("resource/block-") for isolator in isolators):
        return ()
    from appc.host.disks import whole_disks

    return whole_disks()


def _terminal_type(app: App) -> tuple[tuple[str, str], ...]:
    """What an app's terminal is, unless its manifest has it be another: the one we were started from."""
    own = os.environ.get("TERM", "")
    named = any(variable.name == "TERM" for variable in app.environment)
    return (("TERM", own),) if own and not named else ()
