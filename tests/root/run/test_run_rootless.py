"""The whole tool as an ordinary user: a user made for these tests, with and without users of its own in /etc/subuid."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE
from rootless_kit import User, made

from appc.host.probe import facts
from capabilities import missing, need
from user_kit import COUNT, FIRST, RANGES, UID, environment

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def shared_user() -> Iterator[User]:
    yield from made(RANGES, User)


@pytest.fixture
def user(shared_user: User, sandbox: Path) -> Iterator[User]:
    yield shared_user
    shared_user.clear()
    assert shared_user.pods() == []


def shell(script: str) -> tuple[str, ...]:
    return (PROBE, "--name", "web", "--exec", "/bin/sh", "--", "-c", script)


def test_a_pod_runs_with_users_of_its_image(user: User) -> None:
    done = user("run", *shell("cat /proc/self/uid_map; stat -c %u:%g /owned; echo x >/work/new; exit 5"))
    assert done.status == 5, done
    assert done.out.split() == ["0", str(UID), "1", "1", str(FIRST), str(COUNT), "1234:4321"]
    assert done.err == ""
    # Kernels whose overlays take no mapped mounts have the root copied.
    written = [Path(user.the_pod().file(f"apps/web/{layer}/work/new")) for layer in ("upper", "rootfs")]
    assert [path.stat().st_uid for path in written if path.exists()] == [UID]
    report = user("run", PROBE, "--user", "alice", "--", "report").report
    assert (report["uid"], report["groups"]) == ("1000 1000 1000", "")
    (tree,) = (user.root / "store/images").glob("*/rootfs")
    assert (tree / "owned").stat().st_uid == FIRST + 1234 - 1


def test_what_was_compiled_before_runs_as_well(user: User) -> None:
    words = ("run", *shell("stat -c %u:%g /owned; cat /proc/self/uid_map"))
    first, second = user(*words), user(*words)
    assert (first.status, first.out) == (second.status, second.out)
    assert list((user.root / "cache/launch").iterdir())


def test_a_pod_is_looked_after(user: User, tmp_path: Path) -> None:
    uuid = user("run", "--detach", *shell("echo ready; exec sleep 1000")).out.strip()
    assert user.status(uuid)["state"] == "running"
    done = user("enter", uuid, "/bin/sh", "-c", "id -u; echo y >/work/entered")
    assert done.out == "0\n", done
    assert user("enter", "--user", "alice", uuid, "/probe", "report").report["uid"] == "1000 1000 1000"
    assert user("cp", f"{uuid}:/work/entered", str(user.home)).status == 0
    assert (user.home / "entered").read_text() == "y\n"
    assert user("cp", str(user.home / "entered"), f"{uuid}:/work/back").status == 0
    assert "web" in user("top", uuid).out
    assert "ready" in user("logs", uuid).out
    assert user("stop", uuid).status == 0
    assert user.status(uuid)["apps"][0]["signal"] == 15
    done = user("export", uuid, str(user.home / "out.aci"))
    assert done.status == 0, done
    with tarfile.open(user.home / "out.aci") as archive:
        assert archive.getmember("rootfs/work/back").uid == 0
        assert archive.getmember("rootfs/owned").uid == 1234
    assert user("rm", uuid).status == 0


def test_networks(user: User) -> None:
    assert user("run", *shell("ls /sys/class/net")).out == "lo\n"
    done = user("run", "--net", "host", *shell("ls /sys/class/net"))
    assert sorted(done.out.split()) == sorted(os.listdir("/sys/class/net"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--net", "other"), "only root can attach a pod to networks of plugins"),
        (("--private-users",), "only root can give a pod users of its own"),
    ],
)
def test_what_only_root_can_do_is_said(user: User, words: tuple[str, ...], message: str) -> None:
    done = user("run", *words, *shell("true"))
    assert done.status == 1
    assert message in done.err
    assert user.pods() == []


def test_limits_that_cannot_be_had_are_named(user: User) -> None:
    uuid = user("run", "--detach", PROBE, "--memory", "64Mi", "--", "wait").out.strip()
    (row,) = user.status(uuid)["isolators"]
    assert (row["name"], row["outcome"]) == ("resource/memory", "ignored")
    assert user("run", "--strict", PROBE, "--memory", "64Mi").status != 0


def test_the_metadata_service_answers(user: User) -> None:
    done = user("run", *shell("wget -qO- $AC_METADATA_URL/acMetadata/v1/pod/uuid"))
    assert done.out.strip() == user.the_pod().uuid, done


def test_volumes_and_several_apps(user: User) -> None:
    data = user.home / "data-volume"
    data.mkdir()
    os.chown(data, UID, UID)
    volume = ("--volume", f"data,kind=host,source={data}", "--mount", "volume=data,target=/data")
    until = "until [ -e /data/one ]; do sleep 0.01; done; echo two"
    other = ("---", PROBE, "--name", "other", "--exec", "/bin/sh", "--", "-c", until)
    done = user("run", *volume, *shell("echo >/data/one"), *other)
    assert done.status == 0, done
    assert (data / "one").stat().st_uid == UID


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of version 2 that belongs to the user, with one in it for the user's commands."""
    need("unified")
    host = facts()
    base = Path(host.bases[host.unified])
    if missing("cgroup-v2") == "":
        # As systemd delegates them.
        (base / "cgroup.subtree_control").write_text("+memory +pids")
    made = base / f"appc-rootless-{os.getpid()}"
    for directory in (made, made / "commands"):
        directory.mkdir()
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(directory / name, UID, UID)
    yield made
    for directory in sorted(made.glob("**/"), reverse=True):
        directory.rmdir()


def run_in(user: User, group: Path, *words: str, status: int = 0) -> str:
    """What `appc run` says when the user calls it in that control group, and it ends with `status`."""
    into = ["sh", "-c", f'echo $$ >{group}/commands/cgroup.procs; exec "$@"', "sh", *user.words("run", *words)]
    done = subprocess.run(
        into, capture_output=True, text=True, env=environment(user.base), check=False, timeout=PATIENCE
    )
    assert done.returncode == status, done
    return done.stdout.strip()


def test_a_group_that_is_the_user_s_holds_its_pods(user: User, group: Path) -> None:
    uuid = run_in(user, group, "--detach", PROBE, "--", "wait")
    (pid,) = [app["pid"] for app in user.status(uuid)["apps"]]
    assert (group / f"appc/{uuid}/probe/cgroup.procs").read_text().split() == [str(pid)]
    assert user("kill", uuid).status == 0
    assert user("status", "--wait", uuid).status == 0
    assert not (group / "appc" / uuid).exists()


def test_limits_hold_where_the_group_is_the_user_s(user: User, group: Path) -> None:
    """Where controllers are v1's there are none to delegate, and that is said."""
    delegated = "memory" in (group / "cgroup.controllers").read_text().split()
    if delegated:
        run_in(user, group, PROBE, "--memory", "24Mi", "--", "memory", "100", status=137)
        (app,) = user.status(user.the_pod().uuid)["apps"]
        assert app["death"].startswith("killed: memory limit 24 MiB, peak 2")
    uuid = run_in(user, group, "--detach", PROBE, "--pids", "7", "--memory", "64Mi", "--", "wait")
    assert {row["outcome"] for row in user.status(uuid)["isolators"]} == {"enforced" if delegated else "ignored"}
    if delegated:
        made = group / f"appc/{uuid}/probe"
        assert ((made / "pids.max").read_text(), (made / "memory.max").read_text()) == ("7\n", f"{64 << 20}\n")
    assert user("kill", uuid).status == 0
    assert user("status", "--wait", uuid).status == 0


def test_what_is_on_disk_is_measured(user: User) -> None:
    user("run", PROBE, "--user", "alice", "--exec", "/bin/sh", "--", "-c", "mkdir -m 700 /tmp; true")
    for verb in (("df",), ("image", "df"), ("image", "check")):
        done = user(*verb)
        assert done.status == 0, done


def test_a_user_without_others(sandbox: Path) -> None:
    for alone in made("", User):
        done = alone("run", *shell("cat /proc/self/uid_map; stat -c %u /owned; echo z >/work/z"))
        assert done.out.split() == ["0", str(UID), "1", "0"], done
        assert "images have no users but root" in done.err
        done = alone("run", PROBE, "--user", "alice", "--", "report")
        assert done.status == 125
        assert "this user namespace has no such user" in done.err
        assert json.loads(alone("list", "--format", "json").out)
