"""Keeping what a pod was compiled to, for `replay`.

Only what is known to depend on nothing but what `replay` compares is kept: options, parts of a request and isolators
that this file does not name make a pod that is compiled each time. Volumes, networks, terminals, environments and
files that options name are such.
"""

from __future__ import annotations

import os
import sys
from binascii import b2a_base64

from appc.executor.replay import HANDED, groups_text, host_text, image_text, path_of, renamed, stamps
from appc.metadata import access
from appc.pods import skeleton
from appc.pods.request import AppRequest, PodRequest
from appc.schema.json import dumps
from appc.store.images import ImageStore
from appc.values import PodUUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from appc.config import Directories
    from appc.executor.compilation import Compilation
    from appc.executor.launch import Entered
    from appc.pods.layout import Pod

# How many pods are kept.
MOST = 64

# Options that say nothing but what is in the words themselves.
_OPTIONS = frozenset(
    (
        "--caps-remove",
        "--caps-retain",
        "--cpu",
        "--exec",
        "--grace",
        "--group",
        "--hostname",
        "--insecure",
        "--memory",
        "--name",
        "--no-new-privileges",
        "--offline",
        "--pull",
        "--readonly-rootfs",
        "--rm",
        "--seccomp",
        "--stderr",
        "--stdin",
        "--stdout",
        "--strict",
        "--supplementary-gids",
        "--user",
        "--working-dir",
    )
)
# What these set in requests, and what is called where images have to be fetched. All else has to be as by default.
_POD = frozenset(
    (
        "apps",
        "grace",
        "hostname",
        "insecure",
        "names",
        "network",
        "passphrase",
        "pull",
        "remove",
        "started",
        "strict",
    )
)
_APP = frozenset(
    (
        "args",
        "exec_",
        "group",
        "image",
        "isolators",
        "name",
        "read_only_root_fs",
        "stderr",
        "stdin",
        "stdout",
        "supplementary_gids",
        "user",
        "working_directory",
    )
)
_STREAMS = ("", "log", "null", "stream")
# Isolators that look at nothing but the facts.
_ISOLATORS = (
    "os/linux/capabilities-remove-set",
    "os/linux/capabilities-retain-set",
    "os/linux/no-new-privileges",
    "os/linux/seccomp-remove-set",
    "os/linux/seccomp-retain-set",
    "resource/cpu",
    "resource/memory",
)


def keep(words: Sequence[str], entered: Entered, where: Directories) -> None:
    """Keep what the pod that the words of `appc run` describe came to, if it can be replayed.

    A directory that cannot be written keeps nothing.
    """
    if HANDED.intersection(os.environ) or not (_plain_words(words) and _plain(entered.compilation)):
        return
    path = path_of(words, where.root)
    temporary = f"{path}.{os.getpid()}"
    try:
        document = _document(words, entered, where)
        if not _is_all(document, entered.compilation.pod):
            return
        data = dumps(document).encode()
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        _make_room(os.path.dirname(path))
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary)
    except OSError:
        return


def _document(words: Sequence[str], entered: Entered, where: Directories) -> dict[str, Any]:
    compilation = entered.compilation
    prepared, pod = compilation.prepared, compilation.pod
    # The pod's own names are worth something to others as long as it runs: what is kept has names that nobody has.
    names = [(pod.uuid, str(PodUUID.new())), (compilation.token, access.new_token())]
    store = ImageStore(where.root)
    apps = [
        {
            "name": str(app.name),
            "reference": asked.image,
            "image": image_text(store.get(str(app.image.id)), root),
        }
        for app, asked, root in zip(prepared.manifest.apps, prepared.request.apps, prepared.roots, strict=True)
    ]
    files = ["pod", "request", "isolators", *(f"config/{app['name']}" for app in apps)]
    if where.settings.metadata_verifier:
        files.append("verifier")
    return {
        "words": list(words),
        "sources": stamps(_sources()),
        "host": host_text(compilation.facts, where),
        "insecure": list(prepared.request.insecure),
        "apps": apps,
        "names": [new for _, new in names],
        "files": {name: renamed(pod.read(name), names).decode() for name in files},
        "resources": compilation.resources(),
        "groups": groups_text(entered.groups, pod.uuid),
        "warnings": prepared.warnings,
        "plan": b2a_base64(renamed(entered.data, names), newline=False).decode(),
    }


def _is_all(document: dict[str, Any], pod: Pod) -> bool:
    """Tell whether a pod that is replayed has all that is in the directory of this one."""
    apps = [app["name"] for app in document["apps"]]
    known = {*skeleton.SUBDIRECTORIES, "hmac-key", "lock", "plan", "token", *document["files"]}
    for app in apps:
        known |= {f"images/{app}", f"apps/{app}", *(f"apps/{app}/{name}" for name in ("rootfs", "upper", "work"))}
    found = {
        os.path.join(directory, name)[len(pod.path) + 1 :]
        for directory, below, files in os.walk(pod.path)
        for name in (*below, *files)
    }
    return found == known


def _sources() -> list[str]:
    """The files of all of appc's modules that this process has imported, so also of those that compiled the pod."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "appc"]
    return sorted(file for file in (getattr(module, "__file__", None) for module in modules) if file)


def _plain_words(words: Sequence[str]) -> bool:
    """Tell whether all options are known to mean the same whenever they are given; arguments of apps always do."""
    ours = True
    for word in words:
        if word in ("--", "---"):
            ours = word == "---"
        elif ours and word.startswith("-") and word.partition("=")[0] not in _OPTIONS:
            return False
    return True


def _plain(compilation: Compilation) -> bool:
    """Tell whether the pod was made of nothing but words, images and facts."""
    prepared = compilation.prepared
    request, manifest = prepared.request, prepared.manifest
    isolators = [str(isolator.name) for app in manifest.apps for isolator in (app.app.isolators if app.app else ())]
    return (
        not prepared.again
        and request.pull != "update"
        and _only(request, PodRequest(), _POD)
        and request.names.to_json() == PodRequest().names.to_json()
        and all(_only(app, AppRequest(""), _APP) for app in request.apps)
        and all(mode in _STREAMS for app in request.apps for mode in (app.stdin, app.stdout, app.stderr))
        and all(root.overlay and len(root.image_ids) == 1 for root in prepared.roots)
        and all(os.path.isdir(prepared.pod.file(f"apps/{app.name}/upper")) for app in manifest.apps)
        and not manifest.volumes
        and all(name in _ISOLATORS for name in isolators)
    )


def _only(request: PodRequest | AppRequest, plain: PodRequest | AppRequest, names: frozenset[str]) -> bool:
    """Tell whether nothing but `names` was asked for."""
    return all(name in names or getattr(request, name) == getattr(plain, name) for name in request.__slots__)


def _make_room(directory: str) -> None:
    """Remove what was not used for the longest time, so that one more is not more than MOST."""
    kept = sorted((f"{directory}/{name}" for name in os.listdir(directory)), key=os.path.getmtime)
    for path in kept[: max(0, len(kept) - MOST + 1)]:
        os.unlink(path)
