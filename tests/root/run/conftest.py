"""One store with the test images for all tests of this directory; for each test an empty list of pods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, base_files, one_app

from capabilities import need


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Appc:
    """The command line over a root that holds the image PROBE."""
    need("root", "native", "overlay-tmp", "cgroup", "busybox")
    base = tmp_path_factory.mktemp("run")
    made = Appc(base)
    made.add(base / "probe.aci", base_files(), PROBE, app=one_app())
    return made


@pytest.fixture
def appc(shared: Appc, sandbox: Path) -> Iterator[Appc]:
    """The same, with no pods before the test and none after it."""
    yield shared
    shared.clear()
    assert shared.pods() == []
