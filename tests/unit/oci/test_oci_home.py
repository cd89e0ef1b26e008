"""HOME by the passwd of a root, which an image wrote."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from appc.oci.home import with_home

LINE = "u:x:5:6::/home/u:/bin/sh\n"


def home(root: Path) -> str:
    (variable,) = with_home({"user": {"uid": 5}}, str(root))["env"]
    return str(variable)


def make(place: Path, kind: str) -> None:
    if kind == "file":
        place.write_text(LINE)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        directory = os.open(place.parent, os.O_PATH)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{directory}/passwd")
        os.close(directory)


@pytest.mark.parametrize("kind", ["pipe", "directory", "socket"])
@pytest.mark.parametrize("by_link", [False, True])
def test_what_is_no_file_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, by_link: bool
) -> None:
    """To open a device, such as a watchdog's, does something to the host."""
    (tmp_path / "etc").mkdir()
    if by_link:
        (tmp_path / "real").mkdir()
        make(tmp_path / "real/passwd", kind)
        (tmp_path / "etc/passwd").symlink_to("/real/passwd")
    else:
        make(tmp_path / "etc/passwd", kind)
    opened = os.open
    flags: list[int] = []

    def recording(path: str, how: int, *args: int, **more: int) -> int:
        flags.append(how)
        return opened(path, how, *args, **more)

    monkeypatch.setattr("os.open", recording)
    assert home(tmp_path) == "HOME=/"
    assert flags
    assert all(how & os.O_PATH for how in flags)


def test_a_file_is_read_by_links_inside_the_root_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    make(tmp_path / "passwd", "file")
    assert home(root) == "HOME=/"
    (root / "etc/passwd").symlink_to("../../passwd")
    assert home(root) == "HOME=/"
    make(root / "passwd", "file")
    assert home(root) == "HOME=/home/u"
    (root / "etc/passwd").unlink()
    make(root / "etc/passwd", "file")
    assert home(root) == "HOME=/home/u"
