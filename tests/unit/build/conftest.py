"""Builds of these tests work in a store of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory that commands use unless they are told another."""
    made = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("APPC_ROOT", str(made))
    return made
