"""Pods to compile plans of, on hosts made up for the purpose."""

from __future__ import annotations

from typing import Any

from appc.formats.convert import app_to_oci, handler_config, pod_to_oci
from appc.host.probe import HostFacts
from appc.network.names import Names, hosts
from appc.plan.compile_pod import PodApp, compile_pod, volume_hints
from appc.plan.compile_root import RootFS
from appc.plan.ops import Plan
from appc.pods.volumes import ResolvedMount
from appc.schema.image import App, EnvVar
from appc.schema.isolators import Isolator

UUID = "6733c088-b507-4694-aabf-178e6ec4ea92"
POD = f"/var/lib/appc/pods/run/{UUID}"
TREES = "/var/lib/appc/trees"
ALL_CAPS = (1 << 41) - 1
HOSTS = ("/etc/hosts", 0o644, hosts(Names(), (), f"appc-{UUID}")[0], False)
PROGRAM = bytes(8 * 120)  # stands for a seccomp filter: what is in it does not matter to a plan


def facts(cgroup: str = "v2", **changes: Any) -> HostFacts:
    """A host with everything, and the cgroups of the layout named."""
    root = "/sys/fs/cgroup"
    names = ("cpu", "memory", "pids") if cgroup == "v2" else ("devices", "memory", "pids")
    controllers = {name: root if cgroup == "v2" else f"{root}/{name}" for name in names}
    if cgroup != "v2":
        controllers |= {"cpu": f"{root}/cpu,cpuacct", "cpuacct": f"{root}/cpu,cpuacct"}
    unified = {"v2": root, "hybrid": f"{root}/unified", "v1": ""}[cgroup]
    return HostFacts(**{"cgroup": cgroup, "controllers": controllers, "unified": unified, "kernel": (6, 1), **changes})


def groups(host: HostFacts, name: str) -> list[str]:
    """The groups a pod with limits on memory and CPU has, those of `name`."""
    places = [host.unified] if host.unified else []
    if host.cgroup != "v2":
        places += [host.controllers[controller] for controller in ("cpu", "devices", "memory")]
    return [f"{place}/appc/{UUID}/{name}" for place in places]


def isolators(**values: Any) -> tuple[Isolator, ...]:
    """Isolators by the last part of their name."""
    names = {"cpu": "resource/cpu", "memory": "resource/memory", "sysctl": "os/unix/sysctl"}
    return tuple(
        Isolator(name=names.get(name, "os/linux/" + name.replace("_", "-")), value=value)
        for name, value in values.items()
    )


def pod_app(
    app: App,
    name: str,
    host: HostFacts,
    *,
    volumes: tuple[ResolvedMount, ...] = (),
    handlers: dict[str, list[str]] | None = None,
    streams: tuple[str, str, str] = ("null", "log", "log"),
    uid: int = 0,
    gid: int = 0,
    **options: Any,
) -> PodApp:
    """An app converted and made ready for a plan."""
    config, _ = app_to_oci(
        app,
        name=name,
        facts=host,
        uid=uid,
        gid=gid,
        metadata_url="http://169.254.169.255:4711/0123456789abcdef0123456789abcdef",
        hostname=f"appc-{UUID}",
        volumes=volumes,
        shm=f"{POD}/shm",
        terminal=streams[0] == "tty",
        **options,
    )
    made = {event: handler_config(config, exec_) for event, exec_ in (handlers or {}).items()}
    directory = f"{POD}/apps/{name}"
    return PodApp(
        name,
        config,
        RootFS(f"{directory}/rootfs", (f"{TREES}/sha512-{name}",), f"{directory}/upper", f"{directory}/work"),
        cgroups=groups(host, name),
        seccomp=PROGRAM if "seccomp" in config["linux"] else None,
        hints=volume_hints(volumes, POD),
        files=(HOSTS,),
        pre_start=made.get("pre-start"),
        post_stop=made.get("post-stop"),
        streams=streams,
    )


def pod(apps: list[PodApp], host: HostFacts, namespaces: tuple[str, ...] | None = None, **options: Any) -> Plan:
    """The plan of a pod of `apps`."""
    named = {"namespaces": namespaces} if namespaces else {}
    sandbox, _ = pod_to_oci(options.pop("isolators", ()), facts=host, hostname=f"appc-{UUID}", **named)
    address = (
        "169.254.169.255" if "network" in [kind["type"] for kind in sandbox["linux"]["namespaces"]] else "127.0.0.1"
    )
    scopes = [*[app.name for app in apps], "_init", ""]
    given = {
        "pod_dir": POD,
        "init_cgroups": groups(host, "_init"),
        "shm": f"{POD}/shm",
        "metadata": (address, 4711, "/run/appc/metadata.sock", ("/usr/bin/python3", "-m", "appc", "metadata-service")),
        "log_size": 16 << 20,
        "log_files": 2,
        "teardown": [path.rstrip("/") for scope in scopes for path in groups(host, scope)],
        "exited_dir": f"/var/lib/appc/pods/exited/{UUID}",
    }
    return compile_pod(apps, sandbox=sandbox, facts=host, **{**given, **options})


def busybox(host: HostFacts, **options: Any) -> Plan:
    """One app, nothing special."""
    app = App(exec=("echo", "hello"), user="0", group="0")
    return pod([pod_app(app, "busybox", host, **options.pop("app", {}))], host, **options)


def demo(host: HostFacts) -> Plan:
    """Two applications with a volume, limits and handlers."""
    data = ResolvedMount("data", f"{POD}/volumes/data", "/data", False, False, True, False)
    static = ResolvedMount("static", "/srv/site", "/www/static", True, True, True, True)
    settings = ResolvedMount("settings", "/etc/site.conf", "/etc/site/site.conf", True, False, False, False)
    redis = App(
        exec=("/usr/bin/redis-server", "--dir", "/data"),
        user="redis",
        group="redis",
        working_directory="/data",
        isolators=isolators(
            memory={"limit": "64Mi"},
            cpu={"request": "100m", "limit": "500m"},
            capabilities_retain_set={"set": ["CAP_NET_BIND_SERVICE"]},
            no_new_privileges=True,
        ),
    )
    web = App(
        exec=("python3", "/app/web.py"),
        user="www-data",
        group="www-data",
        environment=(EnvVar(name="PATH", value="/opt/python/bin::bin"),),
        isolators=isolators(oom_score_adj=300, seccomp_remove_set={"set": ["ptrace"], "errno": "EPERM"}),
    )
    apps = [
        pod_app(redis, "redis", host, uid=101, gid=102, groups=(27,), volumes=(data,)),
        pod_app(
            web,
            "web",
            host,
            uid=33,
            gid=33,
            volumes=(data, settings, static),
            handlers={"pre-start": ["/app/migrate"], "post-stop": ["/app/bye", "now"]},
        ),
    ]
    return pod(
        apps,
        host,
        isolators=isolators(memory={"limit": "256Mi"}, sysctl={"net.core.somaxconn": "1024"}),
        finish=("/usr/bin/python3", "-m", "appc", "finish", UUID),
    )
