"""What `features` promises is taken, each word of it, by what it is promised of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appc.errors import Unenforceable
from appc.oci.features import features
from appc.oci.main import main
from appc.plan.compile_common import refuse_unsupported
from appc.plan.compile_mounts import MountOptions
from appc.schema.oci_runtime import HOOKS, NAMESPACES, validate

TOLD = features()
LINUX = TOLD["linux"]


def faults(linux: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    return validate({"ociVersion": TOLD["ociVersionMax"], "root": {"path": "r"}, "linux": linux, **more})


@pytest.mark.parametrize("option", TOLD["mountOptions"])
def test_each_mount_option_is_taken(option: str) -> None:
    for is_bind in (True, False):
        MountOptions((option,), is_bind, "mounts[0].options")


def test_an_option_that_is_not_named_is_refused() -> None:
    with pytest.raises(Unenforceable):
        MountOptions(("nosuch",), True, "mounts[0].options")


def test_hooks_and_namespaces_are_all_there_are() -> None:
    assert sorted(TOLD["hooks"]) == sorted(HOOKS)
    assert sorted(LINUX["namespaces"]) == sorted(NAMESPACES)
    for kind in TOLD["hooks"]:
        refuse_unsupported({"hooks": {kind: [{"path": "/x"}]}}, TOLD["hooks"])


def test_memory_policies_are_known() -> None:
    policy = LINUX["memoryPolicy"]
    for mode in policy["modes"]:
        nodes = {} if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else {"nodes": "0"}
        assert faults({"memoryPolicy": {"mode": mode, "flags": policy["flags"], **nodes}}) == []


def test_filters_are_known() -> None:
    seccomp = LINUX["seccomp"]
    names = {"names": ["getcwd"]}
    rules = [{**names, "action": action} for action in seccomp["actions"]]
    rules += [
        {**names, "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": operator}]}
        for operator in seccomp["operators"]
    ]
    section = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": seccomp["archs"],
        "flags": seccomp["knownFlags"],
        "listenerPath": "/agent",
        "syscalls": rules,
    }
    assert faults({"seccomp": section}) == []


def test_what_is_said_not_to_be_supported_is_refused() -> None:
    assert LINUX["intelRdt"]["enabled"] is False
    with pytest.raises(Unenforceable):
        refuse_unsupported({"linux": {"intelRdt": {"closID": "x"}}}, TOLD["hooks"])


def test_devices_can_be_given() -> None:
    assert LINUX["netDevices"]["enabled"] is True
    assert faults({"netDevices": {"eth0": {"name": "eth1"}}}) == []
    refuse_unsupported({"linux": {"netDevices": {"eth0": {}}}}, TOLD["hooks"])


def test_checkpoints_are_told_of_where_criu_is_without_running_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, ran = tmp_path / "criu", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\n: > {ran}\n")
    for mode, told in ((0o644, "false"), (0o755, "true")):
        program.chmod(mode)
        assert main(["--criu", str(program), "features"]) == 0
        annotations = json.loads(capsys.readouterr().out)["annotations"]
        assert annotations["org.opencontainers.runc.checkpoint.enabled"] == told
    assert not ran.exists()
