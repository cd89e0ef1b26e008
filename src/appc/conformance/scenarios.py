"""The pods that are run: each asks an executor for one thing, or for one thing it has to refuse."""

from __future__ import annotations

import json
import os

from appc.conformance import images
from appc.conformance.runner import SHARED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from appc.conformance.runner import Runner

DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")
NAMESPACES = ("pid", "net", "ipc", "uts", "mnt")
HOSTS = b"192.0.2.1 kept.example\n"
SIGNED = "what is signed"
# getpriority(2), which nothing here needs: a call that can be forbidden without harm.
CALL = "getpriority"
CALL_NUMBER = {"x86_64": "140", "aarch64": "141", "i686": "96"}.get(os.uname().machine, "140")
MEMORY = 64 << 20
_MIB = 1 << 20


class Wanted:
    """What a scenario needs: images to run, volumes by name, images the store has to have first, a pod manifest."""

    def __init__(
        self,
        images: Sequence[str],
        volumes: Mapping[str, str] | None = None,
        fetched: Sequence[str] = (),
        pod_manifest: str = "",
    ) -> None:
        self.images = images
        self.volumes = volumes or {}
        self.fetched = fetched
        self.pod_manifest = pod_manifest


class Scenario:
    """One pod. `make` writes its images into a directory; `over` names the scenario whose shared volume it gets."""

    def __init__(self, name: str, make: Callable[[Runner, str], Wanted], over: str = "") -> None:
        self.name = name
        self.make = make
        self.over = over


def to(name: str, *actions: str) -> tuple[str, ...]:
    """Return the program's words that write what `actions` find out to the file `name` of the shared volume."""
    return ("to", f"{SHARED}/{name}", *actions)


def ask(name: str, method: str, path: str, form: str = "") -> tuple[str, ...]:
    """Return the words that ask the metadata service, and write the answer to `name`."""
    return to(name, "metadata", method, f"/acMetadata/v1{path}", form)


def app(*actions: str, **fields: Any) -> dict[str, Any]:
    """Return the app section of an image that performs `actions`, and has the shared volume."""
    points = [{"name": "shared", "path": SHARED}, *fields.pop("mountPoints", ())]
    return {"exec": [images.PROGRAM, *to("ran", "echo", "yes"), *actions], "mountPoints": points, **fields}


def image(
    place: str,
    name: str,
    section: dict[str, Any] | None,
    files: Mapping[str, bytes | str | None] | None = None,
    **fields: Any,
) -> str:
    """Write an image into the directory `place` and return its path."""
    path = os.path.join(place, f"{name}.aci")
    document = images.manifest(f"conformance.example.com/{name}", section, **fields)
    images.write(path, document, files or {}, program=section is not None)
    return path


def _report(prefix: str) -> tuple[str, ...]:
    links = [word for kind in NAMESPACES for word in ("link", f"/proc/self/ns/{kind}")]
    return (*to(f"{prefix}.report", "report"), *to(f"{prefix}.mounts", "mounts"), *to(f"{prefix}.namespaces", *links))


def _environment(runner: Runner, place: str) -> Wanted:
    main = app(
        *_report("main"),
        *to("main.root", "stat", "/left-behind"),
        *to("left", "write", "/left-behind", "x"),
        *to("main.devices", *(word for name in DEVICES for word in ("stat", f"/dev/{name}"))),
        *to("main.ptmx", "link", "/dev/ptmx"),
        *to("main.hosts", "read", "/etc/hosts"),
        *to("main.volumes", "stat", "/made", "stat", "/made/deep", "stat", "/file", "stat", "/owned"),
        *to("main.covered", "list", "/full"),
        *to("main.readonly", "write", "/readonly/file", "x"),
        *ask("uuid", "GET", "/pod/uuid"),
        *ask("pod-manifest", "GET", "/pod/manifest"),
        *ask("pod-annotations", "GET", "/pod/annotations"),
        *ask("app-annotations", "GET", "/apps/main/annotations"),
        *ask("image-manifest", "GET", "/apps/main/image/manifest"),
        *ask("image-id", "GET", "/apps/main/image/id"),
        *ask("nobody", "GET", "/apps/nobody/image/id"),
        *ask("signature", "POST", "/pod/hmac/sign", f"content={SIGNED.replace(' ', '+')}"),
        *to("main.waits", "await", f"{SHARED}/sidekick.end"),
        *to("main.done", "echo", "done"),
        workingDirectory="/work",
        environment=[{"name": "CONFORMANCE", "value": "main"}],
        supplementaryGIDs=[1234, 2345],
        eventHandlers=[
            {
                "name": "pre-start",
                "exec": [images.PROGRAM, *_report("pre-start"), *to("pre-start.end", "stat", f"{SHARED}/main.done")],
            },
            {
                "name": "post-stop",
                "exec": [images.PROGRAM, *_report("post-stop"), *to("post-stop.end", "stat", f"{SHARED}/main.done")],
            },
        ],
        mountPoints=[
            {"name": "made", "path": "/made/deep"},
            {"name": "full", "path": "/full"},
            {"name": "file", "path": "/file"},
            {"name": "owned", "path": "/owned"},
            {"name": "readonly", "path": "/readonly", "readOnly": True},
        ],
        ports=[{"name": "web", "protocol": "tcp", "port": 8080}],
        isolators=[{"name": "conformance.example.com/unknown", "value": {"limit": "1"}}],
        userAnnotations={"any key at all": "any value"},
        userLabels={"purpose": "conformance"},
    )
    files = {
        "work": images.DIRECTORY,
        "full": images.DIRECTORY,
        "full/old": b"old",
        "file": b"a file",
        "etc": images.DIRECTORY,
    }
    annotations = [{"name": "authors", "value": "Conformance"}]
    sidekick = app(
        *_report("sidekick"), *to("sidekick.hosts", "read", "/etc/hosts"), *to("sidekick.end", "echo", "done")
    )
    volumes = dict.fromkeys(("made", "full", "file", "readonly"), "kind=empty")
    return Wanted(
        [
            image(place, "main", main, files, annotations=annotations),
            image(place, "sidekick", sidekick, {"etc": images.DIRECTORY, "etc/hosts": HOSTS}),
        ],
        {**volumes, "owned": "kind=empty,mode=0750,uid=12,gid=34"},
    )


def _again(runner: Runner, place: str) -> Wanted:
    """The same image once more, over the same volume; the metadata service is asked about the pod before."""
    first = runner.evidence(ENVIRONMENT)
    uuid, signature = answer(first.text("uuid")).body, answer(first.text("signature")).body.strip()
    content = SIGNED.replace(" ", "+")
    quoted = signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    claim = f"content={content}&uuid={uuid}&signature="
    main = app(
        *to("again.root", "stat", "/left-behind"),
        *ask("again.uuid", "GET", "/pod/uuid"),
        *ask("again.verify", "POST", "/pod/hmac/verify", claim + quoted),
        *ask("again.forged", "POST", "/pod/hmac/verify", claim + "QUFBQQ%3D%3D"),
    )
    return Wanted([image(place, "main", main)])


def _refused(volumes: Callable[[str], dict[str, str]], *paths: str) -> Callable[[Runner, str], Wanted]:
    """A pod with volumes, made by a function of a directory, at paths of its app."""

    def make(runner: Runner, place: str) -> Wanted:
        given = volumes(place)
        points = [{"name": name, "path": path} for name, path in zip(given, paths, strict=True)]
        return Wanted([image(place, "main", app(mountPoints=points))], given)

    return make


def _missing(place: str) -> dict[str, str]:
    return {"data": f"kind=host,source={place}/missing"}


def _link(place: str) -> dict[str, str]:
    os.mkdir(f"{place}/target")
    os.symlink("target", f"{place}/link")
    return {"data": f"kind=host,source={place}/link"}


def _link_within(place: str) -> dict[str, str]:
    os.makedirs(f"{place}/target/data")
    os.symlink("target", f"{place}/link")
    return {"data": f"kind=host,source={place}/link/data"}


def _overlapping(place: str) -> dict[str, str]:
    return {"outer": "kind=empty", "inner": "kind=empty"}


def _isolated(*actions: str, **isolators: Any) -> Callable[[Runner, str], Wanted]:
    """An app with isolators, `__` in their names standing for `/` and `_` for `-`, that performs `actions`."""

    def make(runner: Runner, place: str) -> Wanted:
        listed = [
            {"name": name.replace("__", "/").replace("_", "-"), "value": value} for name, value in isolators.items()
        ]
        return Wanted([image(place, "main", app(*actions, isolators=listed))])

    return make


def _profile(runner: Runner, place: str) -> Wanted:
    return _isolated(os__linux__apparmor_profile={"profile": "conformance-is-not-loaded"})(runner, place)


def _identity(runner: Runner, place: str) -> Wanted:
    files = {"etc": images.DIRECTORY, "etc/passwd": b"someone:x:1000:1001::/:/x\n", "etc/group": b"some:x:1002:\n"}
    return Wanted([image(place, "main", app(*to("report", "report"), user="someone", group="some"), files)])


def _dependencies(runner: Runner, place: str) -> Wanted:
    """Two images on a third: what comes later replaces what came before, and no link is followed."""
    below = image(
        place,
        "below",
        None,
        {"data": images.DIRECTORY, "data/both": b"below", "data/below": b"below", "link": "data", "hidden": b"below"},
    )
    beside = image(place, "beside", None, {"data": images.DIRECTORY, "data/both": b"beside", "data/beside": b"beside"})
    listed = [{"imageName": f"conformance.example.com/{name}"} for name in ("below", "beside")]
    main = app(
        *to("both", "read", "/data/both"),
        *to("listed", "list", "/data", "list", "/link"),
        *to("hidden", "stat", "/hidden"),
    )
    files = {"link": images.DIRECTORY, "link/own": b"own"}
    whitelist = ["/conformance", "/data/both", "/data/below", "/data/beside", "/link/own", SHARED]
    return Wanted(
        [image(place, "main", main, files, dependencies=listed, pathWhitelist=whitelist)], fetched=(below, beside)
    )


def _same_names(runner: Runner, place: str) -> Wanted:
    """A pod manifest with two apps of one name."""
    from hashlib import sha512

    path = image(place, "main", {"exec": [images.PROGRAM, *to("ran", "echo", "yes")]})
    with open(path, "rb") as stream:
        image_id = f"sha512-{sha512(stream.read()).hexdigest()}"
    mounts = [{"volume": "shared", "path": SHARED}]
    entry = {"name": "same", "image": {"id": image_id}, "mounts": mounts}
    shared = os.path.join(os.path.dirname(place), "same-names", "shared")
    volumes = [{"name": "shared", "kind": "host", "source": shared}]
    document = {"acKind": "PodManifest", "acVersion": images.AC_VERSION, "apps": [entry, entry], "volumes": volumes}
    manifest = os.path.join(place, "pod.json")
    with open(manifest, "w") as stream:
        json.dump(document, stream)
    return Wanted([], fetched=(path,), pod_manifest=manifest)


class Answer:
    """An answer of the metadata service: its status (0: there was none), its media type, its body."""

    def __init__(self, status: int, kind: str, body: str) -> None:
        self.status = status
        self.kind = kind
        self.body = body


def answer(text: str) -> Answer:
    """Read what the program wrote of an answer: the question, then status, headers and body."""
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    lines = head.split("\n")[1:]
    words = lines[0].split() if lines else []
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        return Answer(0, "", "")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Answer(int(words[1]), headers.get("content-type", ""), body)


_PRIORITY = to("call", "syscall", CALL_NUMBER)

ENVIRONMENT = Scenario("environment", _environment)
AGAIN = Scenario("again", _again, over="environment")
IDENTITY = Scenario("identity", _identity)
DEPENDENCIES = Scenario("dependencies", _dependencies)
MISSING = Scenario("missing-source", _refused(_missing, "/data"))
LINK = Scenario("linked-source", _refused(_link, "/data"))
LINK_WITHIN = Scenario("link-within-source", _refused(_link_within, "/data"))
OVERLAPPING = Scenario("overlapping-targets", _refused(_overlapping, "/data", "/data/inner"))
SAME_NAMES = Scenario("same-names", _same_names)
PROFILE = Scenario("missing-profile", _profile)
REMOVED = Scenario("seccomp-remove", _isolated(*_PRIORITY, os__linux__seccomp_remove_set={"set": [CALL]}))
REMOVED_ERRNO = Scenario(
    "seccomp-remove-errno", _isolated(*_PRIORITY, os__linux__seccomp_remove_set={"set": [CALL], "errno": "ENOTSUP"})
)
RETAINED_ERRNO = Scenario(
    "seccomp-retain-errno",
    _isolated(*_PRIORITY, os__linux__seccomp_retain_set={"set": ["@docker/default-whitelist"], "errno": "EPERM"}),
)
CAPS_RETAINED = Scenario(
    "capabilities-retain",
    _isolated(*to("report", "report"), os__linux__capabilities_retain_set={"set": ["CAP_KILL", "CAP_CHOWN"]}),
)
CAPS_REMOVED = Scenario(
    "capabilities-remove",
    _isolated(*to("report", "report"), os__linux__capabilities_remove_set={"set": ["CAP_KILL", "CAP_CHOWN"]}),
)
NO_NEW_PRIVILEGES = Scenario("no-new-privileges", _isolated(*to("report", "report"), os__linux__no_new_privileges=True))
TOO_MUCH_MEMORY = Scenario(
    "memory",
    _isolated(
        *to("memory", "memory", str(2 * MEMORY // _MIB)),
        *to("had", "echo", "all"),
        resource__memory={"limit": str(MEMORY)},
    ),
)
