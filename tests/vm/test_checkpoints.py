"""Engines that write containers down and bring them back, on a kernel that CRIU knows."""

from __future__ import annotations

import pytest

from capabilities import need
from vm.suite import run_tests

ENGINES = (
    "tests/interop/test_oci_podman.py::test_a_container_is_written_down_and_brought_back",
    "tests/interop/test_oci_containerd.py::test_a_container_is_written_down",
)


@pytest.mark.slow
def test_podman_and_containerd_have_checkpoints() -> None:
    need("podman", "conmon", "containerd", "ctr")
    assert "2 passed" in run_tests(ENGINES, timeout=1800, marks="interop")
