"""What the verbs on the way of a launch import: time a user waits for, every time.

Counted as modules, because wall time says more about the machine than about the change.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from appc.cli.main import FAST, VERBS
from starter import BANNED, START

# The service of the metadata serves for a while, and pays for its HTTP library.
LAUNCH = tuple(verb for verb in FAST if verb != "metadata-service")


# How many modules of ours a verb may import when it is called. Each costs a tenth of a millisecond, every time: what is
# needed only sometimes is imported where it is needed.
MOST = {"run": 83, "list": 20, "status": 27, "enter": 25, "logs": 27, "stop": 25, "finish": 18, "version": 11}
# And for a pod that was compiled before (executor/replay.py): the command line, looking things up, starting.
MOST_REPLAYED = 39


def modules(action: str) -> set[str]:
    """Return the modules in a Python that was started as the starter starts it, after `action`."""
    code = f"{START}; from appc.cli.main import load, main; {action}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("verb", LAUNCH)
def test_a_fast_verb_imports_nothing_dear(verb: str) -> None:
    assert not modules(f"load({verb!r})") & BANNED


@pytest.mark.parametrize("verb", MOST)
def test_a_verb_a_user_waits_for_imports_few_modules(verb: str) -> None:
    ours = sorted(name for name in modules(f"load({verb!r})") if name.split(".")[0] == "appc")
    assert len(ours) <= MOST[verb], ours


def test_a_pod_that_was_compiled_before_needs_half_of_them() -> None:
    ours = [name for name in modules("import appc.cli.main, appc.executor.replay") if name.split(".")[0] == "appc"]
    assert len(ours) <= MOST_REPLAYED, ours
    assert not [name for name in ours if name.startswith(("appc.formats.", "appc.plan."))]


@pytest.mark.parametrize(
    "words",
    [["version"], ["list"], ["list", "--format", "json"], ["completion-values", "pod"]],
    ids=" ".join,
)
def test_running_it_imports_nothing_dear_either(words: list[str], tmp_path: Path) -> None:
    action = f"main(['--root', {str(tmp_path)!r}, *{words!r}])"
    assert not modules(action) & BANNED


def test_an_image_that_was_fetched_from_a_registry_costs_little_more(tmp_path: Path) -> None:
    """What the store has is taken without the client, which is as dear as everything else together."""
    action = (
        "from appc.images.registry_known import Wanted; from appc.store.images import ImageStore; "
        f"Wanted(ImageStore({str(tmp_path)!r}), 'docker://r.io/app:1', (), ('linux', 'amd64'))"
    )
    assert not modules(action) & BANNED


def test_reading_the_configuration_imports_nothing_dear(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"logs": {"files": 2}}')
    assert not modules(f"from appc.config import load as read; read(({str(tmp_path)!r},))") & BANNED


def test_an_error_of_usage_is_cheap_until_something_is_wrong(tmp_path: Path) -> None:
    assert "difflib" not in modules(f"main(['--root', {str(tmp_path)!r}, 'list', '--full'])")


def test_version_imports_a_handful_of_modules_of_ours() -> None:
    ours = {name for name in modules("main(['version'])") if name.startswith("appc")}
    assert ours == {
        "appc",
        "appc.cli",
        "appc.cli.context",
        "appc.cli.main",
        "appc.cli.options",
        "appc.cli.output",
        "appc.cli.version",
        "appc.config",
        "appc.errors",
        "appc.startup",
        "appc.version",
    }


@pytest.mark.parametrize("verb", VERBS)
def test_every_table_can_be_read_with_the_standard_library_alone(verb: str) -> None:
    """Help, completions and manual pages are made before the dependencies are installed."""
    third_party = {"deflate", "h11", "isal", "jeepney", "pysequoia", "rich", "urllib3", "yaml"}
    assert not modules(f"load({verb!r})") & third_party
