"""Root file systems with what only root can make."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from podkit import build, run

from capabilities import need


def test_an_archive_with_devices_and_owners_runs(sandbox: Path) -> None:
    need("native", "overlay", "busybox", "mount")
    tree = sandbox / "tree"
    (tree / "bin").mkdir(parents=True)
    busybox = next(path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path))
    (tree / "bin/sh").write_bytes(Path(busybox).read_bytes())
    (tree / "bin/sh").chmod(0o755)
    (tree / "owned").write_text("x")
    os.chown(tree / "owned", 1234, 4321)
    os.mknod(tree / "zero", 0o020644, os.makedev(1, 5))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(tree, "./")
    (sandbox / "tree.tar").write_bytes(out.getvalue())
    one = build(sandbox, "from-rootfs", tree, sandbox / "one.aci", "--", "/bin/sh")
    script = "busybox stat -c '%u:%g' /owned; busybox stat -c '%F %t,%T' /zero"
    assert build(sandbox, "from-rootfs", "--mtime", "5", sandbox / "tree.tar", sandbox / "two.aci") != one
    with tarfile.open(sandbox / "two.aci") as archive:
        assert archive.getmember("rootfs/zero").ischr()
    done = run(sandbox, sandbox / "one.aci", "--", "-c", script)
    assert done.stdout == "1234:4321\ncharacter special file 1,5\n", done.stderr
