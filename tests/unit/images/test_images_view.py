"""Looking into merged trees: what the app will see, and nothing outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appc.images.view import TreeView


def tree(base: Path, files: dict[str, str | None]) -> str:
    """A tree: content, None for a directory, "-> x" for a link."""
    base.mkdir(parents=True)
    for name, content in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    return str(base)


@pytest.fixture
def view(tmp_path: Path) -> TreeView:
    bottom = {
        "etc/passwd": "root", "etc/only": "below", "lib/a": "a", "was-dir/file": "hidden", "was-file": "x",
        "usr/lib/real": "real", "under-link/file": "hidden",
    }  # fmt: skip
    middle: dict[str, str | None] = {"was-dir": "now a file", "was-file/inner": "dir now", "under-link": "-> usr"}
    top: dict[str, str | None] = {
        "etc/passwd": "app", "was-dir/new": "dir again", "lib64": "-> usr/lib", "abs": "-> /etc/passwd",
        "up": "-> ../../../etc/passwd", "loop": "-> loop", "a": "-> b", "b": "-> a", "out": "-> /etc/shadow",
        "dots": "-> ./usr/../usr/./lib//real", "chain": "-> abs",
    }  # fmt: skip
    return TreeView(
        (tree(tmp_path / "top", top), tree(tmp_path / "middle", middle), tree(tmp_path / "bottom", bottom))  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/etc/passwd", "app"),
        ("etc/passwd", "app"),
        ("/etc/only", "below"),
        ("/etc/../etc/./only", "below"),
        ("/../../etc/only", "below"),
        ("/lib64/real", "real"),
        ("/abs", "app"),
        ("/up", "app"),
        ("/chain", "app"),
        ("/dots", "real"),
        ("/was-dir/new", "dir again"),
        ("/was-file/inner", "dir now"),
        ("/lib64/../a", None),
        ("/was-dir/file", None),
        ("/under-link/file", None),
        ("/under-link/lib/real", "real"),
        ("/out", None),
        ("/absent", None),
        ("/etc/passwd/x", None),
        ("/loop", None),
        ("/a", None),
        ("/etc", None),
    ],
)
def test_reading_follows_links_within_the_merged_tree(view: TreeView, path: str, content: str | None) -> None:
    if content is None:
        with pytest.raises(OSError):  # noqa: PT011 - which one is another test
            view.read(path, 100)
    else:
        assert view.read(path, 100) == content.encode()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/absent", FileNotFoundError),
        ("/etc/passwd/x", NotADirectoryError),
        ("/etc/passwd/..", NotADirectoryError),
        ("/etc", IsADirectoryError),
        ("/", IsADirectoryError),
    ],
)
def test_errors_are_those_the_kernel_would_give(view: TreeView, path: str, error: type[OSError]) -> None:
    with pytest.raises(error):
        view.read(path, 100)


def test_loops_end(view: TreeView) -> None:
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        view.stat("/loop")
    assert view.readlink("/loop") == "loop"


def test_directories_are_merged_from_the_top_down_to_the_first_obstacle(view: TreeView) -> None:
    assert view.listdir("/etc") == ["only", "passwd"]
    assert view.listdir("/was-dir") == ["new"]
    assert view.listdir("/was-file") == ["inner"]
    assert "lib64" in view.listdir("/")
    assert "lib" in view.listdir("/")
    path, hosts = view.lookup("/etc/../etc")
    assert path == "/etc"
    assert hosts == (f"{view.lowers[0]}/etc", f"{view.lowers[2]}/etc")
    assert view.lookup("/") == ("/", view.lowers)


def test_the_topmost_tree_decides_owner_and_mode(view: TreeView) -> None:
    os.chmod(f"{view.lowers[0]}/etc", 0o700)
    os.chmod(f"{view.lowers[2]}/etc", 0o777)
    assert view.stat("/etc").st_mode & 0o777 == 0o700


def test_reading_is_bounded_and_never_blocks(view: TreeView) -> None:
    with pytest.raises(OSError, match="File too large"):
        view.read("/etc/only", 4)
    assert view.read("/etc/only", 100, 3) == b"bel"
    os.mkfifo(f"{view.lowers[0]}/pipe")
    with pytest.raises(OSError, match="Invalid argument"):
        view.read("/pipe", 100)
    assert view.read("/etc/only", 5) == b"below"


def test_what_is_no_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a device that an image has there, such as a watchdog's, does something to the host."""
    os.mkfifo(tmp_path / "pipe")
    opened: list[str] = []
    monkeypatch.setattr("os.open", lambda path, *_, **__: opened.append(path))
    with pytest.raises(OSError, match="Invalid argument"):
        TreeView((str(tmp_path),)).read("/pipe", 100)
    assert opened == []
