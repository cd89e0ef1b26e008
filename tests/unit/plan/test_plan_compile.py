"""From OCI configurations to tracks: what an engine's configuration becomes, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from compiling import config, named, ops, refused

from appc.errors import Unenforceable
from appc.plan.compile import compile_app, compile_handler, compile_init, init_flags
from appc.plan.compile_root import RootFS
from appc.plan.ops import Op
from capabilities import need
from golden.examples import PROGRAM, facts


@pytest.mark.interop
@pytest.mark.parametrize("engine", ["runc", "crun"])
@pytest.mark.parametrize("rootless", [False, True])
def test_the_default_configuration_of_other_runtimes_compiles(engine: str, rootless: bool, tmp_path: Path) -> None:
    need(engine)
    subprocess.run([engine, "spec", *(["--rootless"] if rootless else [])], cwd=tmp_path, check=True)
    given = json.loads((tmp_path / "config.json").read_text())
    if any(kind["type"] == "user" for kind in given["linux"]["namespaces"]) and not given["linux"].get("uidMappings"):
        assert refused(given).where == "linux.uidMappings"
        return
    warnings: list[str] = []
    found = ops(given, bundle=str(tmp_path), warnings=warnings, cgroups=("/sys/fs/cgroup/x",))
    assert named(found, "exec")[0][1] == tuple(given["process"]["args"])
    masks = [(path,) for path in given["linux"]["maskedPaths"]]
    assert named(found, "mask") == masks
    assert found[-2].name in ("no-new-privs", "caps")


class TestProcess:
    def become(self, process: dict[str, Any], **options: Any) -> list[Op]:
        found = ops(config(process=process), **options)
        return found[[op.name for op in found].index("sync") :]

    def test_limits(self) -> None:
        limits = [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 2**64 - 1}]
        assert named(self.become({"rlimits": limits}), "rlimit") == [(7, 5, 2**64 - 1)]

    @pytest.mark.parametrize(
        ("process", "where"),
        [
            ({"rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]}, "process.rlimits[0].type"),
            ({"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2}, "process.rlimits[1].type"),
            ({"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}, "process.rlimits[0].soft"),
            ({"args": []}, "process.args"),
            ({"selinuxLabel": "a:b:c:d"}, "process.selinuxLabel"),
            ({"apparmorProfile": "p"}, "process.apparmorProfile"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_refusals(self, process: dict[str, Any], where: str) -> None:
        assert refused(config(process=process)).where == where

    def test_schedulers_are_told_while_it_is_privileged(self) -> None:
        process = {
            "scheduler": {"policy": "SCHED_RR", "nice": -1, "priority": 3, "flags": ["SCHED_FLAG_RECLAIM"]},
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE"},
        }
        linux = {
            "namespaces": [{"type": "mount"}],
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0,8-9", "flags": ["MPOL_F_STATIC_NODES"]},
            "personality": {"domain": "LINUX32"},
        }
        found = ops(config(process=process, linux=linux))
        assert named(found, "scheduler") == [(2, 2**64 - 1, 3, 2, 0, 0, 0)]
        assert named(found, "io-priority") == [(3, 0)]
        assert named(found, "memory-policy") == [(2 | 1 << 15, b"\x01\x03")]
        assert named(found, "personality") == [(8,)]
        names = [op.name for op in found]
        assert max(map(names.index, ("scheduler", "io-priority", "memory-policy"))) < names.index("bounding")

    def test_labels_come_before_anything_is_given_up(self) -> None:
        host = facts(selinux=True, apparmor=True)
        process = {
            "selinuxLabel": "a:b:c:d",
            "apparmorProfile": "p",
            "oomScoreAdj": -5,
            "user": {"uid": 1, "gid": 2, "umask": 0},
        }
        found = self.become(process, facts=host)
        assert [op.name for op in found] == [
            *("sync", "oom-score-adj", "umask", "chdir", "label", "label"),
            *("bounding", "ids", "death-signal", "caps", "exec"),
        ]
        assert named(found, "label") == [("selinux", "a:b:c:d"), ("apparmor", "p")]

    def test_the_usual_umask_needs_no_step(self) -> None:
        assert not named(self.become({"user": {"uid": 0, "gid": 0, "umask": 0o022}}), "umask")

    def test_capabilities_are_reduced_to_what_can_be_and_the_rest_is_told(self) -> None:
        warnings: list[str] = []
        sets = {
            "bounding": ["CAP_KILL", "CAP_NEW_ONE", "CAP_CHOWN"],
            "permitted": ["CAP_KILL"],
            "effective": ["CAP_KILL", "CAP_CHOWN"],
            "ambient": ["CAP_KILL"],
        }
        found = self.become({"capabilities": sets}, facts=facts(caps=1 << 5, bounding=1 << 5), warnings=warnings)
        assert named(found, "bounding") == [(1 << 5,)]
        assert named(found, "caps") == [(1 << 5, 1 << 5, 0, 0)]
        assert any("CAP_NEW_ONE" in warning for warning in warnings)
        assert any("ambient" in warning for warning in warnings)

    def test_no_capabilities_section_means_none(self) -> None:
        assert named(self.become({}), "caps") == [(0, 0, 0, 0)]

    @pytest.mark.parametrize(
        ("name", "env", "cwd", "files"),
        [
            ("/bin/x", ["PATH=/a"], "/", ("/bin/x",)),
            ("./x", ["PATH=/a"], "/w", ("./x",)),
            ("x", ["PATH=/a:/b/"], "/w", ("/a/x", "/b/x")),
            ("x", ["PATH=/a::rel", "PATH=/second"], "/w", ("/a/x", "/w/x", "/w/rel/x")),
            ("x", ["PATH="], "/w", ("/w/x",)),
            ("x", ["PATHS=/a"], "/w", ("/w/x", "/bin/x", "/usr/bin/x")),
            ("x", ["PATH=bin"], "/", ("/bin/x",)),
            ("x", ["PATH=/:/a:/a"], "/", ("/x", "/a/x")),
        ],
    )
    def test_the_program_is_searched_as_exec_does(
        self, name: str, env: list[str], cwd: str, files: tuple[str, ...]
    ) -> None:
        found = self.become({"args": [name], "env": env, "cwd": cwd})
        assert named(found, "exec")[0][0] == files

    @pytest.mark.parametrize(
        ("uid", "no_new_privs", "tail"),
        [
            (0, False, ["seccomp", "caps", "exec"]),
            (1, False, ["caps", "seccomp", "caps", "exec"]),
            (0, True, ["caps", "no-new-privs", "seccomp", "exec"]),
            (1, True, ["caps", "no-new-privs", "seccomp", "exec"]),
        ],
    )
    def test_where_the_filter_is_loaded(self, uid: int, no_new_privs: bool, tail: list[str]) -> None:
        given = config(
            process={"user": {"uid": uid, "gid": uid}, "noNewPrivileges": no_new_privs},
            linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}},
        )
        found = ops(given, seccomp=PROGRAM)
        names = [op.name for op in found]
        assert names[names.index("death-signal") + 1 :] == tail
        assert named(found, "seccomp") == [(2, PROGRAM)]

    def test_a_section_without_its_program_is_refused(self) -> None:
        assert refused(config(linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}})).where == "linux.seccomp"


class TestNamespaces:
    def test_own_ones_are_made_at_once_and_set_up(self) -> None:
        kinds = [{"type": kind} for kind in ("network", "uts", "ipc", "mount", "cgroup", "pid")]
        given = config(
            hostname="h", domainname="d", linux={"namespaces": kinds, "sysctl": {"net.ipv4.ip_forward": "1"}}
        )
        found = ops(given)
        assert named(found, "unshare") == [(0x40000000 | 0x4000000 | 0x8000000 | 0x20000 | 0x2000000,)]
        names = [op.name for op in found]
        assert names[names.index("pivot") + 1 : names.index("sync")] == ["hostname", "domainname", "link-up", "sysctl"]

    def test_those_of_the_pod_and_those_with_a_path_are_joined(self) -> None:
        kinds = [{"type": "network", "path": "/run/netns/x"}, {"type": "uts"}, {"type": "mount"}, {"type": "pid"}]
        given = config(hostname="h", linux={"namespaces": kinds})
        track = compile_app(given, name="app a", root=RootFS("/r"), facts=facts(), shared=("pid", "uts"))
        assert named(track.ops, "join") == [(0x40000000,), (0x4000000,)]
        assert not named(track.ops, "hostname")

    @pytest.mark.parametrize(
        ("kinds", "where"),
        [
            ([{"type": "mount"}, {"type": "what"}], "linux.namespaces[1].type"),
            ([{"type": "mount"}, {"type": "ipc"}, {"type": "ipc"}], "linux.namespaces[2].type"),
            ([{"type": "mount"}, {"type": "user"}], "linux.uidMappings"),
            ([{"type": "ipc"}], "linux.namespaces"),
        ],
    )
    def test_refusals(self, kinds: list[dict[str, str]], where: str) -> None:
        assert refused(config(linux={"namespaces": kinds})).where == where

    def test_pid_1_is_made_with_those_the_pod_has_of_its_own(self) -> None:
        sandbox = {
            "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "network", "path": "/run/netns/x"}]}
        }
        assert init_flags(sandbox) == 0x20000000 | 0x8000000 | 0x20000
        track = compile_init(sandbox, name="init", target="/pod", facts=facts(), metadata_address="169.254.169.255")
        assert track.ops[0].args == (0x40000000,)
        assert ("lo", "169.254.169.255", 32) in named(track.ops, "address")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"hooks": {"poststart": [{"path": "/x"}]}}, "hooks.poststart"),
        ({"linux": {"netDevices": {"eth0": {}}}}, "linux.netDevices"),
        ({"linux": {"intelRdt": {"closID": "x"}}}, "linux.intelRdt"),
        ({"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "9000"}}}, "linux.memoryPolicy.nodes"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "time"}]}}, "linux.namespaces"),
        ({"linux": {"timeOffsets": {"monotonic": {}}}}, "linux.timeOffsets"),
        ({"linux": {"personality": {"domain": "LINUX", "flags": ["x"]}}}, "linux.personality.flags"),
        ({"process": {"execCPUAffinity": {"initial": "0"}}}, "process.execCPUAffinity"),
        (
            {"linux": {"seccomp": {"defaultAction": "x", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_NOTIFY"}]}}},
            "linux.seccomp.syscalls[0].action",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fields_nothing_acts_on_are_refused(changes: dict[str, Any], where: str) -> None:
    error = refused(config(**changes))
    assert isinstance(error, Unenforceable)
    assert error.where == where


def test_parameters_of_the_host_are_refused() -> None:
    given = config(linux={"sysctl": {"kernel.core_pattern": "|/bin/sh"}})
    assert refused(given).where == "linux.sysctl.kernel.core_pattern"
    assert refused(config(linux={"sysctl": {"net.core.somaxconn": "1"}})).where == "linux.sysctl.net.core.somaxconn"


def test_fields_that_ask_for_nothing_are_fine() -> None:
    ops(config(hooks={"prestart": []}, linux={"personality": {"domain": "LINUX"}, "uidMappings": [], "netDevices": {}}))


def test_every_op_says_where_it_comes_from() -> None:
    assert all(op.source for op in ops(config(mounts=[{"destination": "/proc", "type": "proc"}])))


def test_a_handler_joins_and_builds_nothing() -> None:
    kinds = [{"type": kind} for kind in ("pid", "network", "mount", "cgroup")]
    track = compile_handler(config(linux={"namespaces": kinds}), name="pre-start a", facts=facts(), cgroups=("/g",))
    names = [op.name for op in track.ops]
    assert names[:5] == ["cgroup", "unshare", "join", "join", "chdir"]
    assert named(track.ops, "join")[-1] == (0x20000,)
