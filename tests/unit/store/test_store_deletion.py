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


@pytest.mark.parametrize("descriptors", [100, 4096])
def test_what_is_staged_goes_however_deep_it_is(deep: Path, tmp_path: Path, descriptors: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Staging(f"{tmp_path}/root") as staging:
        deep.rename(f"{staging.path}/deep")
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors, before[1]), before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert os.listdir(tmp_path / "root/store/staging") == []
