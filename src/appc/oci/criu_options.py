"""What is asked of CRIU for a container: pure functions from a command line and what was looked up to its options."""

from __future__ import annotations

from appc.errors import AppcError, Unenforceable, UsageError
from appc.host.criu import FIRST
from appc.host.criu_wire import CGROUP_MODES
from appc.plan.constants import CLONE_NEWNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from appc.host.criu_wire import Option
    from appc.host.probe import HostFacts
    from appc.oci.options import Args

DUMP_LOG, RESTORE_LOG = "dump.log", "restore.log"
_EVERYTHING = 4  # CRIU's log level, as engines have it
_BOTH = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "link-remap", "auto-dedup")
_DUMP_FLAGS = (*_BOTH, "leave-running", "tcp-skip-in-flight")
_RESTORE_FLAGS = (*_BOTH, "tcp-close")
# Namespaces that stay outside of what is written down, by the keys that runc gives them, too.
_OUTSIDE = {"network": ("net", "extRootNetNS")}
# Those that are written down and joined again instead of made anew.
_JOINED = {"ipc": "ipc", "uts": "uts"}


def refuse(config: Mapping[str, Any]) -> None:
    """Unenforceable, with the field's path, for what would not be the same when the container has come back."""
    linux = config.get("linux") or {}
    if all(namespace["type"] != "mount" for namespace in linux.get("namespaces") or ()):
        raise Unenforceable("a container in the host's mount namespace cannot be restored", "linux.namespaces")
    for index, namespace in enumerate(linux.get("namespaces") or ()):
        kind = namespace["type"]
        if kind == "user":
            # What is restored in it opens the image, and streams that are files, as a user who may not.
            raise Unenforceable("a container with users of its own cannot be restored", f"linux.namespaces[{index}]")
        if namespace.get("path") and kind not in (*_OUTSIDE, *_JOINED):
            raise Unenforceable(
                f"a {kind} namespace that was joined cannot be restored", f"linux.namespaces[{index}].path"
            )
    if (linux.get("seccomp") or {}).get("listenerPath"):
        raise Unenforceable("the agent of a filter cannot be restored", "linux.seccomp.listenerPath")
    if linux.get("netDevices"):
        raise Unenforceable("devices of the host cannot be restored", "linux.netDevices")


def dump_options(
    args: Args,
    *,
    pid: int,
    freezer: str,
    mounts: Iterable[tuple[str, str]],
    streams: Iterable[str],
    namespaces: Mapping[str, int],
) -> list[Option]:
    """Return the options that write process `pid` down.

    `freezer` is the control group that is frozen for it, `mounts` what is mounted from outside, as (mount point, key);
    `streams` are those of its standard streams that are files outside, `namespaces` the inodes of those that were
    joined, by their kind.
    """
    options = _log(DUMP_LOG)
    options += [("pid", pid), ("orphan_pts_master", 1), *_flags(args, _DUMP_FLAGS), *_cgroups(args)]
    if freezer:
        options.append(("freeze_cgroup", freezer))
    if args.flag("pre-dump") or args.option("parent-path"):
        options.append(("track_mem", 1))
    if args.option("parent-path"):
        options.append(("parent_img", args.option("parent-path")))
    options += [("ext_mnt", (path, key)) for path, key in mounts]
    options += [("external", stream) for stream in dict.fromkeys(streams)]
    for kind, inode in namespaces.items():
        if kind in _OUTSIDE:
            short, key = _OUTSIDE[kind]
            options.append(("external", f"{short}[{inode}]:{key}"))
    return [*options, *_empty(args)]


def restore_options(
    args: Args,
    *,
    root: str,
    mounts: Iterable[tuple[str, str]],
    streams: Sequence[str],
    namespaces: Mapping[str, str],
    cgroups: Iterable[tuple[str, str]],
) -> list[Option]:
    """Return the options that bring processes back, with their root at the mount `root`, as children of the caller.

    `mounts` are (key, path on the host); `streams` the keys of the standard streams, "" for those that are not handed
    over; `namespaces` the paths of those that are joined, by their kind; `cgroups` are (controller, path), the
    controller "" for all others. Descriptors are handed over of the streams `handed` and the namespaces `outside`.
    """
    options = _log(RESTORE_LOG)
    options += [("root", root), ("rst_sibling", 1), ("notify_scripts", 1), ("orphan_pts_master", 1)]
    options += [*_flags(args, _RESTORE_FLAGS), *_cgroups(args)]
    options += [("cg_root", pair) for pair in cgroups]
    options += [("ext_mnt", pair) for pair in mounts]
    keys = [*(streams[fd] for fd in handed(streams)), *(_OUTSIDE[kind][1] for kind in outside(namespaces))]
    options += [("inherit_fd", (key, fd)) for fd, key in enumerate(keys, FIRST)]
    options += [("join_ns", (_JOINED[kind], path)) for kind, path in namespaces.items() if kind in _JOINED]
    for name in ("lsm-profile", "lsm-mount-context"):
        if args.option(name):
            options.append((name.replace("-", "_"), args.option(name)))
    return [*options, *_empty(args)]


def handed(streams: Sequence[str]) -> list[int]:
    """Return the standard streams that a restore gets, in their order: one of those that are the same."""
    return [streams.index(key) for key in dict.fromkeys(streams) if key]


def outside(namespaces: Mapping[str, str]) -> list[str]:
    """Return the kinds of the namespaces of which a restore gets descriptors, in that order."""
    return [kind for kind in namespaces if kind in _OUTSIDE]


def group_roots(groups: Iterable[str], facts: HostFacts) -> list[tuple[str, str]]:
    """Return (controller, path in its hierarchy) of each of a container's groups, "" for the controller of cgroup2."""
    roots = []
    for group in groups:
        place = max((place for place in facts.bases if f"{group}/".startswith(f"{place}/")), key=len)
        path = group[len(place) :]
        if place == facts.unified:
            roots.append(("", path))
        else:
            roots += [(name, path) for name, at in facts.controllers.items() if at == place]
    return roots


def stream_key(text: object) -> str:
    """Return what a standard stream was, as the image says it, if a caller can put another in its place, else ""."""
    return text if isinstance(text, str) and text.startswith(("pipe:[", "file[")) else ""


def _log(name: str) -> list[Option]:
    return [("log_level", _EVERYTHING), ("log_file", name)]


def _flags(args: Args, names: Iterable[str]) -> list[Option]:
    return [(name.replace("-", "_"), 1) for name in names if args.flag(name)]


def _cgroups(args: Args) -> list[Option]:
    mode = args.option("manage-cgroups-mode") or "soft"
    if mode not in CGROUP_MODES:
        raise UsageError(f"{mode!r} is none of {', '.join(CGROUP_MODES)}", "--manage-cgroups-mode")
    return [("manage_cgroups", 1), ("manage_cgroups_mode", CGROUP_MODES[mode])]


def _empty(args: Args) -> list[Option]:
    for kind in args.options("empty-ns"):
        if kind != "network":
            raise AppcError(f"only the network namespace can be left empty, not {kind!r}", "--empty-ns")
    return [("empty_ns", CLONE_NEWNET)] if args.options("empty-ns") else []
