"""What every test may rely on: `tests/` on the path, markers, and the sandbox that tolerates no leftovers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

sys.path.insert(0, os.path.dirname(__file__))

from capabilities import missing
from leftovers import snapshot

# How long an example takes says nothing on a machine that also does other work.
hypothesis.settings.register_profile("appc", deadline=None)
hypothesis.settings.load_profile("appc")

# What a whole directory or marker needs; single tests ask with capabilities.need().
_NEEDED_BY_MARKER = {"root": ("root",), "vm": ("vm",)}


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what it runs in the background with SIGINT ignored, and every child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for marker in (
        "root: changes mounts, cgroups or namespaces as root",
        "vm: boots a virtual machine",
        "interop: compares with other container tools",
        "slow: takes more than ten seconds",
    ):
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the directory they lie in: everything below tests/root is `root`, and so on."""
    here = Path(__file__).parent
    for item in items:
        top = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if top in ("root", "vm", "interop"):
            item.add_marker(top)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, names in _NEEDED_BY_MARKER.items():
        if item.get_closest_marker(marker):
            for name in names:
                reason = missing(name)
                if reason and os.environ.get("APPC_MUST") == "1":
                    pytest.fail(f"needs {name}: {reason}", pytrace=False)
                if reason:
                    pytest.skip(f"needs {name}: {reason}")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Path]:
    """A directory of the test's own; afterwards no mount, cgroup, network namespace or process may be left.

    What is left fails the test, and is cleared away so that the next test starts clean.
    """
    before = snapshot(tmp_path.parent)
    yield tmp_path
    left = before.leftovers()
    if left:
        left.clear()
        pytest.fail("the test left behind:\n" + "\n".join(left.lines()), pytrace=False)
