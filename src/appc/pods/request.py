"""What a caller asks of a pod, before images are looked up: the words of `appc run`, as data.

Only what a pod manifest has no field for is kept here after preparation (streams, network mode);
everything else goes into the reified pod manifest.
"""

from __future__ import annotations

from appc.errors import UsageError
from appc.network.names import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appc.images.network import Network
    from appc.schema.isolators import Isolator
    from appc.schema.pod import Mount, PodManifest, Volume

LONGEST_HOSTNAME = 64  # the kernel's limit
LONGEST_GRACE = 86400.0
STREAM_MODES = ("log", "null", "tty", "stream")


class AppRequest:
    """One app of a pod: an image and what to change about it.

    `image` is any IMAGE form; `exec_` replaces the image's exec, `args` are appended to it.
    `isolators` replace the image's isolators of the same name. `stdin`, `stdout`, `stderr` are
    modes of STREAM_MODES, or "" for the pod's default. `restart` is no, on-failure[:N] or always[:N],
    `health` and `handler_timeout` are as `schema.policies` reads them;
    `devices` are as schema/devices.py reads them.
    """

    __slots__ = (
        "annotations",
        "args",
        "devices",
        "environment",
        "exec_",
        "group",
        "handler_timeout",
        "health",
        "image",
        "isolators",
        "mounts",
        "name",
        "read_only_root_fs",
        "restart",
        "signature",
        "stderr",
        "stdin",
        "stdout",
        "supplementary_gids",
        "user",
        "user_annotations",
        "user_labels",
        "working_directory",
    )

    def __init__(
        self,
        image: str,
        *,
        name: str = "",
        exec_: tuple[str, ...] = (),
        args: tuple[str, ...] = (),
        user: str = "",
        group: str = "",
        supplementary_gids: tuple[int, ...] | None = None,
        working_directory: str = "",
        environment: tuple[tuple[str, str], ...] = (),
        mounts: tuple[Mount, ...] = (),
        isolators: tuple[Isolator, ...] = (),
        read_only_root_fs: bool = False,
        annotations: tuple[tuple[str, str], ...] = (),
        user_annotations: tuple[tuple[str, str], ...] = (),
        user_labels: tuple[tuple[str, str], ...] = (),
        restart: str = "",
        health: str = "",
        handler_timeout: str = "",
        devices: tuple[str, ...] = (),
        signature: str = "",
        stdin: str = "",
        stdout: str = "",
        stderr: str = "",
    ) -> None:
        self.image = image
        self.name = name
        self.exec_ = exec_
        self.args = args
        self.user = user
        self.group = group
        self.supplementary_gids = supplementary_gids
        self.working_directory = working_directory
        self.environment = environment
        self.mounts = mounts
        self.isolators = isolators
        self.read_only_root_fs = read_only_root_fs
        self.annotations = annotations
        self.user_annotations = user_annotations
        self.user_labels = user_labels
        self.restart = restart
        self.health = health
        self.handler_timeout = handler_timeout
        self.devices = devices
        self.signature = signature
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


class PodRequest:
    """A pod: its apps (or a ready pod manifest), volumes, network and how it is to be kept.

    `isolators` are those of the pod, which bound its apps'.
    `grace` is the time in seconds between SIGTERM and SIGKILL. `strict` refuses a pod of which an
    isolator cannot be enforced. `inherited` is environment that every app gets below its own.
    `verify` compares the images' trees with what was imported. `passphrase` gives that of an encrypted
    image file, by its path. `network` is called when an image has to be fetched, and nothing is without it; `started`
    when one begins to arrive (see `images.fetch.resolve`). `net` is none, host, or the names of networks
    (network/setup.py); `ports` are (name of an app's port, address of the host or "", port of the host); `names` is
    what is asked of name resolution. `cgroup` is the UUID of the pod whose control groups this one joins, "" for none.
    `private_users` is a range of users for the pod alone, as `pods.private_users.parse` takes it, or "" for the host's
    users. `runtime` is the path or name of the OCI runtime that makes the apps, "" for none but us.
    """

    __slots__ = (
        "annotations",
        "apps",
        "cgroup",
        "environment",
        "grace",
        "hostname",
        "inherited",
        "insecure",
        "interactive",
        "isolators",
        "manifest",
        "mounts",
        "names",
        "net",
        "network",
        "passphrase",
        "ports",
        "private_users",
        "pull",
        "remove",
        "runtime",
        "started",
        "strict",
        "user_annotations",
        "user_labels",
        "verify",
        "volumes",
    )

    def __init__(
        self,
        apps: tuple[AppRequest, ...] = (),
        *,
        manifest: PodManifest | None = None,
        volumes: tuple[Volume, ...] = (),
        mounts: tuple[Mount, ...] = (),
        net: str = "none",
        ports: tuple[tuple[str, str, int], ...] = (),
        names: Names | None = None,
        hostname: str = "",
        cgroup: str = "",
        private_users: str = "",
        runtime: str = "",
        environment: tuple[tuple[str, str], ...] = (),
        inherited: tuple[tuple[str, str], ...] = (),
        isolators: tuple[Isolator, ...] = (),
        annotations: tuple[tuple[str, str], ...] = (),
        user_annotations: tuple[tuple[str, str], ...] = (),
        user_labels: tuple[tuple[str, str], ...] = (),
        interactive: bool = False,
        remove: bool = False,
        strict: bool = False,
        insecure: tuple[str, ...] = (),
        pull: str = "new",
        grace: float = 10.0,
        verify: bool = False,
        passphrase: Callable[[str], bytes | None] | None = None,
        network: Callable[[], Network] | None = None,
        started: Callable[[str, int | None], Callable[[int], None]] | None = None,
    ) -> None:
        self.apps = apps
        self.network = network
        self.started = started
        self.verify = verify
        self.passphrase = passphrase
        self.manifest = manifest
        self.volumes = volumes
        self.mounts = mounts
        self.net = net
        self.cgroup = cgroup
        self.private_users = private_users
        self.runtime = runtime
        self.ports = ports
        self.names = names or Names()
        self.hostname = hostname
        self.environment = environment
        self.inherited = inherited
        self.isolators = isolators
        self.annotations = annotations
        self.user_annotations = user_annotations
        self.user_labels = user_labels
        self.interactive = interactive
        self.remove = remove
        self.strict = strict
        self.insecure = insecure
        self.pull = pull
        self.grace = grace

    @property
    def networked(self) -> bool:
        """Whether the pod is attached to networks."""
        return self.net not in ("none", "host") and not self.joined

    @property
    def joined(self) -> str:
        """The UUID of the pod whose network this one joins, "" for none."""
        return self.net.removeprefix("pod:") if self.net.startswith("pod:") else ""

    def check(self) -> None:
        """Raise UsageError for what no pod can be."""
        if self.networked:
            from appc.network.setup import parse

            parse(self.net)
        if not self.apps and self.manifest is None:
            raise UsageError("no image is named", "pod")
        labels = self.hostname.split(".")
        plain = all(label and label.replace("-", "a").replace("_", "a").isalnum() for label in labels)
        if self.hostname and not (plain and self.hostname.isascii() and len(self.hostname) <= LONGEST_HOSTNAME):
            hint = f"letters, digits, - and dots, at most {LONGEST_HOSTNAME} in all"
            raise UsageError(f"{self.hostname!r} is not a host name", "hostname", hint)
        if not 0 <= self.grace <= LONGEST_GRACE:
            raise UsageError(f"{self.grace:g} s is not between 0 and {LONGEST_GRACE:g}", "grace")

    def to_json(self, images: list[str]) -> dict[str, Any]:
        """Return what `run-prepared` and `gc` need later and the pod manifest has no field for.

        `images` are the IDs of the images that have to stay.
        """
        return {
            "net": self.net,
            "cgroup": self.cgroup,
            "private-users": self.private_users,
            "runtime": self.runtime,
            "names": self.names.to_json(),
            "hostname": self.hostname,
            "interactive": self.interactive,
            "remove": self.remove,
            "strict": self.strict,
            "grace": self.grace,
            "images": images,
            "streams": [[app.stdin, app.stdout, app.stderr] for app in self.apps],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any], manifest: PodManifest) -> PodRequest:
        """Return the request of a prepared pod: its reified manifest, and what `to_json` kept beside it."""
        streams = document["streams"]
        return cls(
            tuple(
                AppRequest("", name=str(app.name), stdin=modes[0], stdout=modes[1], stderr=modes[2])
                for app, modes in zip(manifest.apps, streams, strict=False)
            ),
            manifest=manifest,
            net=document["net"],
            cgroup=document.get("cgroup", ""),
            private_users=document.get("private-users", ""),
            runtime=document.get("runtime", ""),
            names=Names.from_json(document["names"]),
            hostname=document["hostname"],
            interactive=document["interactive"],
            remove=document["remove"],
            strict=document["strict"],
            grace=document["grace"],
        )
