"""Which AppArmor profiles are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from appc.host.apparmor import missing


@pytest.mark.parametrize(
    ("profile", "lacking"),
    [
        ("web", ""),
        ("with a blank", ""),
        ("web//&with a blank", ""),
        ("unconfined", ""),
        ("web//&absent", "absent"),
        ("absent", "absent"),
        ("we", "we"),
        (":other:absent", ""),
    ],
)
def test_what_is_not_loaded_is_named(tmp_path: Path, profile: str, lacking: str) -> None:
    (tmp_path / "profiles").write_text("web (enforce)\nwith a blank (complain)\n")
    assert missing(profile, str(tmp_path / "profiles")) == lacking


def test_where_nothing_is_shown_the_kernel_decides(tmp_path: Path) -> None:
    assert missing("absent", str(tmp_path / "profiles")) == ""
