"""The root of a container: from `root`, `mounts`, `linux.devices`, masked and read-only paths to ops.

The order of the ops: root, mounts as listed, devices and links, files, terminal, masked paths,
read-only paths, read-only mounts, pivot. Whatever is made needs its place to be writable, and the
null device that masks files is the host's, which is gone after the pivot.
"""

from __future__ import annotations

from appc.abi import CAPABILITY_BITS
from appc.errors import Unenforceable
from appc.plan.compile_cgroups import cgroup_mounts
from appc.plan.compile_mounts import MountOptions, below, clean
from appc.plan.compile_process import console
from appc.plan.constants import (
    ATTR_RDONLY,
    EACCES,
    EEXIST,
    ELOOP,
    ENOENT,
    ENOTDIR,
    EPERM,
    EROFS,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    NODE_TYPES,
    PROPAGATION,
    S_IFCHR,
)
from appc.plan.ops import (
    ATTRIBUTES_RECURSIVE,
    BIND_ANEW,
    BIND_NO_SYMLINKS,
    BIND_RECURSIVE,
    TREE_MAPPED,
    TREE_NO_SYMLINKS,
    TREE_PEER,
    TREE_RECURSIVE,
    Op,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.plan.facts import Facts

# Words of `hints`: what the compiler has to know of a bind mount's source and target on this host.
FILE = "file"  # the source is not a directory
REPLACES_FILE = "replaces-file"  # the root has a file where a directory will be mounted
NO_SYMLINKS = "no-symlinks"  # refuse a source with a symbolic link in its path

# runtime-spec, "Default Devices"; (name, major, minor)
_DEFAULT_DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
_HOST_NODES = {(major, minor): f"/dev/{name}" for name, major, minor in _DEFAULT_DEVICES}
_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
)
# File systems whose directories are the kernel's: nothing can be made in them.
_KERNEL_TREES = ("proc", "sysfs")
# What keeps a directory from being made: no directory, link or permission leads there.
_NO_PLACE = (EPERM, ENOENT, EACCES, ENOTDIR, EROFS, ELOOP)
# File systems that take no SELinux context of a mount.
_UNLABELLED = ("proc", "sysfs", "cgroup", "cgroup2")


class RootFS:
    """Where a container's root comes from, as host paths.

    An overlay of `lowers` (topmost first), `upper` and `work`, mounted at the directory `target`; or, without
    lowers, the directory `target` itself. One that is `mapped` belongs to users 0 and up on disk, whoever those are in
    the container's user namespace; an overlay does in any.
    """

    __slots__ = ("lowers", "mapped", "options", "target", "upper", "work")

    def __init__(
        self,
        target: str,
        lowers: tuple[str, ...] = (),
        upper: str = "",
        work: str = "",
        options: tuple[str, ...] = (),
        *,
        mapped: bool = False,
    ) -> None:
        self.mapped = mapped
        self.target = target
        self.lowers = lowers
        self.upper = upper
        self.work = work
        self.options = options


class RootBuilder:
    """Compiles one root; `ops` grows step by step.

    `trees` come before the container's user namespace is joined. A container `alone` unshares the host's mounts itself,
    after its trees were taken. The apps of a pod do so from a keeper whose mounts are slaves already.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        root: RootFS,
        facts: Facts,
        *,
        cgroups: Sequence[str] = (),
        hints: Mapping[str, tuple[str, ...]] | None = None,
        files: Sequence[tuple[str, int, bytes, bool]] = (),
        bundle: str = "",
        alone: bool = False,
    ) -> None:
        self.ops: list[Op] = []
        self._config = config
        self._linux: Mapping[str, Any] = config.get("linux") or {}
        self._root = root
        self._facts = facts
        self._cgroups = cgroups
        self._hints = hints or {}
        self._files = files
        self._bundle = bundle
        self._alone = alone
        self._mounts = self._parsed_mounts()
        self._made = {"/"}
        self._mounted: dict[str, tuple[str, bool]] = {"/": ("", False)}  # path → (file system, read-only)
        self._late: list[Op] = []
        self._in_user = any(namespace.get("type") == "user" for namespace in self._linux.get("namespaces") or ())
        self.trees: list[Op] = []

    def build(self) -> list[Op]:
        """Return all ops up to and including the pivot."""
        if self._linux.get("mountLabel") and not self._facts.selinux:
            raise Unenforceable("selinux is not enabled on this host", "linux.mountLabel")
        self._propagation()
        self._base()
        for index, mount, path, options in self._mounts:
            self._mount(f"mounts[{index}]", mount, path, options)
        self._devices()
        self._make_files()
        self._working_directory()
        if (self._config.get("process") or {}).get("terminal"):
            self.ops.append(console(self._config["process"]))
        self._hidden_paths()
        self.ops += self._late
        if self._config["root"].get("readonly"):
            self._add("attributes", "/", 0, ATTR_RDONLY, 0, source="root.readonly")
        self._add("pivot", source="root.path")
        propagation = (self._linux.get("rootfsPropagation") or "").removeprefix("r")
        if propagation in ("shared", "unbindable"):
            self._add("propagation", PROPAGATION[propagation], source="linux.rootfsPropagation")
        return self.ops

    def propagated(self) -> list[int]:
        """Return which mounts are to be anything but private."""
        return [index for index, _, _, options in self._mounts if options.propagation & ~(MS_REC | MS_PRIVATE)]

    def bare(self) -> list[Op]:
        """Return the ops for another runtime: they mount the root, and change in it what no configuration asks for."""
        self._base()
        for _, _, path, _ in self._mounts:
            if REPLACES_FILE in self._hints.get(path, ()):
                self._add("remove", path, source="mounts", tolerate=(ENOENT,))
        self._make_files()
        return self.ops

    def _make_files(self) -> None:
        for path, mode, content, replace in self._files:
            if replace:
                self._add("remove", path, tolerate=(ENOENT,), source="appc")
            self._add("file", path, mode, content, tolerate=(ENOENT, EEXIST), source="appc")

    def _working_directory(self) -> None:
        """Make where the process of a container begins, as engines expect; if it cannot be, entering it says why."""
        cwd = (self._config.get("process") or {}).get("cwd") or "/"
        if not self._alone or ".." in cwd.split("/"):
            return
        path = clean(cwd, "process.cwd")
        if path not in self._made and self._covering(_parent(path))[0] not in _KERNEL_TREES:
            self._add("mkdir", path, 0o755, 0, 0, tolerate=_NO_PLACE, source="process.cwd")

    def _add(
        self,
        name: str,
        *args: int | str | bytes | tuple[str, ...],
        source: str,
        tolerate: tuple[int, ...] = (),
    ) -> None:
        self.ops.append(Op(name, *args, tolerate=tolerate, source=source))

    def _parsed_mounts(self) -> list[tuple[int, Mapping[str, Any], str, MountOptions]]:
        parsed = []
        for index, mount in enumerate(self._config.get("mounts") or ()):
            where = f"mounts[{index}]"
            options = MountOptions(mount.get("options") or (), mount.get("type") == "bind", f"{where}.options")
            if mount.get("uidMappings") and not options.bind:
                raise Unenforceable("only bind mounts can have their owners mapped", f"{where}.uidMappings")
            parsed.append((index, mount, clean(mount["destination"], f"{where}.destination"), options))
        return parsed

    def _propagation(self) -> None:
        """Decide how mounts of the host go on appearing in bind mounts.

        The keeper's mounts are slaves of the host's, so that is what bind mounts are without being told; private
        ones are had by making everything private before anything is bound.
        """
        if self._alone:
            return
        asked = {options.propagation & ~MS_REC: where for where, _, _, options in self._mounts if options.bind}
        for index, _, _, options in self._mounts:
            if options.propagation & (MS_SHARED | MS_UNBINDABLE):
                raise Unenforceable("no mount of a pod's app is shared or unbindable", f"mounts[{index}].options")
        if MS_PRIVATE in asked and MS_SLAVE in asked:
            where = f"mounts[{asked[MS_SLAVE]}].options"
            raise Unenforceable("private and slave bind mounts in one app are not supported", where)
        if MS_PRIVATE in asked:
            self._add("propagation", MS_REC | MS_PRIVATE, source=f"mounts[{asked[MS_PRIVATE]}].options")
        elif (self._linux.get("rootfsPropagation") or "") in ("private", "rprivate"):
            self._add("propagation", MS_REC | MS_PRIVATE, source="linux.rootfsPropagation")

    def _base(self) -> None:
        root = self._root
        if self._in_user:
            from appc.plan.compile_user import act_as, overlay_ops

            # The way to it need not be open to the root of a user namespace.
            flags = TREE_RECURSIVE | (TREE_MAPPED if root.mapped else 0)
            tree = Op("tree", root.target, flags, (), (), source="root.path")
            self.trees += overlay_ops(root, self._linux) if root.lowers else [tree]
            self._add("root-bind", f"#{len(self.trees) - 1}", root.target, source="root.path")
            # Whatever is made in the root is made by the container's.
            self.ops.append(act_as())
        elif root.lowers:
            args = (root.target, root.lowers, root.upper, root.work, root.options)
            self._add("root-overlay", *args, source="root.path")
        else:
            self._add("root-bind", root.target, root.target, source="root.path")

    def _mount(self, where: str, mount: Mapping[str, Any], path: str, options: MountOptions) -> None:
        if options.remount:
            clear = ATTR_RDONLY & ~options.attributes
            self._add("attributes", path, 0, options.attributes, clear, source=where)
        elif options.bind:
            self._bind(where, mount, path, options)
        elif mount.get("type") in ("cgroup", "cgroup2"):
            self._cgroup(where, path, options)
        else:
            self._filesystem(where, mount, path, options)
        if self._alone and options.propagation and not self._is_slave_already(options):
            self._add("mount-propagation", path, options.propagation, source=f"{where}.options")

    def _is_slave_already(self, options: MountOptions) -> bool:
        """Tell whether a bind mount is what it asks to be by coming from mounts that are slaves of the host's."""
        private = (self._linux.get("rootfsPropagation") or "") in ("private", "rprivate")
        return options.bind and bool(options.propagation & MS_SLAVE) and not private

    def _filesystem(self, where: str, mount: Mapping[str, Any], path: str, options: MountOptions) -> None:
        fstype = mount.get("type") or ""
        if not fstype:
            raise Unenforceable("neither a file system type nor a bind mount", f"{where}.type")
        attributes, data = options.attributes | options.below_set, tuple(options.data)
        label = self._linux.get("mountLabel")
        if label and fstype not in _UNLABELLED:
            data += (f"context={label}",)
        if fstype == "tmpfs" and attributes & ATTR_RDONLY and self._something_below(path):
            attributes &= ~ATTR_RDONLY
            self._late.append(Op("attributes", path, 0, ATTR_RDONLY, 0, source=f"{where}.options"))
        self._directory(path, f"{where}.destination")
        if not options.copy_up:
            self._add("mount", fstype, mount.get("source") or fstype, path, attributes, data, source=where)
        elif fstype == "tmpfs":
            self._add("copy-up", path, attributes, data, source=where)
        else:
            raise Unenforceable("tmpcopyup is for a tmpfs", f"{where}.options")
        self._mounted[path] = (fstype, bool(options.attributes & ATTR_RDONLY))

    def _bind(self, where: str, mount: Mapping[str, Any], path: str, options: MountOptions) -> None:
        source = mount.get("source") or ""
        if not source:
            raise Unenforceable("a bind mount needs a source", f"{where}.source")
        if not source.startswith("/"):
            source = f"{self._bundle}/{source}"
        hints = self._hints.get(path, ())
        if REPLACES_FILE in hints:
            self._add("remove", path, source=f"{where}.destination", tolerate=(ENOENT,))
        if FILE in hints:
            self._file(path, f"{where}.destination")
        else:
            self._directory(path, f"{where}.destination")
        flags = (BIND_RECURSIVE if options.recursive else 0) | (BIND_NO_SYMLINKS if NO_SYMLINKS in hints else 0)
        # Attributes of a recursive bind hold for all mounts below; those of its top alone are set apart.
        together, apart = options.below_set, options.attributes & ~options.below_set
        if not options.recursive:
            together, apart = together | apart, 0
        peer = self._alone and options.propagation & (MS_SHARED | MS_SLAVE) and not self._is_slave_already(options)
        if self._in_user and options.propagation & MS_SHARED:
            # What its root mounts there would be mounted on the host.
            raise Unenforceable("nothing of a user namespace's is shared with the host", f"{where}.options")
        if options.mapped or mount.get("uidMappings") or self._in_user or peer:
            from appc.plan.compile_user import tree_op

            more = (TREE_NO_SYMLINKS if NO_SYMLINKS in hints else 0) | (TREE_PEER if peer else 0)
            self.trees.append(tree_op(mount, source, options, more, where))
            source = f"#{len(self.trees) - 1}"
            # A user namespace cannot take apart what comes from outside; a file cannot be stood in to be unmounted.
            flags |= BIND_ANEW if peer and not self._in_user and FILE not in hints else 0
        self._add("bind", source, path, flags, together, source=where)
        if apart:
            self._add("attributes", path, 0, apart, 0, source=f"{where}.options")
        if options.below_clear:
            self._add("attributes", path, ATTRIBUTES_RECURSIVE, 0, options.below_clear, source=f"{where}.options")
        self._mounted[path] = ("bind", bool((together | apart) & ATTR_RDONLY))

    def _cgroup(self, where: str, path: str, options: MountOptions) -> None:
        self._directory(path, f"{where}.destination")
        own = any(namespace.get("type") == "cgroup" for namespace in self._linux.get("namespaces") or ())
        ops = cgroup_mounts(path, options.attributes, self._cgroups, self._facts, own, where)
        self.ops += ops
        self._mounted[path] = ("cgroup", bool(options.attributes & ATTR_RDONLY))

    def _devices(self) -> None:
        fstype = self._mounted.get("/dev", ("", False))[0]
        if fstype == "bind":
            # The host's own /dev, or one somebody prepared: nothing is ours to make in it.
            return
        fresh = fstype != ""
        if not fresh:
            self._directory("/dev", "linux.devices")
        given = {}
        for index, device in enumerate(self._linux.get("devices") or ()):
            where = f"linux.devices[{index}]"
            given[clean(device["path"], f"{where}.path")] = (where, device)
        for name, major, minor in _DEFAULT_DEVICES:
            if f"/dev/{name}" not in given:
                self._node(f"/dev/{name}", S_IFCHR | 0o666, major, minor, 0, 0, fresh, "linux.devices (default)")
        for path, (where, device) in given.items():
            if path == "/dev/ptmx":
                continue
            kind = NODE_TYPES.get(device["type"], 0)
            if not kind:
                raise Unenforceable(f"there is no device type {device['type']}", f"{where}.type")
            mode = kind | device.get("fileMode", 0o666) & 0o7777
            major, minor = device.get("major", 0), device.get("minor", 0)
            self._directory(_parent(path), f"{where}.path")
            self._node(path, mode, major, minor, device.get("uid", 0), device.get("gid", 0), True, where)
        links = list(_LINKS)
        if self._mounted.get("/dev/pts", ("", False))[0] == "devpts":
            links.append(("pts/ptmx", "/dev/ptmx"))
        for target, path in links:
            tolerate = () if fresh else (EEXIST,)
            self._add("symlink", target, path, tolerate=tolerate, source="linux.devices (default)")

    def _node(self, path: str, mode: int, major: int, minor: int, uid: int, gid: int, fresh: bool, where: str) -> None:
        """Make a device node; bind the host's where nodes cannot be made, or where the image may have left a file."""
        may = not self._in_user and self._facts.initial_userns and self._facts.caps >> CAPABILITY_BITS["CAP_MKNOD"] & 1
        if fresh and may:
            self._add("mknod", path, mode, major, minor, uid, gid, source=where)
            return
        self._add("file", path, 0o666, b"", tolerate=(EEXIST,), source=where)
        self._add("bind", _HOST_NODES.get((major, minor), path), path, 0, 0, source=where)

    def _hidden_paths(self) -> None:
        for index, text in enumerate(self._linux.get("maskedPaths") or ()):
            where = f"linux.maskedPaths[{index}]"
            self._add("mask", clean(text, where), tolerate=(ENOENT,), source=where)
        done: list[str] = []
        for index, text in enumerate(self._linux.get("readonlyPaths") or ()):
            where = f"linux.readonlyPaths[{index}]"
            path = clean(text, where)
            if self._is_readonly(path) or any(path == other or below(path, other) for other in done):
                continue
            done.append(path)
            args = (f"@{path}", path, BIND_RECURSIVE, ATTR_RDONLY)
            self._add("bind", *args, tolerate=(ENOENT,), source=where)

    def _is_readonly(self, path: str) -> bool:
        """Tell whether everything at and below `path` is in one mount that is read-only already."""
        inside = path + "/"
        if any(other.startswith(inside) for other in self._mounted):
            return False
        return self._covering(path)[1]

    def _covering(self, path: str) -> tuple[str, bool]:
        """Return (file system, read-only) of the mount that `path` is in."""
        while path not in self._mounted:
            path = _parent(path)
        return self._mounted[path]

    def _something_below(self, path: str) -> bool:
        devices = self._linux.get("devices") or ()
        others = [other for _, _, other, _ in self._mounts] + [device["path"] for device in devices]
        return path == "/dev" or any(below(other, path) for other in others)

    def _directory(self, path: str, where: str) -> None:
        if path in self._made:
            return
        if self._covering(_parent(path))[0] not in _KERNEL_TREES:
            self._add("mkdir", path, 0o755, 0, 0, source=where)
        while path != "/":
            self._made.add(path)
            path = _parent(path)

    def _file(self, path: str, where: str) -> None:
        self._directory(_parent(path), where)
        self._add("file", path, 0o644, b"", tolerate=(EEXIST,), source=where)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
