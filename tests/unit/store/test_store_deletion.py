"""Directories that are deeper than calls, descriptors or paths go."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from appc.store.deletion import delete_tree
from appc.store.staging import Staging


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "deep"
    made.mkdir()
    here = os.open(made, os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("a", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    yield made
    delete_tree(str(made))


@pytest.mark.parametrize("spare", [60, 4000])
def test_what_is_staged_goes_however_deep_it_is(deep: Path, tmp_path: Path, spare: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    try:
        with Staging(f"{tmp_path}/root") as staging:
            deep.rename(f"{staging.path}/deep")
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(highest + spare, hard), hard))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir(tmp_path / "root/store/staging") == []
