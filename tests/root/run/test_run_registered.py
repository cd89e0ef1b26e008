"""`--register` where systemd is not the init: refused before anything of the pod runs."""

from __future__ import annotations

import pytest
from pod_kit import PROBE, Appc

from appc.host import systemd


def test_without_systemd_nothing_runs(appc: Appc) -> None:
    if systemd.booted():
        pytest.skip("this host was booted with systemd")
    for words in (("--register",), ("--register", "--detach")):
        done = appc.run(*words, PROBE, "--", "echo", "hello")
        assert (done.status != 0, done.out) == (True, "")
        assert done.err == "appc: --register: this host was not booted with systemd\n"
        assert appc.pods() == []
    uuid = appc("prepare", PROBE).out.strip()
    assert "--register" in appc("run-prepared", "--register", uuid).err
    assert [pod.phase for pod in appc.pods()] == ["prepared"]
