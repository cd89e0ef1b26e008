"""What an ordinary user is given by /etc/subuid, and how it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appc.host import rootless


def test_ranges_are_found_by_name_and_by_number(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("root:5:6\n0:100:2\nother:7:8\n# root\nroot:x:1\nroot:9\nroot:11:0\n")
    assert rootless._ranges(str(file), 0) == [(5, 6), (100, 2)]
    assert rootless._ranges(str(tmp_path / "none"), 0) == []


def test_the_user_comes_first_and_then_its_ranges() -> None:
    words = rootless._command("/usr/bin/newuidmap", 1000, [(100000, 65536), (300000, 10)])
    assert words == ["/usr/bin/newuidmap", *["0", "1000", "1", "1", "100000", "65536", "65537", "300000", "10"]]


def test_a_process_that_is_gone_is_not_joined() -> None:
    with pytest.raises(Exception, match="cannot be joined"):
        rootless.join(2**22 + 1)
    assert os.geteuid() == os.getuid()
