"""SELinux contexts, on a kernel that enforces a policy made for it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from capabilities import need
from vm.suite import run_tests

POLICY = Path(__file__).with_name("selinux.conf")


@pytest.mark.slow
def test_contexts_are_enforced(tmp_path: Path) -> None:
    need("checkpolicy")
    compiled = tmp_path / "policy"
    subprocess.run(["checkpolicy", "-M", "-U", "allow", "-o", compiled, POLICY], check=True, capture_output=True)
    output = run_tests(
        ("tests/root/run/test_run_selinux.py",),
        timeout=300,
        kernel_options="lsm=selinux",
        variables={"APPC_SELINUX_POLICY": str(compiled)},
    )
    assert re.search(r"\d+ passed", output)
    assert "skipped" not in output
