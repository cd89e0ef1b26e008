"""The words that describe a pod, shared by `run`, `prepare` and `plan`, and what they mean."""

from __future__ import annotations

import os

from appc.abi import CAPABILITY_BITS
from appc.cli.fetch_options import INSECURE, OFFLINE, network_of, pull_option
from appc.cli.options import LIST, OPTIONAL, Option, did_you_mean
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.cli.values import (
    device,
    duration,
    gids,
    health,
    hosts_entry,
    limit,
    mount,
    pair,
    pod_prefix,
    port,
    restart,
    seccomp,
    server,
    users,
    variable,
    volume,
    word,
)
from appc.errors import AppcError, UsageError
from appc.executor.prepare import discard
from appc.network.names import Names
from appc.pods.request import STREAM_MODES, AppRequest, PodRequest
from appc.schema.isolators import Isolator
from appc.schema.pod import PodManifest
from appc.values import ACName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appc.cli.context import Context
    from appc.cli.options import Args
    from appc.pods.layout import Pod

MANIFEST_LIMIT = 4 * 1024 * 1024


VOLUME = Option(
    "--volume", metavar="NAME,kind=K,...", kind="repeat", parse=volume, help="define a volume (kind host or empty)"
)

PORT = Option(
    "--port",
    metavar="NAME:[IP:]PORT",
    kind="repeat",
    parse=port,
    help="open an app's port NAME as PORT of the host (all addresses, or IP alone)",
)

POD_OPTIONS = (
    Option("--pod-manifest", metavar="FILE", complete="file", help="run this pod manifest; no images are named then"),
    Option("--kube", metavar="FILE", complete="file", help="run this Kubernetes Pod; no images are named then"),
    VOLUME,
    Option("--mount", metavar="volume=V,target=P", kind="repeat", parse=mount, help="mount a volume in every app"),
    Option(
        "--net",
        metavar="NETWORK,...",
        default="none",
        help="none (loopback only, the default), host, default (built in), pod:UUID (that pod's), or networks of "
        "net.d: NAME[:K=V;...],...",
    ),
    Option(
        "--cgroup",
        metavar="pod:UUID",
        parse=pod_prefix,
        help="let that pod's limits bound this one too, which ends with it",
    ),
    PORT,
    Option("--dns", metavar="IP", kind="repeat", parse=server, help="a name server, host (its file) or none (image's)"),
    Option("--dns-search", metavar="DOMAIN", kind="repeat", parse=word, help="a domain to look names up in"),
    Option("--dns-opt", metavar="OPTION", kind="repeat", parse=word, help="an option of resolv.conf"),
    Option("--dns-domain", metavar="DOMAIN", default="", parse=word, help="the local domain's name"),
    Option(
        "--hosts-entry",
        metavar="IP=NAME,...",
        kind="repeat",
        parse=hosts_entry,
        help="a line of /etc/hosts, or host for the host's own file",
    ),
    Option(
        "--private-users",
        metavar="BASE[:COUNT]",
        kind=OPTIONAL,
        parse=users,
        help="run in a user namespace: users 0 and up are the host's from BASE on (default: a range nobody has)",
    ),
    Option(
        "--runtime",
        metavar="PROGRAM",
        default="",
        parse=word,
        complete="file",
        help="have this OCI runtime (runc, crun, a path) make each app, in the pod's sandbox",
    ),
    Option("--hostname", metavar="NAME", parse=word, help="the pod's hostname (default: appc-UUID)"),
    Option("--set-env", metavar="N=V", kind="repeat", parse=variable, help="set a variable in every app"),
    Option(
        "--set-env-file", metavar="FILE", kind="repeat", complete="file", help="set variables from a file of N=V lines"
    ),
    Option("--inherit-env", help="pass the caller's environment on, below everything else"),
    Option(
        "--isolator", metavar="NAME,K=V", kind="repeat", parse=Isolator.parse_string, help="bound all apps together"
    ),
    Option("--annotation", metavar="N=V", kind="repeat", parse=pair, help="annotate the pod"),
    Option("--user-annotation", metavar="N=V", kind="repeat", parse=pair, help="user annotation of the pod"),
    Option("--user-label", metavar="N=V", kind="repeat", parse=pair, help="user label of the pod"),
    Option("--strict", help="refuse the pod when an isolator cannot be enforced"),
    pull_option("new"),
    INSECURE,
    OFFLINE,
    *PASSPHRASE,
    Option("--verify", help="refuse images whose files in the store are not as they were imported"),
    Option("--grace", metavar="TIME", parse=duration, help="time between SIGTERM and SIGKILL when the pod stops"),
    Option("--uuid-file-save", metavar="FILE", complete="file", help="write the pod's UUID here"),
    Option("--rm", help="remove the pod when it has ended"),
    Option("--interactive", "-i", help="give the one app this terminal"),
)

# Of those who run the pod.
REGISTER = Option("--register", help="register the pod with systemd-machined, for machinectl")

APP_OPTIONS = (
    Option("--name", metavar="NAME", parse=ACName.parse, help="the app's name in the pod (default: from the image's)"),
    Option("--exec", metavar="PROGRAM", parse=word, help="run this instead of the image's command"),
    Option("--user", metavar="USER", parse=word, help="name, number or path whose owner is meant"),
    Option("--group", metavar="GROUP", parse=word, help="name, number or path whose group is meant"),
    Option("--supplementary-gids", metavar="N,N", parse=gids, help="further groups"),
    Option("--working-dir", metavar="DIR", parse=word, help="working directory in the app's root"),
    Option("--env", "-e", metavar="N=V", kind="repeat", parse=variable, help="set a variable"),
    Option("--mount", metavar="volume=V,target=P", kind="repeat", parse=mount, help="mount a volume"),
    Option("--memory", metavar="SIZE", parse=limit("memory"), help="memory limit, such as 256Mi"),
    Option("--cpu", metavar="CORES", parse=limit("cpu"), help="processor limit, such as 500m"),
    Option("--pids", metavar="N", parse=limit("pids"), help="most processes and threads it may have at once"),
    Option("--caps-retain", metavar="CAP,...", kind=LIST, help="keep just these capabilities"),
    Option("--caps-remove", metavar="CAP,...", kind=LIST, help="drop these of the default capabilities"),
    Option("--seccomp", metavar="mode=M,CALL,...", parse=seccomp, help="retain or remove system calls"),
    Option("--no-new-privileges", help="forbid the app to gain privileges (setuid programs)"),
    Option("--isolator", metavar="NAME,K=V", kind="repeat", parse=Isolator.parse_string, help="any other isolator"),
    Option(
        "--device",
        metavar="PATH[:TARGET][:rwm]",
        kind="repeat",
        parse=device,
        help="give it a device of the host, or VENDOR/CLASS=DEVICE of the Container Device Interface",
    ),
    Option("--readonly-rootfs", help="mount the app's root read-only"),
    Option("--annotation", metavar="N=V", kind="repeat", parse=pair, help="annotate the app"),
    Option("--user-annotation", metavar="N=V", kind="repeat", parse=pair, help="user annotation of the app"),
    Option("--user-label", metavar="N=V", kind="repeat", parse=pair, help="user label of the app"),
    Option(
        "--restart",
        metavar="POLICY",
        default="",
        parse=restart,
        help="when the app runs again: no (the default), on-failure[:N] or always[:N], N times in a row at most",
    ),
    Option(
        "--health",
        metavar="[K=V,...]CHECK",
        default="",
        parse=health,
        help="ask whether the app is well: exec=COMMAND, tcp=PORT or http=PORT/PATH, "
        "after interval=, timeout=, failures= and start=",
    ),
    Option(
        "--handler-timeout", metavar="TIME", parse=duration, help="kill event handlers that take longer (default: none)"
    ),
    Option("--signature", metavar="FILE", complete="file", help="the image's detached signature"),
    Option("--stdin", choices=("null", "tty", "stream"), help="where standard input comes from"),
    Option("--stdout", choices=STREAM_MODES, help="where standard output goes"),
    Option("--stderr", choices=STREAM_MODES, help="where standard error goes"),
)

# What a pod manifest says itself.
_NOT_WITH_A_MANIFEST = tuple(
    ("--pod-manifest", f"--{name}")
    for name in (
        "volume",
        "mount",
        "set-env",
        "set-env-file",
        "isolator",
        "annotation",
        "user-annotation",
        "user-label",
    )
)
# What a Kubernetes Pod says itself.
_NOT_WITH_KUBE = tuple(
    ("--kube", f"--{name}")
    for name in (
        "pod-manifest",
        "volume",
        "mount",
        "net",
        "port",
        "dns",
        "dns-search",
        "dns-opt",
        "dns-domain",
        "hosts-entry",
        "runtime",
        "hostname",
        "set-env",
        "set-env-file",
        "inherit-env",
        "annotation",
        "user-annotation",
        "user-label",
        "interactive",
    )
)
EXCLUSIVE = (*_NOT_WITH_A_MANIFEST, *_NOT_WITH_KUBE, *PASSPHRASE_EXCLUSIVE)


def request(args: Args, context: Context) -> PodRequest:
    """Return the pod that the words of `run`, `prepare` or `plan` describe."""
    manifest = None
    if args.apps and (args.pod_manifest or args.kube):
        raise UsageError("cannot go together with images", "--pod-manifest" if args.pod_manifest else "--kube")
    if args.kube:
        from appc.cli.kube_request import kube_request

        return kube_request(args, context, started)
    if args.pod_manifest:
        manifest = _read_manifest(args.pod_manifest, args.strict)
    elif not args.apps:
        raise UsageError("no image is named", "", "name one, or a pod manifest with --pod-manifest FILE")
    if args.interactive and len(args.apps or (manifest.apps if manifest else ())) != 1:
        raise UsageError("needs a pod of one app", "--interactive")
    environment = [entry for path in args.set_env_file for entry in _env_file(path)] + list(args.set_env)
    return PodRequest(
        tuple(app_request(app) for app in args.apps),
        manifest=manifest,
        volumes=tuple(args.volume),
        mounts=tuple(args.mount),
        hostname=args.hostname or "",
        runtime=args.runtime,
        private_users="" if args.private_users is None else args.private_users or "auto",
        environment=tuple(environment),
        inherited=_inherited() if args.inherit_env else (),
        isolators=tuple(args.isolator),
        annotations=tuple(args.annotation),
        user_annotations=tuple(args.user_annotation),
        user_labels=tuple(args.user_label),
        net=args.net,
        cgroup=args.cgroup or "",
        ports=tuple(args.port),
        names=_names(args),
        interactive=args.interactive,
        remove=args.rm,
        strict=args.strict,
        insecure=tuple(args.insecure),
        pull=args.pull,
        network=network_of(args, context),
        started=started,
        verify=args.verify,
        passphrase=passphrase(args, context),
        grace=context.settings.stop_grace if args.grace is None else args.grace,
    )


def started(label: str, size: int | None) -> Callable[[int], None]:
    """Show how an image arrives; see `cli.progress`."""
    from appc.cli.progress import LINES

    return LINES.begin(label, size)


def _names(args: Args) -> Names:
    servers = tuple(args.dns)
    for alone in ("host", "none"):
        if alone in servers and len(servers) > 1:
            raise UsageError(f"{alone} cannot go together with other servers", "--dns")
    return Names(servers, tuple(args.dns_search), tuple(args.dns_opt), args.dns_domain, tuple(args.hosts_entry))


def save_uuid(path: str | None, pod: Pod) -> None:
    """Write the UUID of a pod just prepared to the file of --uuid-file-save, if there is one; no pod if it fails."""
    if not path:
        return
    try:
        with open(path, "w") as stream:
            stream.write(f"{pod.uuid}\n")
    except BaseException:
        discard(pod)
        raise


class Warnings:
    """What a user should know although it works: collected on the way, said once each."""

    def __init__(self, context: Context) -> None:
        self.found: list[str] = []
        self._context = context
        self._said = 0

    def say(self) -> None:
        """Say what was found since the last time."""
        for text in self.found[self._said :]:
            self._context.warn(text)
        self._said = len(self.found)


def app_request(app: Args) -> AppRequest:
    """Return the app that the words after one image describe."""
    if app.caps_retain and app.caps_remove:
        raise UsageError("cannot go together with --caps-remove", "--caps-retain")
    isolators = [isolator for isolator in (app.memory, app.cpu, app.pids, app.seccomp) if isolator] + list(app.isolator)
    isolators += capabilities(app.caps_retain, app.caps_remove)
    if app.no_new_privileges:
        isolators.append(Isolator.parse({"name": "os/linux/no-new-privileges", "value": True}))
    return AppRequest(
        app.image,
        name=app.name or "",
        exec_=(app.exec,) if app.exec else (),
        args=tuple(app.args),
        user=app.user or "",
        group=app.group or "",
        supplementary_gids=app.supplementary_gids,
        working_directory=app.working_dir or "",
        environment=tuple(app.env),
        mounts=tuple(app.mount),
        isolators=tuple(isolators),
        read_only_root_fs=app.readonly_rootfs,
        annotations=tuple(app.annotation),
        user_annotations=tuple(app.user_annotation),
        user_labels=tuple(app.user_label),
        restart=app.restart,
        health=app.health,
        handler_timeout=f"{app.handler_timeout:g}" if app.handler_timeout else "",
        devices=tuple(app.device),
        signature=app.signature or "",
        stdin=app.stdin or "",
        stdout=app.stdout or "",
        stderr=app.stderr or "",
    )


def capabilities(retain: Sequence[str], remove: Sequence[str]) -> list[Isolator]:
    """Return the isolators that --caps-retain and --caps-remove mean; the prefix CAP_ may be left out."""
    return [
        Isolator.parse(
            {
                "name": f"os/linux/capabilities-{mode}-set",
                "value": {"set": [_capability(name) for name in names]},
            }
        )
        for mode, names in (("retain", retain), ("remove", remove))
        if names
    ]


def _capability(name: str) -> str:
    short = name.upper().removeprefix("CAP_")
    if f"CAP_{short}" not in CAPABILITY_BITS:
        hint = did_you_mean(short, [known.removeprefix("CAP_") for known in CAPABILITY_BITS])
        raise UsageError(f"there is no capability CAP_{short}", "capabilities", hint)
    return f"CAP_{short}"


def _read_manifest(path: str, strict: bool) -> PodManifest:
    with open(path, "rb") as stream:
        data = stream.read(MANIFEST_LIMIT + 1)
    if len(data) > MANIFEST_LIMIT:
        raise AppcError(f"is larger than {MANIFEST_LIMIT} bytes", path)
    return PodManifest.parse(data, strict=strict, where=path)


def _env_file(path: str) -> list[tuple[str, str]]:
    """Read N=V lines; empty lines and lines that begin with `#` or `;` are comments."""
    entries = []
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        for number, line in enumerate(stream, 1):
            text = line.strip()
            if not text or text[0] in "#;":
                continue
            try:
                entries.append(variable(text))
            except (ValueError, AppcError) as error:
                raise AppcError(str(error), f"{path}:{number}") from None
    return entries


def _inherited() -> tuple[tuple[str, str], ...]:
    """What of our own environment an app can have; a shell's exported functions have names that no variable has."""
    inherited = []
    for name, value in os.environ.items():
        try:
            inherited.append(variable(f"{name}={value}"))
        except AppcError:
            continue
    return tuple(inherited)
