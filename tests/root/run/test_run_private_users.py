"""Pods in user namespaces of their own: who their apps are, whose their files are, and that no two pods share users."""

from __future__ import annotations

import itertools
import os
import tarfile
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, base_files, one_app, wait_for

from capabilities import need

pytestmark = pytest.mark.root

PRIVATE = "--private-users"


@pytest.fixture(autouse=True)
def _mapped() -> None:
    need("idmap")


def users(appc: Appc, uuid: str) -> tuple[int, int]:
    base, _, count = appc.status(uuid)["private-users"].partition(":")
    return int(base), int(count)


def shell(script: str) -> tuple[str, ...]:
    return (PROBE, "--name", "web", "--exec", "/bin/sh", "--", "-c", script)


def test_root_of_the_pod_is_nobody_of_the_host(appc: Appc) -> None:
    uuid = appc.detached(PRIVATE, *shell("echo x >/work/new; echo ready; exec /probe wait"))
    base, count = users(appc, uuid)
    wait_for(lambda: "ready" in appc("logs", uuid).out)
    document = appc.status(uuid)
    for pid in (document["pid"], document["apps"][0]["pid"]):
        assert f"\nUid:\t{base}\t{base}\t{base}\t{base}\n" in Path(f"/proc/{pid}/status").read_text()
    made = appc.the_pod().file("apps/web/upper/work/new")
    assert os.stat(made).st_uid == 0, "on disk a file belongs to whom it belongs to inside"
    entered = appc("enter", uuid, "/bin/sh", "-c", "cat /proc/self/uid_map; echo y >/work/entered")
    assert entered.out.split() == ["0", str(base), str(count)]
    assert appc("enter", "--user", "alice", uuid, "/probe", "report").report["uid"] == "1000 1000 1000"
    beyond = appc("enter", "--user", str(count), uuid, "/probe")
    assert (beyond.status, "this user namespace has no such user" in beyond.err) == (125, True), beyond


def test_what_an_app_sees_is_its_image_s(appc: Appc) -> None:
    done = appc.run(PRIVATE, *shell("stat -c %u:%g /owned /work/file / /dev/null; ls /sys/class/net; echo >/dev/null"))
    assert done.out.split() == ["1234:4321", "0:0", "0:0", "65534:65534", "lo"]


def test_a_user_of_the_image(appc: Appc) -> None:
    report = appc.probe("report", flags=("--user", "alice"), pod=(PRIVATE,)).report
    assert report["uid"] == "1000 1000 1000"
    done = appc.run(PRIVATE, PROBE, "--user", "70000", "--", "report")
    assert done.status != 0
    assert "70000 is not mapped" in done.err
    assert "appc: app probe" in done.err


def test_volumes_keep_their_owners(appc: Appc, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "file").write_text("content")
    os.chown(source / "file", 5, 6)
    script = "stat -c %u:%g /data/file; echo >/data/new; echo >/scratch/new; stat -c %u /scratch/new /dev/shm/x"
    done = appc.run(
        *(PRIVATE, "--volume", f"data,kind=host,source={source}", "--mount", "volume=data,target=/data"),
        *("--volume", "scratch,kind=empty", "--mount", "volume=scratch,target=/scratch"),
        *shell("echo >/dev/shm/x; " + script),
    )
    assert done.out.split() == ["5:6", "0", "0"], done
    assert (source / "new").stat().st_uid == 0


def test_what_runs_beside_an_app_and_after_it_is_in_the_namespace_too(appc: Appc, tmp_path: Path) -> None:
    app = one_app(
        exec=["/bin/sh", "-c", "echo app >>/work/order; cat /work/order; exit 3"],
        eventHandlers=[{"name": "pre-start", "exec": ["/bin/sh", "-c", "cat /proc/self/uid_map >/work/order"]}],
    )
    appc.add(tmp_path / "image.aci", base_files(), "example.com/handled", app=app)
    done = appc.run(f"{PRIVATE}=1000000", "example.com/handled", "--restart", "on-failure:1")
    assert done.out.split() == ["0", "1000000", "65536", "app", "0", "1000000", "65536", "app"], done


def test_an_image_that_is_copied(appc: Appc, tmp_path: Path) -> None:
    kept = ["/bin/busybox", "/bin/sh", "/bin/stat", "/owned"]
    appc.add(tmp_path / "image.aci", base_files(), "example.com/some", app=one_app(), pathWhitelist=kept)
    script = "stat -c %u:%g /owned; echo >/new; stat -c %u /new; test -e /work && echo work"
    done = appc.run(PRIVATE, "example.com/some", "--exec", "/bin/sh", "--", "-c", script)
    assert done.out.split() == ["1234:4321", "0"], done


def test_a_program_that_is_missing_is_explained(appc: Appc) -> None:
    done = appc.run(PRIVATE, PROBE, "--name", "web", "--exec", "/bad/dynamic")
    assert "its ELF interpreter" in done.err, done


def test_the_metadata_service_answers(appc: Appc) -> None:
    script = "wget -qO- $AC_METADATA_URL/acMetadata/v1/pod/uuid"
    done = appc.run(PRIVATE, *shell(script))
    assert done.out.strip() == appc.the_pod().uuid, done


def test_an_app_says_that_it_is_ready(appc: Appc) -> None:
    words = ("--annotation", "appc.io/executor/supports-systemd-notify=true", "--user", "alice")
    uuid = appc.detached(PRIVATE, PROBE, *words, "--", "tell", "/dev/appc/notify", "READY=1", "wait")
    assert appc("status", "--wait-ready=20s", uuid).status == 0


def test_an_app_that_comes_later_is_in_the_namespace(appc: Appc) -> None:
    uuid = appc.detached(PRIVATE, *shell("exec /probe wait"))
    base, count = users(appc, uuid)
    late = (PROBE, "--name", "late", "--exec", "/bin/sh", "--", "-c")
    done = appc("app", "add", uuid, *late, "cat /proc/self/uid_map; stat -c %u:%g /owned; exec /probe wait")
    assert done.status == 0, done
    wait_for(lambda: "1234:4321" in appc("logs", uuid).out)
    assert f"{base} {count}" in " ".join(appc("logs", uuid).out.split())
    assert appc("app", "stop", uuid, "late").status == 0
    assert appc("app", "start", uuid, "late").status == 0
    assert appc("enter", uuid, "--app", "late", "/bin/cat", "/proc/self/uid_map").out.split() == [
        "0",
        str(base),
        str(count),
    ]


def test_networks_belong_to_the_pod(appc: Appc) -> None:
    script = "cat /proc/self/uid_map; nc -l -p 80 -e /bin/true & sleep 0.2; ls /sys/class/net"
    done = appc.run(PRIVATE, "--net", "default", *shell(script))
    assert done.status == 0, done
    assert "eth0" in done.out
    assert "ermission" not in done.err
    host = appc.run(PRIVATE, "--net", "host", *shell("ls /sys/class/net; ls /sys/fs"))
    assert "lo" in host.out
    assert "cgroup" in host.out


def test_files_are_copied_in_and_out_and_the_pod_exported(appc: Appc, tmp_path: Path) -> None:
    uuid = appc.detached(PRIVATE, *shell("mkdir -m 755 /work/theirs; exec /probe wait"))
    (tmp_path / "file").write_text("content")
    assert appc("cp", str(tmp_path / "file"), f"{uuid}:/work/copied").status == 0
    assert appc("enter", uuid, "/bin/stat", "-c", "%u:%g", "/work/copied").out == "0:0\n"
    assert appc("cp", f"{uuid}:/work/copied", str(tmp_path / "back")).status == 0
    assert (tmp_path / "back").stat().st_uid == 0
    appc("stop", uuid)
    done = appc("export", uuid, str(tmp_path / "out.aci"))
    assert done.status == 0, done
    with tarfile.open(tmp_path / "out.aci") as archive:
        assert archive.getmember("rootfs/work/copied").uid == 0
        assert archive.getmember("rootfs/owned").uid == 1234


def test_no_two_pods_share_users(appc: Appc) -> None:
    pods = [appc.detached(PRIVATE, *shell("exec /probe wait")) for _ in range(3)]
    ranges = sorted(users(appc, uuid) for uuid in pods)
    assert all(one[0] + one[1] <= other[0] for one, other in itertools.pairwise(ranges))
    base, count = ranges[1]
    done = appc.run(f"{PRIVATE}={base + 5}:10", *shell("true"))
    assert done.status != 0
    assert "no two pods may share users" in done.err
    assert f"0 {base} " not in done.out
    assert f"private-users={base}:{count}" in "".join(appc("status", uuid).out for uuid in pods)
    chosen = appc.detached(f"{PRIVATE}=1000000000:70000", *shell("exec /probe wait"))
    assert users(appc, chosen) == (1_000_000_000, 70_000)
    users_before = users(appc, pods[0])
    assert appc("stop", pods[0]).status == 0
    assert appc("rm", pods[0]).status == 0
    again = appc.detached(PRIVATE, *shell("exec /probe wait"))
    assert users(appc, again) == users_before


def test_a_prepared_pod_keeps_its_range(appc: Appc) -> None:
    uuid = appc("prepare", PRIVATE, *shell("cat /proc/self/uid_map")).out.strip()
    base, count = users(appc, uuid)
    assert appc("run-prepared", uuid).out.split() == ["0", str(base), str(count)]


def test_plan_shows_it(appc: Appc) -> None:
    done = appc("plan", PRIVATE, *shell("true"))
    assert "userns" in done.out, done
    assert "overlay" in done.out
