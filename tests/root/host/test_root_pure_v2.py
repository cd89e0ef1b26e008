"""Pure cgroup v2 on any host: a private mount namespace where cgroup2 alone is mounted.

Controllers that v1 holds are not there, but the layout, device programs and cgroup.kill are.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appc.host import cgroup_container, cgroupfs, cgroups, libc
from appc.host.probe import HostFacts, facts
from capabilities import need

UUID = str(uuid.uuid4())


@pytest.fixture
def pure_v2(sandbox: Path) -> Callable[[Callable[[HostFacts], None]], None]:
    """Run a function in a child whose only cgroup hierarchy is cgroup2; its failure is the test's."""
    need("cgroup2-mountable", "initial-userns")

    def run(function: Callable[[HostFacts], None]) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                libc.unshare(libc.CLONE_NEWNS)
                libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
                libc.mount("tmpfs", "/sys/fs/cgroup", "tmpfs")  # cgroup2 is not mounted over itself
                libc.mount("cgroup2", "/sys/fs/cgroup", "cgroup2")
                found = facts()
                try:
                    function(found)
                finally:
                    paths = cgroups.pod_directories(UUID, found)
                    cgroups.kill(paths)
                    cgroups.remove(paths)
                    cgroups.remove_root(found)
            except BaseException:
                os.write(writing, traceback.format_exc().encode()[-60000:])
            os._exit(0)
        os.close(writing)
        with open(reading, encoding="utf-8") as pipe:
            told = pipe.read()
        os.waitpid(pid, 0)
        if told:
            pytest.fail(told, pytrace=False)

    return run


def opens(paths: str, *rules: dict[str, Any], found: HostFacts) -> set[str]:
    """Return "path r" and "path w" for each of the paths that a process under the rules may open so."""
    result = cgroups.create(UUID, ["app"], {"app": {"devices": list(rules)}}, found)
    assert [row[2:] for row in result.outcome] == [("enforced", "")]
    program = f"""
import os
open({result.app_paths["app"][0] + "/cgroup.procs"!r}, "w").write("0")
for path in {paths.split()!r}:
    for mode in ("r", "w"):
        try:
            open(path, mode).close()
            print(path, mode)
        except PermissionError:
            pass
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    cgroups.remove(result.teardown)
    return set(done.stdout.splitlines())


def test_the_layout_keeps_processes_out_of_inner_groups(pure_v2: Callable[..., None]) -> None:
    """PID 1 has a group beside the apps', so that controllers can be enabled for them."""

    def check(found: HostFacts) -> None:
        result = cgroups.create(UUID, ["a", "b"], {}, found)
        pod = f"/sys/fs/cgroup/appc/{UUID}"
        assert result.pod_paths == [pod]
        assert result.init_paths == [f"{pod}/_init"]
        assert result.app_paths == {"a": [f"{pod}/a"], "b": [f"{pod}/b"]}
        assert result.teardown[-1] == pod
        assert set(result.teardown) == {pod, f"{pod}/_init", f"{pod}/a", f"{pod}/b"}

    pure_v2(check)


def test_the_kernel_takes_device_programs_and_obeys_them(pure_v2: Callable[..., None]) -> None:
    """The last rule that names a device and an access decides, access by access."""

    def check(found: HostFacts) -> None:
        null = {"type": "c", "major": 1, "minor": 3}
        zero = {"type": "c", "major": 1, "minor": 5}
        deny = {"allow": False}
        assert opens("/dev/null", deny, found=found) == set()
        allowed = opens("/dev/null /dev/zero", deny, {"allow": True, **null}, found=found)
        assert allowed == {"/dev/null r", "/dev/null w"}
        rules = ({"allow": True}, {"allow": False, **zero, "access": "w"})
        assert opens("/dev/null /dev/zero", *rules, found=found) == {"/dev/null r", "/dev/null w", "/dev/zero r"}
        rules = (
            {"allow": True, "type": "c", "major": 1},
            {"allow": False, **null},
            {"allow": True, **null, "access": "r"},
        )
        assert opens("/dev/null /dev/zero", *rules, found=found) == {
            "/dev/null r",
            "/dev/zero r",
            "/dev/zero w",
        }

    pure_v2(check)


def test_a_pods_device_rules_bound_its_apps(pure_v2: Callable[..., None]) -> None:
    """Programs add up down the tree: an app cannot allow itself what its pod denies."""

    def check(found: HostFacts) -> None:
        rules = {
            "": {"devices": [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3}]},
            "app": {"devices": [{"allow": True}]},
        }
        result = cgroups.create(UUID, ["app"], rules, found)
        join = f"open({result.app_paths['app'][0] + '/cgroup.procs'!r}, 'w').write('0')\n"
        script = "open('/dev/null').close()\ntry: open('/dev/zero')\nexcept PermissionError: print('denied')"
        done = subprocess.run([sys.executable, "-c", join + script], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == "denied", done.stderr

    pure_v2(check)


def test_a_controller_that_is_not_there_is_told(pure_v2: Callable[..., None]) -> None:
    """Limits whose controller v1 holds are ignored with that reason; the pod is made all the same."""

    def check(found: HostFacts) -> None:
        result = cgroups.create(UUID, ["app"], {"app": {"pids": {"limit": 3}}}, found)
        ((scope, field, status, reason),) = result.outcome
        if "pids" in found.controllers:
            assert (scope, field, status) == ("app", "pids.limit", "enforced")
        else:
            assert (scope, field, status) == ("app", "pids.limit", "ignored")
            assert "no usable pids controller" in reason

    pure_v2(check)


def test_a_base_with_processes_says_why_controllers_cannot_be_enabled(pure_v2: Callable[..., None]) -> None:
    """In a delegated subtree whose own processes were not moved aside, the reason names that."""

    def check(found: HostFacts) -> None:
        (controller,) = list(found.controllers)[:1] or [""]
        if not controller:
            return
        base = f"/sys/fs/cgroup/appc/{UUID}"
        os.makedirs(base)
        files = [f"/sys/fs/cgroup{middle}/cgroup.subtree_control" for middle in ("", "/appc")]
        enabled_here = [file for file in files if controller not in Path(file).read_text().split()]
        try:
            for file in enabled_here:
                Path(file).write_text(f"+{controller}")
        except OSError as error:
            # Where the machine is itself a container, its own processes are in the way already.
            assert error.errno == errno.EBUSY
            os.rmdir(base)
            return
        try:
            delegated = HostFacts(
                cgroup="v2", unified="/sys/fs/cgroup", controllers=found.controllers, bases={"/sys/fs/cgroup": base}
            )
            with subprocess.Popen(["sleep", "60"]) as sleeper:
                Path(base, "cgroup.procs").write_text(str(sleeper.pid))
                file = {"hugetlb": "hugetlb.2MB.max", "pids": "pids.max"}.get(controller, f"{controller}.max")
                result = cgroups.create("inner", ["app"], {"app": {"unified": {file: "max"}}}, delegated)
                sleeper.kill()
            assert cgroups.remove(result.teardown)
            cgroups.remove_root(delegated)
            ((_, _, status, reason),) = result.outcome
            assert status == "ignored"
            assert f"processes live beside the groups in {base}" in reason
        finally:
            cgroups.remove([base])
            for file in reversed(enabled_here):
                Path(file).write_text(f"-{controller}")

    pure_v2(check)


def test_a_group_is_given_to_who_is_to_manage_it(pure_v2: Callable[[Callable[[HostFacts], None]], None]) -> None:
    def check(found: HostFacts) -> None:
        group = cgroup_container.create(f"/appc-test-{UUID}", {}, found).pod_paths[0]
        try:
            cgroup_container.delegate(group, 4321)
            owners = {name: os.stat(f"{group}/{name}").st_uid for name in (".", "cgroup.procs", "cgroup.freeze")}
            assert owners == {".": 4321, "cgroup.procs": 4321, "cgroup.freeze": 0}
        finally:
            cgroupfs.remove([group])

    pure_v2(check)
