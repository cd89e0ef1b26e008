"""Run a command in a virtual machine that has cgroup v2 only, with every controller, and the host's files.

`python tests/vm/boot.py [--timeout SECONDS] [--memory MIB] -- COMMAND ARGUMENT…` exits with the command's
status. The machine sees the host's root read-only below a tmpfs: nothing done inside outlives it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vm import initramfs, kernel

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHARE_DAEMONS = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
_DISK_SIZE = 4 << 30
# Neither the machine nor what shares files with it outlives us, however we end.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
# Where Linux trusts the time stamp counter; with "max" it reads an emulated timer instead, which costs a third.
_PROCESSOR = "Nehalem"
_ACCELERATION = os.environ.get("APPC_VM_ACCEL", "tcg,thread=multi")
_COMMAND_LINE = (
    "console=ttyS0 loglevel=4 panic=-1 cgroup_no_v1=all mitigations=off nokaslr no_timer_check "
    "random.trust_cpu=on rcupdate.rcu_expedited=1 swapaccount=1"
)


class Result:
    """How a command in the VM ended: `status` is None when it did not end (see `console`)."""

    def __init__(self, status: int | None, output: str, console: str, seconds: float) -> None:
        self.status = status
        self.output = output
        self.console = console
        self.seconds = seconds


def share_daemon() -> str:
    """Return the path of virtiofsd, "" when it is not installed."""
    return next((path for path in _SHARE_DAEMONS if os.access(path, os.X_OK)), shutil.which("virtiofsd") or "")


def run(
    argv: Sequence[str],
    *,
    timeout: float = 120.0,
    memory: int = 1024,
    processors: int = 2,
    environment: Mapping[str, str] | None = None,
    directory: str | None = None,
    echo: bool = False,
    kernel_options: str = "",
    init: str = "command",
) -> Result:
    """Boot, run `argv` as root in `directory` (default: the current one), power off.

    `timeout` is for everything, in seconds, `memory` in MiB, `processors` their number: with two, emulation takes a
    third more of the host's time for the same. With `echo` the output also goes to our stdout; `kernel_options` are
    added to the kernel's command line. With `init` "systemd" the host's systemd is PID 1 and the command a service of
    it, beside D-Bus and the journal.
    """
    machine = kernel.fetch()
    given = {
        "PATH": PATH,
        "HOME": "/root",
        "TMPDIR": initramfs.TMPDIR,
        "APPC_EMULATED": "1" if _ACCELERATION.startswith("tcg") else "",
        "APPC_SYSTEMD": "1" if init == "systemd" else "",
    }
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        busybox = shutil.which("busybox")
        if not busybox:
            raise SystemExit("busybox (package busybox-static) is not installed")
        archive = initramfs.base(machine, Path(busybox))
        archive += initramfs.command(argv, {**given, **(environment or {})}, directory or os.getcwd())
        archive += initramfs.next_program(init)
        (place / "initramfs").write_bytes(archive)
        _make_disk(place / "disk")
        share = _share(place)
        try:
            output = _emulate(machine, place, (processors, memory), timeout, echo, kernel_options)
        finally:
            share.terminate()
            share.wait()
        status = (place / "status").read_text(errors="replace").split()
        console = (place / "console").read_text(errors="replace")
    done = int(status[1]) if len(status) == 2 and status[0] == "status" else None
    return Result(done, output, console, time.monotonic() - started)


def _make_disk(path: Path) -> None:
    """Make the guest's disk: a sparse file with an empty ext4."""
    with path.open("wb") as file:
        file.truncate(_DISK_SIZE)
    program = shutil.which("mke2fs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not program:
        raise SystemExit("mke2fs (package e2fsprogs) is not installed")
    subprocess.run([program, "-q", "-t", "ext4", "-m", "0", path], check=True)


def _share(place: Path) -> subprocess.Popen[bytes]:
    """Start virtiofsd on the host's root, in a mount namespace where that is read-only."""
    daemon = share_daemon()
    if not daemon:
        raise SystemExit("virtiofsd (package qemu-system-common or virtiofsd) is not installed")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(place / "share"))
    listening.listen(1)
    os.set_inheritable(listening.fileno(), True)
    options = "source=/,cache=always,sandbox=chroot,log_level=err"
    script = f'mount -o remount,bind,ro / && exec "{daemon}" --fd={listening.fileno()} -o {options}'
    with (place / "share.log").open("wb") as log, listening:
        return subprocess.Popen(
            [*_WITH_US, "unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            pass_fds=(listening.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _emulate(
    machine: kernel.Kernel, place: Path, size: tuple[int, int], timeout: float, echo: bool, kernel_options: str
) -> str:
    processors, memory = size
    command = [
        *_WITH_US,
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-accel", _ACCELERATION, "-cpu", _PROCESSOR),
        *("-smp", f"{processors}", "-m", f"{memory}"),
        *("-object", f"memory-backend-memfd,id=ram,size={memory}M,share=on", "-machine", "pc,memory-backend=ram"),
        *("-kernel", str(machine.image), "-initrd", str(place / "initramfs"), "-append"),
        f"{_COMMAND_LINE} {kernel_options}",
        *("-drive", f"file={place / 'disk'},format=raw,if=none,id=disk,cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-chardev", f"socket,id=share,path={place / 'share'}", "-device", "vhost-user-fs-pci,chardev=share,tag=host"),
        *("-serial", f"file:{place / 'console'}", "-serial", "stdio", "-serial", f"file:{place / 'status'}"),
    ]
    deadline = time.monotonic() + timeout
    received = bytearray()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as qemu:
        assert qemu.stdout is not None
        os.set_blocking(qemu.stdout.fileno(), False)
        try:
            while qemu.poll() is None and time.monotonic() < deadline:
                received += _drain(qemu, echo)
                time.sleep(0.02)
        finally:
            qemu.kill()
        qemu.wait()
        received += _drain(qemu, echo)
    return received.decode(errors="replace")


def _drain(qemu: subprocess.Popen[bytes], echo: bool) -> bytes:
    assert qemu.stdout is not None
    part = qemu.stdout.read() or b""
    if echo and part:
        sys.stdout.buffer.write(part)
        sys.stdout.flush()
    return part


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command in a VM with cgroup v2 and the host's files.")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB")
    parser.add_argument("--console", action="store_true", help="show the kernel's messages afterwards")
    parser.add_argument("--systemd", action="store_true", help="with systemd as PID 1")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    result = run(
        arguments.command,
        timeout=arguments.timeout,
        memory=arguments.memory,
        echo=True,
        init="systemd" if arguments.systemd else "command",
    )
    if arguments.console or result.status is None:
        sys.stderr.write(result.console)
    sys.stderr.write(f"[{result.seconds:.1f} s]\n")
    if result.status is None:
        sys.stderr.write("the command did not end\n")
        return 125
    return result.status


if __name__ == "__main__":
    sys.exit(main())
