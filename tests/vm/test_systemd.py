"""What appc does under systemd, in a machine whose init it is."""

from __future__ import annotations

import re

import pytest

from capabilities import need
from vm.suite import run_tests


@pytest.mark.slow
@pytest.mark.parametrize("path", ["tests/root/oci/test_oci_systemd.py", "tests/root/run/test_run_systemd.py"])
def test_under_systemd(path: str) -> None:
    need("systemd-files", "podman", "conmon")
    output = run_tests((path,), timeout=900, init="systemd")
    assert re.search(r"\d+ passed", output)
    assert "skipped" not in output
