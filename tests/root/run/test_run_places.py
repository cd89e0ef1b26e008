"""Where the directories of images, pods and sockets may be."""

from __future__ import annotations

from pathlib import Path

import pytest
from pod_kit import ASK_UUID, PROBE, Appc, base_files, one_app

pytestmark = pytest.mark.root


def test_paths_longer_than_a_socket_address(appc: Appc, sandbox: Path) -> None:
    """Pods tell, are told and ask by way of sockets, the addresses of which have at most 107 bytes."""
    mine = Appc(sandbox / ("a-directory-with-a-long-name" * 4) / "and-one-below-it")
    mine.add(mine.base / "x.aci", base_files(), PROBE, app=one_app())
    uuid = mine.detached(PROBE, "--", "wait")
    for _ in range(2):
        assert uuid in mine("enter", uuid, "/bin/sh", "-c", ASK_UUID).out
    assert mine("app", "add", uuid, PROBE, "--name", "late", "--", "wait").status == 0
    assert mine("update", uuid, "--app", "late", "--pids", "20").status == 0
    assert mine("stop", uuid).status == 0
    mine.clear()
