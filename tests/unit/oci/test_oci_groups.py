"""Which control group a command comes into, and who is signalled in a container's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appc.oci.container import Container
from appc.oci.execute import _inhabitable
from appc.oci.life import _signal_all


@pytest.fixture
def unified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hierarchy in which this process is two groups below the container `c`."""
    own = tmp_path / "c/service/deep"
    own.mkdir(parents=True)
    (tmp_path / "membership").write_text("3:cpu:/elsewhere\n0::/c/service/deep\n")
    real = open

    def opened(path: str, *args: object, **more: object) -> object:
        return real(tmp_path / "membership" if path == f"/proc/{os.getpid()}/cgroup" else path, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", opened)
    return tmp_path


def test_a_group_that_gave_controllers_away_holds_no_command(unified: Path) -> None:
    """As with systemd in a container, whose first process is in a group below."""
    control = unified / "c/cgroup.subtree_control"
    groups = [f"{unified}/c", "/v1/c"]
    control.write_text("\n")
    assert [_inhabitable(group, os.getpid(), str(unified)) for group in groups] == groups
    control.write_text("pids memory\n")
    found = [_inhabitable(group, os.getpid(), str(unified)) for group in groups]
    assert found == [f"{unified}/c/service/deep", "/v1/c"]


def test_a_process_elsewhere_draws_nobody_out_of_the_container(unified: Path) -> None:
    (unified / "d").mkdir()
    (unified / "d/cgroup.subtree_control").write_text("pids\n")
    assert _inhabitable(f"{unified}/d", os.getpid(), str(unified)) == f"{unified}/d"
    (unified / "membership").write_text("0::/dd\n")
    assert _inhabitable(f"{unified}/d", os.getpid(), str(unified)) == f"{unified}/d"


def test_what_is_killed_while_it_is_frozen_is_thawed(tmp_path: Path) -> None:
    """Under cgroup v1 it would wait for that to die."""
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "freezer.state").write_text("FROZEN\n")
    container = Container(str(tmp_path), "one")
    container.record = {"cgroups": [str(tmp_path)]}
    _signal_all(container, 15)
    assert (tmp_path / "freezer.state").read_text() == "FROZEN\n"
    _signal_all(container, 9)
    assert (tmp_path / "freezer.state").read_text().strip() == "THAWED"
