"""Control groups as far as plain directories can stand in for them: no root, no kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from appc.errors import HostError
from appc.host import cgroupfs, cgroups
from appc.host.probe import HostFacts

UUID = "0f5c9b1e-2222-4222-8222-222222222222"


def v1(base: Path, *controllers: str) -> HostFacts:
    return HostFacts(cgroup="v1", controllers=dict.fromkeys(controllers, str(base)), bases={str(base): str(base)})


def test_stats_of_either_version(tmp_path: Path) -> None:
    """Both versions' files, in one unit each; what is not counted is left out, the first directory wins."""
    old, new = tmp_path / "v1", tmp_path / "v2"
    for directory, files in (
        (
            old,
            {
                "memory.usage_in_bytes": "4096\n",
                "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
                "cpuacct.usage": "5000\n",
            },
        ),
        (
            new,
            {
                "memory.current": "8192\n",
                "memory.peak": "9000\n",
                "memory.events": "low 0\noom 1\noom_kill 2\n",
                "cpu.stat": "usage_usec 7\nuser_usec 5\n",
                "pids.current": "4\n",
                "pids.max": "max\n",
            },
        ),
    ):
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text)
    assert cgroups.stats([str(old)]) == {"memory": 4096, "oom-kills": 3, "cpu": 5000}
    expected = {"memory": 8192, "memory-peak": 9000, "oom-kills": 2, "cpu": 7000, "pids": 4}
    assert cgroups.stats([str(new)]) == expected
    assert cgroups.stats([str(new), str(old)]) == expected
    assert cgroups.stats([str(tmp_path / "gone")]) == {}


def test_a_kernel_without_the_file_is_told(tmp_path: Path) -> None:
    facts = v1(tmp_path, "pids", "hugetlb")
    resources = {"app": {"pids": {"limit": 3}, "hugepageLimits": [{"pageSize": "2MB", "limit": 5}]}}
    result = cgroups.create(UUID, ["app"], resources, facts)
    assert result.outcome == [
        ("app", "pids.limit", "ignored", "this kernel has no pids.max"),
        ("app", "hugepageLimits[0]", "ignored", "this kernel has no hugetlb.2MB.limit_in_bytes"),
    ]
    assert cgroups.pods(facts) == {UUID}
    assert cgroups.remove(result.teardown)
    assert cgroups.pods(facts) == set()
    cgroups.remove_root(facts)
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_is_removed_when_the_rest_cannot_be(tmp_path: Path) -> None:
    """A hierarchy that fails in the middle leaves no half of a pod's groups behind, and is named."""
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").write_text("not a directory")
    places = {"cpu": str(tmp_path / "good"), "pids": str(tmp_path / "bad")}
    facts = HostFacts(cgroup="v1", controllers=places, bases={place: place for place in places.values()})
    with pytest.raises(HostError, match="cannot be made: Not a directory") as caught:
        cgroups.create(UUID, ["app"], {"": {"cpu": {"shares": 5}, "pids": {"limit": 3}}}, facts)
    assert str(tmp_path / "bad") in caught.value.where
    assert cgroups.pod_directories(UUID, facts) == []


def test_a_group_with_something_in_it_is_not_removed(tmp_path: Path) -> None:
    facts = v1(tmp_path, "freezer")
    result = cgroups.create(UUID, ["app"], {}, facts)
    (Path(result.pod_paths[0]) / "busy").write_text("")
    assert not cgroups.remove(result.teardown, patience=0.01)
    with pytest.raises(HostError, match=UUID):
        cgroups.create(UUID, ["app"], {}, facts)


def test_killing_needs_the_right_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.procs").write_text("1\n0\n")

    def refuse(fd: int, signal: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("_signal.pidfd_send_signal", refuse)
    with pytest.raises(HostError, match="process 1 cannot be signalled"):
        cgroups.kill([str(tmp_path)])


def test_what_does_not_die_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in uninterruptible sleep keeps its group; kill gives up after its patience."""
    (tmp_path / "cgroup.procs").write_text("1\n")
    monkeypatch.setattr("_signal.pidfd_send_signal", lambda fd, signal: None)
    assert not cgroups.kill([str(tmp_path)], patience=0.01)
    (tmp_path / "cgroup.procs").write_text("")
    assert cgroups.kill([str(tmp_path)])


def test_a_number_that_left_the_group_is_signalled_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another process's by then: what was listed must still be when it is held."""
    lists = [[1, 4194303], [2]]
    sent: list[int] = []
    monkeypatch.setattr(cgroupfs, "processes", lambda path: lists.pop(0))
    monkeypatch.setattr("_signal.pidfd_send_signal", lambda fd, signal: sent.append(fd))
    assert cgroupfs.signal(str(tmp_path), 9) == 2
    assert sent == []


@pytest.mark.parametrize(
    ("file", "events", "told", "still"),
    [
        ("cgroup.freeze", "cgroup.events", "populated 1\nfrozen 0\n", "populated 1\nfrozen 1\n"),
        ("freezer.state", "freezer.state", "FREEZING\n", "FROZEN\n"),
    ],
)
def test_freezing_takes_until_all_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, events: str, told: str, still: str
) -> None:
    for name in (file, events):
        (tmp_path / name).write_text("")
    asked = [told, told, still]
    wrote: list[str] = []
    monkeypatch.setattr(cgroupfs, "read", lambda path: asked.pop(0) if path.endswith(events) else "")
    monkeypatch.setattr(cgroupfs, "write", lambda path, text: wrote.append(text) if path.endswith(file) else missing())
    cgroupfs.freeze([str(tmp_path)], True)
    assert asked == []
    monkeypatch.setattr(cgroupfs, "read", lambda path: told)
    with pytest.raises(HostError, match="does not stand still"):
        cgroupfs.freeze([str(tmp_path)], True, patience=0.01)
    assert wrote in (["1", "1", "0"], ["FROZEN", "FROZEN", "THAWED"])


def missing() -> None:
    raise FileNotFoundError
