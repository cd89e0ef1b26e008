"""Which user namespace an ordinary user's verbs are performed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from appc.cli import rootless
from appc.cli.context import Context
from appc.pods.layout import Pod

FIRST, SECOND = (f"{digit * 8}-89ab-4cde-8f01-23456789abcd" for digit in "ab")
KEEPERS = {FIRST: 101, SECOND: 202}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Two pods that run."""
    for uuid, keeper in KEEPERS.items():
        status = Path(Pod(str(tmp_path), "run", uuid).file("status"))
        status.mkdir(parents=True)
        (status / "_keeper").write_text(f"pid={keeper}\nstarttime=1\n")
    return Context(str(tmp_path), str(tmp_path / "state"), [str(tmp_path)])


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes whose user namespaces were joined; 0 is one of our own."""
    found: list[int] = []
    monkeypatch.setattr(rootless.rootless, "join", found.append)
    monkeypatch.setattr(rootless.rootless, "enter", lambda: not found.append(0))
    return found


@pytest.mark.parametrize(
    ("verb", "words", "keeper"),
    [
        ("enter", [SECOND, "/bin/cat", "a"], 202),
        ("enter", ["--app", "a", "b"], 202),
        ("update", ["--app=a", "bbbb", "--memory", "1Mi"], 202),
        ("app rm", ["bbbb", "aaaa"], 202),
        ("cp", ["aaaa", "bbbb:/aaaa"], 202),
        ("cp", ["aaaa:web:/x", "b"], 101),
        ("top", [], 0),
        ("top", ["cccc", "BBBB"], 202),
        ("enter", ["cccc", "aaaa"], 0),
        ("enter", ["bbbb", "/bin/ls", "--help"], 202),
        ("enter", ["bbbb", "--help"], 0),
        ("run", ["--net", "pod:bbbb", "image", "--", "pod:aaaa"], 202),
        ("run", ["--net=default", "image", "--", "--net=pod:aaaa"], 0),
        ("run", ["image"], 0),
    ],
)
def test_the_pod_that_is_meant(context: Context, joined: list[int], verb: str, words: list[str], keeper: int) -> None:
    rootless.enter(context, verb, words)
    assert joined == [keeper]


@pytest.mark.parametrize(
    ("words", "concerned"),
    [
        (["layout", "out.aci"], False),
        (["--manifest", "-f", "tree", "out.aci"], False),
        (["-f", "Appfile.toml", "out.aci"], True),
        (["-fAppfile.toml", "out.aci"], True),
        (["--file=Appfile.toml", "out.aci"], True),
        (["--help"], False),
    ],
)
def test_a_build_by_a_file_needs_users(words: list[str], concerned: bool) -> None:
    assert rootless.concerns("image build", words) is concerned
