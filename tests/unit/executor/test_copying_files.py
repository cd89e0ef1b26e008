"""What `appc cp` opens in the root of an app that goes on changing it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appc.executor.copying import _open_regular


def test_what_took_a_file_s_place_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a device does something to the host."""
    (tmp_path / "file").write_text("content")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    directory = os.open(tmp_path, os.O_PATH)
    opened = os.open
    flags: list[int] = []

    def recording(path: str, how: int, *args: int, **more: int) -> int:
        flags.append(how)
        return opened(path, how, *args, **more)

    monkeypatch.setattr("os.open", recording)
    try:
        for name in ("pipe", "link"):
            with pytest.raises(OSError, match="Stale"):
                _open_regular(name, directory)
        assert flags
        assert all(how & os.O_PATH for how in flags)
        fd = _open_regular("file", directory)
        assert os.read(fd, 100) == b"content"
        os.close(fd)
    finally:
        os.close(directory)
