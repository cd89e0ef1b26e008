"""What a builder that was killed leaves is in the store, and collected from there."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from appc.build.image import build_generated
from appc.build.outfile import Output
from appc.cli.main import main
from appc.formats.acibuild import Times


def test_a_killed_build_leaves_only_what_is_collected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def make(directory: str) -> tuple[str, bytes]:
        (Path(directory) / "rootfs").mkdir()
        (Path(directory) / "rootfs/half").write_bytes(bytes(100))
        os.kill(os.getpid(), signal.SIGKILL)
        return "", b""

    before = set(os.listdir(tempfile.gettempdir()))
    child = os.fork()
    if child == 0:
        try:
            build_generated(Output(f"{tmp_path}/x.aci"), make, f"{tmp_path}/root", owner_root=True, times=Times(0))
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("appc-")} <= before
    assert os.listdir(tmp_path) == ["root"]
    assert len(os.listdir(tmp_path / "root/store/staging")) == 1
    assert main(["--root", f"{tmp_path}/root", "image", "gc"]) == 0
    assert "staging" in capsys.readouterr().out
    assert os.listdir(tmp_path / "root/store/staging") == []
