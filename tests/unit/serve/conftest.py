"""What the tests of hosting share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The directory that is served."""
    (tmp_path / "images").mkdir()
    return tmp_path / "images"
