"""Devices that an app is given: usable as far as it says, and none but these."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc

from capabilities import need

pytestmark = pytest.mark.root

# /dev/kmsg: there on every host, and not among the devices that every app has.
MAJOR, MINOR = 1, 11


@pytest.fixture(autouse=True)
def _guarded() -> None:
    need("cgroup")
    if not Path("/dev/kmsg").exists():
        pytest.skip("needs /dev/kmsg")


def tried(appc: Appc, *words: str, script: str = "true >/dev/mine && echo yes") -> str:
    """Run a shell script in an app with these options and return what it prints."""
    done = appc.run(PROBE, *words, "--exec", "/bin/sh", "--", "-c", f"exec 2>&1; {script}")
    return done.out + done.err


def test_a_device_is_there_for_whom_it_is_given_to(appc: Appc) -> None:
    assert tried(appc, "--device", "/dev/kmsg:/dev/mine") == "yes\n"
    mode = tried(appc, "--device", "/dev/kmsg:/dev/mine", script="/bin/stat -c '%F %t %T' /dev/mine")
    assert mode == "character special file 1 b\n"
    node = tried(appc, script=f"/bin/mknod /mine c {MAJOR} {MINOR}; true >/mine")
    assert "Operation not permitted" in node


def test_what_an_app_may_do_with_it(appc: Appc) -> None:
    assert "Operation not permitted" in tried(appc, "--device", "/dev/kmsg:/dev/mine:r")
    assert tried(appc, "--device", "/dev/kmsg:/dev/mine:w") == "yes\n"


def test_it_is_told(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--device", "/dev/kmsg:/dev/mine", "--", "wait")
    (row,) = appc.status(uuid)["isolators"]
    assert (row["name"], row["outcome"]) == ("appc/devices", "enforced")
    (app,) = json.loads(appc("manifest", uuid).out)["apps"]
    assert {"name": "appc.io/devices", "value": "/dev/kmsg:/dev/mine"} in app["annotations"]
    inside = appc("enter", uuid, "--", "/bin/sh", "-c", "true >/dev/mine && echo yes")
    assert inside.out == "yes\n"


def test_one_apps_device_is_not_the_others(appc: Appc) -> None:
    script = f"/bin/mknod /mine c {MAJOR} {MINOR}; true >/mine && echo yes || echo no"
    shell = ("--exec", "/bin/sh", "--", "-c", script)
    done = appc.run(
        *(PROBE, "--name", "one", "--device", "/dev/kmsg", *shell), "---", *(PROBE, "--name", "two", *shell)
    )
    assert sorted(line for line in done.out.splitlines() if line[-3:] in ("yes", " no")) == ["one: yes", "two: no"]


@pytest.mark.parametrize(("read_only", "expected"), [("false", "yes\n"), ("true", "")])
def test_a_volume_that_is_a_device_can_be_used(appc: Appc, read_only: str, expected: str) -> None:
    volume = ("--volume", f"mine,kind=host,source=/dev/kmsg,readOnly={read_only}")
    words = (*volume, PROBE, "--mount", "volume=mine,target=/mine", "--exec", "/bin/sh")
    assert appc.run(*words, "--", "-c", "true >/mine && echo yes").out == expected


@pytest.fixture
def vendor(appc: Appc, sandbox: Path) -> Iterator[Path]:
    """A directory of CDI specs that the configuration names."""
    (sandbox / "cdi").mkdir()
    config = appc.config / "config.d/devices.json"
    config.write_text(json.dumps({"devices": {"cdiPath": [str(sandbox / "cdi")]}}))
    yield sandbox / "cdi"
    config.unlink()


def test_a_vendors_device(appc: Appc, vendor: Path) -> None:
    library = vendor.parent / "library"
    library.write_text("of the host\n")
    edits = {
        "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/kmsg"}],
        "mounts": [{"hostPath": str(library), "containerPath": "/lib/mine", "options": ["ro", "nosuid", "bind"]}],
        "env": ["MINE=1"],
        "additionalGids": [44],
    }
    document = {
        "cdiVersion": "0.7.0",
        "kind": "vendor.com/class",
        "devices": [
            {"name": "plain", "containerEdits": edits},
            {"name": "hooked", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]}},
        ],
    }
    (vendor / "vendor.json").write_text(json.dumps(document))
    script = "true >/dev/mine && cat /lib/mine && echo $MINE && cat /proc/self/status; echo x >/lib/mine"
    out = tried(appc, "--device", "vendor.com/class=plain", script=script)
    assert out.startswith("of the host\n1\n")
    assert "Groups:\t44 \n" in out
    assert "Read-only file system" in out
    words = (PROBE, "--device", "vendor.com/class=hooked", "--", "echo", "ran")
    done = appc.run(*words)
    assert done.out == "ran\n"
    assert "app probe: isolator appc/devices is modified: left out: hooks" in done.err
    assert appc.run("--strict", *words).status == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/dev/absent", "app probe: /dev/absent: is not a device of this host: No such file or directory"),
        ("/etc/passwd", "app probe: /etc/passwd: is not a device"),
        ("vendor.com/class=absent", "app probe: vendor.com/class=absent: there is no such device"),
        ("kmsg", "'kmsg' is not PATH[:TARGET][:rwm] or VENDOR/CLASS=DEVICE"),
    ],
)
def test_what_is_not_there_is_named(appc: Appc, name: str, said: str) -> None:
    done = appc.run(PROBE, "--device", name, "--", "echo", "ran")
    assert done.status in (1, 2, 125)
    assert said in done.err
    assert appc.pods() == []
    assert not os.path.exists("/dev/mine")


def test_a_pod_with_users_of_its_own(appc: Appc, sandbox: Path) -> None:
    """In which no node of a device can be made; whoever may use the host's may use it."""
    for name, mode in (("open", 0o666), ("closed", 0o600)):
        os.mknod(sandbox / name, mode | stat.S_IFCHR, os.makedev(MAJOR, MINOR))
        os.chmod(sandbox / name, mode)
    devices = (f"--device={sandbox}/open:/dev/open", f"--device={sandbox}/closed:/dev/closed")
    script = "exec 2>&1; for name in open closed; do true >/dev/$name && echo $name; done; /bin/stat -c %t-%T /dev/open"
    done = appc.run("--private-users", PROBE, *devices, "--exec", "/bin/sh", "--", "-c", script)
    assert [line for line in done.out.splitlines() if "denied" not in line] == ["open", "1-b"], done
