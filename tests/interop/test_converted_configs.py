"""What apps are converted to is taken, and honoured, by other OCI runtimes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from appc.formats.convert import app_to_oci
from appc.host.probe import facts
from appc.schema.image import App
from appc.schema.isolators import Isolator
from capabilities import need

SCRIPT = """
grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
id -u
cat /proc/sys/kernel/hostname
echo $AC_APP_NAME $container
cat /sys/module/* /proc/kcore 2>/dev/null | head -c 1
touch /made 2>/dev/null && echo writable
"""


# crun knows pure cgroup v2 alone, so it gets to see no other.
PURE_V2 = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "
COMMANDS = {
    "runc": ["runc", "run", "appc-test-runc"],
    "crun": ["unshare", "--mount", "sh", "-c", PURE_V2 + "crun run appc-test-crun"],
}


@pytest.mark.parametrize("runtime", COMMANDS)
def test_a_converted_app_runs(runtime: str, sandbox: Path) -> None:
    need("root", runtime, "busybox")
    root = sandbox / "rootfs"
    (root / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin" / "busybox")
    for name in ("sh", "grep", "id", "cat", "head", "touch"):
        (root / "bin" / name).symlink_to("busybox")
    app = App(
        exec=("sh", "-c", SCRIPT),
        user="1000",
        group="1000",
        isolators=(
            Isolator(name="os/linux/no-new-privileges", value=True),
            Isolator(name="os/linux/capabilities-retain-set", value={"set": ["CAP_CHOWN"]}),
        ),
    )
    config, _ = app_to_oci(app, name="web", facts=facts(), uid=1000, gid=1000, hostname="pod", read_only_rootfs=True)
    # Whether an engine's control groups work on this host is not the question.
    config["linux"]["resources"] = {}
    (sandbox / "config.json").write_text(json.dumps(config))
    command = COMMANDS[runtime]
    done = subprocess.run(command, cwd=sandbox, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    lines = ["CapBnd:\t0000000000000001", "NoNewPrivs:\t1", "Seccomp:\t2", "1000", "pod", "web appc"]
    assert done.stdout.splitlines() == lines
