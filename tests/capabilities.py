"""What a test may need of the host, each with a probe and the reason it gives when it is missing.

`need("overlay")` inside a test or a fixture skips with that reason;
with APPC_MUST=1 in the environment a missing capability fails the test instead, so that a machine which
should run everything cannot skip in silence.
"""

from __future__ import annotations

import ctypes.util
import functools
import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Callable

import pytest

import appc
from appc.host.disks import whole_disks
from appc.host.mounts import overlay_obstacle
from appc.host.probe import HostFacts, facts
from user_kit import closed

_PROBES: dict[str, Callable[[], str]] = {}


@functools.cache
def _facts() -> HostFacts:
    return facts()


def _probe(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register a probe, which returns "" or the reason why the capability is missing."""

    def register(function: Callable[[], str]) -> Callable[[], str]:
        _PROBES[name] = functools.cache(function)
        return function

    return register


def missing(name: str) -> str:
    """Return "" when the host has the capability, else the reason why not.

    A name that is no capability of its own means the program of that name on PATH, or, ending in
    "-controller", that cgroup controller.
    """
    if name in _PROBES:
        return _PROBES[name]()
    if name.endswith("-controller"):
        controller = name.removesuffix("-controller")
        return "" if controller in _facts().controllers else f"no usable cgroup controller {controller!r}"
    return "" if shutil.which(name) else f"{name} is not installed"


def need(*names: str) -> None:
    """Skip the running test unless the host has every capability named (fail it when APPC_MUST=1)."""
    for name in names:
        reason = missing(name)
        if reason and os.environ.get("APPC_MUST") == "1":
            pytest.fail(f"needs {name}: {reason}", pytrace=False)
        if reason:
            pytest.skip(f"needs {name}: {reason}")


@_probe("root")
def _root() -> str:
    return "" if os.geteuid() == 0 else "not running as root"


@_probe("linux")
def _linux() -> str:
    return "" if os.uname().sysname == "Linux" else "not Linux"


@_probe("initial-userns")
def _initial_userns() -> str:
    return "" if _facts().initial_userns else "running inside a user namespace"


@_probe("ipv6")
def _ipv6() -> str:
    """An address of IPv6 on the loopback interface."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        return f"::1 cannot be used: {error.strerror}"
    return ""


@_probe("idmap")
def _idmap() -> str:
    return "" if _facts().kernel >= (6, 3) else "tmpfs cannot have its owners mapped before Linux 6.3"


@_probe("mapped-overlay")
def _mapped_overlay() -> str:
    return "" if _facts().kernel >= (6, 15) else "overlays take no mounts that are nowhere attached before Linux 6.15"


@_probe("ordinary-user")
def _ordinary_user() -> str:
    """A user made for a test runs what is tested."""
    for name in ("setpriv", "unshare", "newuidmap", "newgidmap"):
        if not shutil.which(name):
            return f"{name} is not installed"
    if not _facts().userns:
        return "user namespaces are switched off"
    place = os.path.dirname(os.path.abspath(appc.__file__))
    for path in (place, os.path.realpath(sys.executable), os.path.abspath(sys.executable)):
        # What closes the way to the project, make_user opens.
        while path not in ("/", str(closed())):
            if not os.stat(path).st_mode & 0o001:
                return f"{path} is closed to other users"
            path = os.path.dirname(path)
    return ""


@_probe("tun")
def _tun() -> str:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError:
        # It may be a file with nothing behind it.
        return "there is no /dev/net/tun"
    return ""


@_probe("mount")
def _mount() -> str:
    """Mounting: CAP_SYS_ADMIN over this mount namespace."""
    return "" if _facts().caps >> 21 & 1 else "no CAP_SYS_ADMIN"


@_probe("overlay")
def _overlay() -> str:
    return _mount() or ("" if _facts().overlay else "the kernel has no overlay file system")


@_probe("overlay-tmp")
def _overlay_tmp() -> str:
    """An overlay's upper directory below the temporary directory."""
    return _overlay() or overlay_obstacle(os.environ.get("TMPDIR", "/tmp"))


@_probe("userns")
def _userns() -> str:
    return "" if _facts().userns else "user namespaces are switched off"


@_probe("cgroup")
def _cgroup() -> str:
    return "" if _facts().bases else "no cgroup hierarchy is writable"


@_probe("cgroup-v1")
def _cgroup_v1() -> str:
    mode = _facts().cgroup
    return "" if mode in ("v1", "hybrid") else f"no cgroup v1 controllers here ({mode})"


@_probe("cgroup-v2")
def _cgroup_v2() -> str:
    mode = _facts().cgroup
    return "" if mode == "v2" else f"cgroups here are {mode}, not pure v2"


@_probe("unified")
def _unified() -> str:
    return "" if _facts().unified in _facts().bases else "no writable cgroup2 mount"


@_probe("cgroup2-mountable")
def _cgroup2_mountable() -> str:
    """A private mount namespace with a cgroup2 mount of its own."""
    with open("/proc/filesystems", encoding="ascii") as file:
        known = "\tcgroup2\n" in file.read()
    return _mount() or ("" if known else "the kernel has no cgroup2")


@_probe("seccomp")
def _seccomp() -> str:
    return "" if _facts().seccomp else "the kernel has no seccomp"


@_probe("libseccomp")
def _libseccomp() -> str:
    return "" if ctypes.util.find_library("seccomp") else "libseccomp.so.2 is not installed"


@_probe("libtorrent")
def _libtorrent() -> str:
    return "" if importlib.util.find_spec("libtorrent") else "the Python package libtorrent is not installed"


@_probe("apparmor")
def _apparmor() -> str:
    return "" if _facts().apparmor else "AppArmor is not enabled"


@_probe("selinux")
def _selinux() -> str:
    return "" if _facts().selinux else "SELinux is not enabled"


@_probe("time-namespace")
def _time_namespace() -> str:
    return "" if "time" in _facts().namespaces else "the kernel has no time namespaces"


@_probe("memory-policies")
def _memory_policies() -> str:
    return "" if os.path.exists("/proc/self/numa_maps") else "the kernel has no NUMA memory policies"


@_probe("own-speed")
def _own_speed() -> str:
    """A processor of its own speed: for tests that move so many bytes that they take minutes without."""
    return "the processor is emulated" if os.environ.get("APPC_EMULATED") else ""


@_probe("vm")
def _vm() -> str:
    """The cgroup v2 virtual machine (tests/vm), whose kernel is downloaded once into .cache/."""
    from vm import boot, kernel

    if os.uname().machine != "x86_64":
        return "the VM's kernel is for x86-64"
    if not boot.share_daemon():
        return "virtiofsd is not installed"
    lacking = _root() or missing("qemu-system-x86_64") or missing("busybox") or missing("setpriv")
    return lacking or ("" if kernel.cached() else "its kernel was not fetched: run tests/vm/kernel.py")


@_probe("native")
def _native() -> str:
    """The static C programs, built into the package."""
    import appc

    found = os.path.join(os.path.dirname(appc.__file__), "_native", "appc-init")
    return "" if os.access(found, os.X_OK) else "appc-init is not built"


@_probe("systemd")
def _systemd() -> str:
    """A systemd that tests may do with as they like; that of a host they leave alone."""
    return "" if os.environ.get("APPC_SYSTEMD") else "systemd is not PID 1 of a machine made for tests"


@_probe("systemd-files")
def _systemd_files() -> str:
    """What the virtual machine can be booted with."""
    for path in ("/lib/systemd/systemd", "/usr/bin/dbus-daemon", "/lib/systemd/systemd-machined"):
        if not os.access(path, os.X_OK):
            return f"there is no {path}"
    return ""


@_probe("resolver")
def _resolver() -> str:
    return "" if os.path.exists("/etc/resolv.conf") else "this host has no /etc/resolv.conf"


@_probe("cni")
def _cni() -> str:
    return "" if os.path.exists("/usr/lib/cni/bridge") else "there are no CNI plugins in /usr/lib/cni"


@_probe("disks")
def _disks() -> str:
    if not whole_disks():
        return "this host has no disk of its own"
    return "" if {"blkio", "io"} & set(_facts().controllers) else "no usable cgroup controller for block devices"
