"""Control groups on the kernel that is running, whichever version it has, and on a private cgroup2 mount."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appc.errors import HostError
from appc.host import cgroups
from appc.host.cgroup_update import update
from appc.host.probe import HostFacts, facts
from capabilities import need

UUID = str(uuid.uuid4())
GUARDED = [
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
]


@pytest.fixture
def host(sandbox: Path) -> Iterator[HostFacts]:
    need("cgroup")
    found = facts()
    yield found
    paths = cgroups.pod_directories(UUID, found)
    cgroups.kill(paths)
    cgroups.remove(paths)
    cgroups.remove_root(found)


def value(paths: list[str], *names: str) -> str:
    """The content of the first control file of those names that exists in one of the directories."""
    for path in paths:
        for name in names:
            if os.path.exists(f"{path}/{name}"):
                return Path(path, name).read_text().strip()
    raise AssertionError(f"none of {names} in {paths}")


def run_in(paths: list[str], script: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script that first joins the groups, as a plan's cgroup ops do."""
    join = "".join(f"open({path + '/cgroup.procs'!r}, 'w').write('0')\n" for path in paths)
    program = "import os, sys, time\n" + join + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def status_of(result: cgroups.Cgroups, scope: str, field: str) -> tuple[str, str]:
    (found,) = [row[2:] for row in result.outcome if row[:2] == (scope, field)]
    return found


def test_limits_are_in_force_where_the_app_runs(host: HostFacts) -> None:
    """What the outcome calls enforced stands in the kernel's files of the groups that the app joins."""
    need("memory-controller", "pids-controller", "cpu-controller")
    resources: dict[str, Any] = {
        "": {"memory": {"limit": 512 << 20}},
        "web": {
            "memory": {"limit": 64 << 20},
            "cpu": {"quota": 50000, "period": 100000, "shares": 512},
            "pids": {"limit": 33},
        },
    }
    predicted = cgroups.predict(UUID, ["web", "db"], resources, host)
    assert cgroups.pod_directories(UUID, host) == []
    result = cgroups.create(UUID, ["web", "db"], resources, host)
    assert (result.app_paths, result.teardown) == (predicted.app_paths, predicted.teardown)
    assert sorted(cgroups.pod_directories(UUID, host)) == sorted(result.teardown)
    assert {row[2] for row in result.outcome} == {"enforced"}, result.outcome
    web = result.app_paths["web"]
    assert value(web, "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert value(result.pod_paths, "memory.limit_in_bytes", "memory.max") == str(512 << 20)
    assert value(web, "pids.max") == "33"
    if host.controllers["cpu"] == host.unified:
        assert value(web, "cpu.max") == "50000 100000"
        assert value(web, "cpu.weight") == "59"
    else:
        assert value(web, "cpu.cfs_quota_us") == "50000"
        assert value(web, "cpu.shares") == "512"
    for paths in (result.init_paths, *result.app_paths.values()):
        joined = run_in(paths, "print(open('/proc/self/cgroup').read())")
        assert joined.returncode == 0, joined.stderr
        assert UUID in joined.stdout
    cgroups.kill(result.teardown)
    assert cgroups.remove(result.teardown)
    assert cgroups.pod_directories(UUID, host) == []


def test_a_memory_limit_kills_and_is_counted(host: HostFacts) -> None:
    """An app over its limit is killed, its neighbour is not, and stats tell what was used."""
    need("memory-controller")
    result = cgroups.create(UUID, ["hog", "calm"], {"hog": {"memory": {"limit": 32 << 20, "swap": 32 << 20}}}, host)
    hog = run_in(result.app_paths["hog"], "block = bytearray(200 << 20); print(len(block))")
    assert hog.returncode == -signal.SIGKILL, hog.stdout + hog.stderr
    calm = run_in(result.app_paths["calm"], "block = bytearray(100 << 20); print(len(block))")
    assert calm.stdout.strip() == str(100 << 20)
    measured = cgroups.stats(result.app_paths["hog"])
    assert measured["oom-kills"] >= 1
    assert 16 << 20 < measured["memory-peak"] <= 32 << 20


def test_the_pods_limit_bounds_its_apps(host: HostFacts) -> None:
    """A pod's pids limit holds for all its apps together although no app has one."""
    need("pids-controller")
    result = cgroups.create(UUID, ["app"], {"": {"pids": {"limit": 5}}}, host)
    script = """
        made = 0
        try:
            for _ in range(20):
                if os.fork() == 0:
                    time.sleep(30)
                    os._exit(0)
                made += 1
        except BlockingIOError:
            print("made", made)
        sys.stdout.flush()
        os.killpg(0, 9)
    """
    join = run_in(result.app_paths["app"], "os.setpgid(0, 0)\n" + textwrap.dedent(script))
    assert join.stdout.strip() == "made 4"


def test_pids_limit_zero_lets_the_app_start_and_nothing_more(host: HostFacts) -> None:
    """runtime-spec: 0 is a valid limit; the app joins by itself, so it runs, but cannot fork."""
    need("pids-controller")
    result = cgroups.create(UUID, ["app"], {"app": {"pids": {"limit": 0}}}, host)
    found = run_in(result.app_paths["app"], "try: os.fork()\nexcept BlockingIOError: print('refused')")
    assert found.stdout.strip() == "refused"


def test_a_quota_above_the_pods_is_bounded_by_it(host: HostFacts) -> None:
    need("cpu-controller")
    resources = {"": {"cpu": {"quota": 50000}}, "app": {"cpu": {"quota": 100000}}}
    result = cgroups.create(UUID, ["app"], resources, host)
    status, reason = status_of(result, "app", "cpu.quota")
    if host.controllers["cpu"] == host.unified:
        assert status == "enforced"
    else:
        assert (status, reason) == ("modified", "the pod's own limit is lower")


def test_cpus_are_inherited_where_not_set(host: HostFacts) -> None:
    """A pod pinned to CPU 0 has apps that run there, also on v1, where a new cpuset starts out empty."""
    need("cpuset-controller")
    result = cgroups.create(UUID, ["app"], {"": {"cpu": {"cpus": "0"}}, "app": {"cpu": {"mems": "0"}}}, host)
    assert status_of(result, "", "cpu.cpus") == ("enforced", "")
    found = run_in(result.app_paths["app"], "print(os.sched_getaffinity(0))")
    assert found.stdout.strip() == "{0}", found.stderr


def test_what_the_kernel_refuses_is_reported_and_the_pod_still_made(host: HostFacts) -> None:
    need("cpuset-controller")
    result = cgroups.create(UUID, ["app"], {"app": {"cpu": {"cpus": "4000"}, "realtime": 1}}, host)
    status, reason = status_of(result, "app", "cpu.cpus")
    assert status == "ignored"
    assert "cpuset.cpus does not take '4000'" in reason
    assert run_in(result.app_paths["app"], "print('runs')").stdout.strip() == "runs"


def test_devices_are_guarded(host: HostFacts) -> None:
    """Only /dev/null opens; nodes may be made but not used; two apps with one list share one guard."""
    if host.cgroup != "v2":
        need("devices-controller")
    result = cgroups.create(UUID, ["a", "b"], {name: {"devices": GUARDED} for name in ("a", "b")}, host)
    for name in ("a", "b"):
        assert status_of(result, name, "devices") == ("enforced", "")
        script = (
            "open('/dev/null', 'r+b', 0).write(b'x')\ntry: open('/dev/zero')\nexcept PermissionError: print('denied')"
        )
        found = run_in(result.app_paths[name], script)
        assert found.stdout.strip() == "denied", found.stderr


def test_kill_ends_everything_below(host: HostFacts) -> None:
    """Processes that fork and ignore signals are gone when kill returns, and the groups can be removed."""
    result = cgroups.create(UUID, ["app"], {}, host)
    script = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
os.fork()
os.write(1, b"up\\n")
time.sleep(60)
"""
    join = "".join(f"open({path + '/cgroup.procs'!r}, 'w').write('0')\n" for path in result.app_paths["app"])
    child = subprocess.Popen(
        [sys.executable, "-c", "import os, time\n" + join + script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    for _ in range(4):
        assert child.stdout.readline() == b"up\n"
    assert cgroups.kill(result.pod_paths)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    assert cgroups.remove(result.teardown)


def test_groups_left_by_a_killed_launch_are_used_again_unless_alive(host: HostFacts) -> None:
    first = cgroups.create(UUID, ["old"], {}, host)
    cgroups.create(UUID, ["new"], {}, host)
    child = subprocess.Popen(["sleep", "60"])
    try:
        Path(first.init_paths[0], "cgroup.procs").write_text(str(child.pid))
        with pytest.raises(HostError, match=UUID):
            cgroups.create(UUID, ["third"], {}, host)
    finally:
        child.kill()
        child.wait()


def test_pods_are_found_by_their_groups(host: HostFacts) -> None:
    cgroups.create(UUID, ["app"], {}, host)
    assert UUID in cgroups.pods(host)
    paths = cgroups.pod_directories(UUID, host)
    assert paths
    assert cgroups.remove(paths)
    assert UUID not in cgroups.pods(host)


def test_without_a_writable_hierarchy_everything_is_told_as_ignored() -> None:
    bare = HostFacts(cgroup="none")
    result = cgroups.create(UUID, ["app"], {"app": {"pids": {"limit": 3}, "devices": GUARDED}}, bare)
    assert result.app_paths == {"app": []}
    assert {row[1]: row[2] for row in result.outcome} == {"pids.limit": "ignored", "devices": "ignored"}


def test_memory_with_swap_grows_and_shrinks(host: HostFacts) -> None:
    """Memory and swap together are limited, and v1 takes the two limits in one order only."""
    need("memory-controller")
    result = cgroups.create(UUID, ["app"], {"app": {"memory": {"limit": 64 << 20, "swap": 64 << 20}}}, host)
    if status_of(result, "app", "memory.swap")[0] == "ignored":
        pytest.skip("this kernel does not account swap")
    for mib in (128, 32, 256):
        resources = {"memory": {"limit": mib << 20, "swap": mib << 20}}
        outcome = update(UUID, ["app"], "app", resources, list, host)
        assert {row[2] for row in outcome} == {"enforced"}, outcome
        assert value(result.app_paths["app"], "memory.max", "memory.limit_in_bytes") == str(mib << 20)
        together = value(result.app_paths["app"], "memory.swap.max", "memory.memsw.limit_in_bytes")
        assert together in ("0", str(mib << 20))
