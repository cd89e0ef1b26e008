"""The VM's initial file system: busybox, the modules needed, and a script that becomes the host's own system.

The host's root is shared read-only (virtiofs), with a tmpfs overlaid for what the guest writes, so that the
same interpreter, virtual environment and working copy run inside. /var/lib/appc and the temporary directory
(/run/disk/tmp) lie on ext4, on which overlays can stand.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from vm import systemd
from vm.kernel import Kernel

MODULES = (
    *("virtio_pci", "virtio_blk", "virtiofs", "overlay", "veth", "bridge", "dummy", "macvlan", "ipvlan"),
    # For networks of pods, by nftables and by the iptables of CNI plugins; nothing there loads modules on demand.
    *("nf_tables", "nft_chain_nat", "nft_ct", "nft_nat", "nft_masq", "nft_fib_inet", "nft_compat"),
    # For limits of their bandwidth.
    *("sch_tbf", "sch_htb", "sch_ingress", "cls_u32", "cls_bpf", "act_mirred", "ifb"),
    *("xt_MASQUERADE", "xt_nat", "xt_addrtype", "xt_comment", "xt_conntrack", "xt_mark", "xt_multiport", "xt_tcpudp"),
    # For CRIU, which asks for the sockets and connections of what it writes down.
    *("inet_diag", "tcp_diag", "udp_diag", "unix_diag", "netlink_diag", "af_packet_diag"),
    *("nf_conntrack_netlink", "tun"),
)

TMPDIR = "/run/disk/tmp"

# ttyS0 is the kernel's console, ttyS1 the command's output, ttyS2 takes the exit status at the end.
_INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
mount -t virtiofs -o ro host /host || exec poweroff -f
mount -t tmpfs -o mode=755 tmpfs /writes
mkdir /writes/upper /writes/work
mount -t overlay -o lowerdir=/host,upperdir=/writes/upper,workdir=/writes/work overlay /root
mount --move /dev /root/dev
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
ln -s /proc/self/fd /root/dev/fd
for name in stdin:0 stdout:1 stderr:2; do ln -s /proc/self/fd/${name#*:} /root/dev/${name%:*}; done
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
for place in dev/shm run; do
    mkdir -p /root/$place
    mount -t tmpfs -o mode=755 tmpfs /root/$place
done
mkdir -p /root/run/disk /root/var/lib/appc
mount -t ext4 /root/dev/vda /root/run/disk
mkdir /root/run/disk/appc
mkdir -m 1777 /root/run/disk/tmp
mount -o bind /root/run/disk/appc /root/var/lib/appc
ip link set lo up
hostname appc-vm
cp /command /command-and-off /bin/busybox /root/run/
[ ! -d /systemd ] || cp -a /systemd /root/run/
umount /proc
exec switch_root /root $(cat /next)
"""

# Runs on the host's files, as PID 1 or as a service.
_COMMAND_AND_OFF = """/run/busybox stty raw -echo -F /dev/ttyS1
{ /bin/sh /run/command </dev/null; echo "status $?" >/run/status; } 2>&1 | cat >/dev/ttyS1
cat /run/status >/dev/ttyS2
exec /run/busybox poweroff -f
"""


def _entry(name: str, mode: int, content: bytes = b"", rdev: tuple[int, int] = (0, 0)) -> bytes:
    """Return one member of a cpio archive in the "newc" format."""
    encoded = name.encode() + b"\0"
    links = 2 if mode & 0o170000 == 0o040000 else 1
    numbers = (0, mode, 0, 0, links, 0, len(content), 0, 0, *rdev, len(encoded), 0)
    header = b"070701" + b"".join(f"{number:08X}".encode() for number in numbers)
    head = header + encoded
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def _end() -> bytes:
    return _entry("TRAILER!!!", 0)


def base(kernel: Kernel, busybox: Path) -> bytes:
    """Return the archive that is the same for every run with this kernel."""
    modules = kernel.closure(MODULES)
    parts = [_entry(name, 0o040755) for name in ("bin", "dev", "proc", "host", "root", "writes", "modules")]
    parts += [
        _entry("dev/console", 0o020600, rdev=(5, 1)),
        _entry("dev/null", 0o020666, rdev=(1, 3)),
        _entry("bin/busybox", 0o100755, busybox.read_bytes()),
        _entry("init", 0o100755, _INIT.encode()),
        _entry("command-and-off", 0o100644, _COMMAND_AND_OFF.encode()),
        _entry("modules/order", 0o100644, "\n".join(module.name for module in modules).encode()),
    ]
    parts += [_entry(f"modules/{module.name}", 0o100644, module.read_bytes()) for module in modules]
    return b"".join((*parts, _end()))


def command(argv: Sequence[str], environment: Mapping[str, str], directory: str) -> bytes:
    """Return the archive, to be appended to `base` and followed by `next_program`, that says what to run."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f"cd {shlex.quote(directory)} || exit 126", f"exec {shlex.join(argv)}", ""]
    return _entry("command", 0o100644, os.fsencode("\n".join(lines))) + _end()


def next_program(init: str) -> bytes:
    """Return the archive that says what becomes PID 1: with "command" who runs the command, with "systemd" systemd."""
    if init == "command":
        return _entry("next", 0o100644, b"/bin/sh /run/command-and-off") + _end()
    parts = [_entry("next", 0o100644, f"{systemd.PROGRAM} --unit={systemd.TARGET}".encode())]
    for path, content in systemd.files("/bin/sh /run/command-and-off").items():
        kind = 0o040755 if content is None else 0o120777 if content == systemd.MASKED else 0o100644
        parts.append(_entry(f"systemd/{path}".rstrip("/"), kind, (content or "").encode()))
    return b"".join((*parts, _end()))
