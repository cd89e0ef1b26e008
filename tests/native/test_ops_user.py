"""The way into a user namespace: copies of mounts, being born again, and whose child that is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from planlib import CLONE_NEWPID, MS_REC_PRIVATE, PROC, Keeper, run_init, run_probe

from appc.host import netns
from appc.host.userns import make_network
from appc.plan.ops import TREE_MAPPED, Op, Plan, Track
from capabilities import need

pytestmark = pytest.mark.root

CLONE_NEWUSER = 0x10000000
CLONE_NEWNS = 0x20000
INHERIT = ("inherit", "inherit", "inherit")
MAP = ("0 100000 65536",)
INTO = [Op("join", CLONE_NEWUSER), Op("fork", CLONE_NEWPID), Op("unshare", CLONE_NEWNS)]


def plan(tree: Path, *actions: str, after: tuple[Op, ...] = ()) -> Plan:
    """A process that is born into a user namespace, with a root whose owners are mapped."""
    keeper = [Op("userns", MAP, MAP), Op("process", "container", 0, 0, *INHERIT, "", "")]
    keeper += [Op("proceed", ""), Op("ready"), Op("wait")]
    inside = [Op("tree", str(tree), TREE_MAPPED, (), ()), *INTO]
    inside += [Op("root-bind", "#0", str(tree)), Op("act-as", 0, 0), *after, Op("pivot")]
    return Plan([Track("keeper", keeper), Track("container", [*inside, Op("death-signal", 9), run_probe(*actions)])])


def test_the_process_that_was_born_is_the_keeper_s_child(binaries: Path, pod: Path, tree: Path) -> None:
    need("idmap")
    keeper = Keeper(binaries, plan(tree, "report", "exit", "7"), pod)
    assert keeper.report() == ["ready"]
    status, output = keeper.wait()[:2]
    assert status == 7
    values = dict(line.partition("=")[::2] for line in output.splitlines())
    assert (values["pid"], values["uid"]) == ("1", "0 0 0")


def test_what_fails_after_the_birth_is_told(binaries: Path, pod: Path, tree: Path) -> None:
    need("idmap")
    broken = plan(tree, "exit", "0", after=(Op("bind", "#5", "/proc", 0, 0),))
    keeper = Keeper(binaries, broken, pod)
    assert keeper.report() == [f"fail container 6 {errno.EBADF}"]
    assert keeper.wait()[0] == 125


def test_a_tree_is_mounted_once(binaries: Path, pod: Path, tree: Path) -> None:
    need("idmap")
    again = plan(tree, "exit", "0", after=(Op("bind", "#0", "/proc", 0, 0),))
    keeper = Keeper(binaries, again, pod)
    assert keeper.report() == [f"fail container 6 {errno.EBADF}"]
    assert keeper.wait()[0] == 125


def test_maps_the_kernel_refuses(binaries: Path, pod: Path, tree: Path) -> None:
    cases = ((("0 1 1", "0 5 1"), errno.EINVAL), (("x",), errno.EINVAL), (("0 1 1" + " " * 4096,), errno.E2BIG))
    for lines, error in cases:
        refused = plan(tree, "exit", "0")
        refused.tracks[0].ops[0] = Op("userns", lines, MAP)
        keeper = Keeper(binaries, refused, pod)
        assert keeper.report() == [f"fail keeper 0 {error}"]
        assert keeper.wait()[0] == 125


def test_a_copy_carries_no_mounts_to_the_host(binaries: Path, tree: Path, tmp_path: Path) -> None:
    """What the container mounts in a copy of a shared mount stays there."""
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    ops = [Op("unshare", CLONE_NEWNS), Op("propagation", MS_REC_PRIVATE)]
    ops += [Op("tree", str(source), 0, (), ()), Op("root-bind", str(tree), str(tree)), Op("bind", "#0", "/tmp", 0, 0)]
    ops += [Op("mount", "tmpfs", "x", "/tmp/below", 0, ()), Op("pivot"), run_probe("exit", "0")]
    assert run_init(binaries / "appc-init", ops).exit_status == 0
    assert not os.path.ismount(source / "below")


def test_a_mount_mapped_as_it_says_itself(binaries: Path, tree: Path, tmp_path: Path) -> None:
    need("idmap")
    source = tmp_path / "source"
    source.mkdir()
    os.chown(source, 3, 4)
    ops = [Op("unshare", CLONE_NEWNS), Op("propagation", MS_REC_PRIVATE)]
    ops += [Op("tree", str(source), TREE_MAPPED, ("3 1003 1",), ("4 1004 1",)), Op("root-bind", str(tree), str(tree))]
    ops += [Op("bind", "#0", "/tmp", 0, 0), Op("pivot"), run_probe("stat", "/tmp")]
    assert "1003:1004" in run_init(binaries / "appc-init", ops).output


def test_an_overlay_of_mapped_trees_belongs_to_the_namespace(binaries: Path, pod: Path, tree: Path) -> None:
    need("idmap", "mapped-overlay")
    above = pod / "above"
    for name in ("upper", "work"):
        (above / name).mkdir(parents=True)
    mapped = plan(tree, "stat", "/probe", "stat", "/made")
    ops = mapped.track("container").ops
    ops[1:1] = [
        Op("tree", str(above), TREE_MAPPED, (), ()),
        Op("overlay", ("#0",), "#1/upper", "#1/work", ("volatile",), 100000, 100000),
    ]
    index = next(index for index, op in enumerate(ops) if op.name == "root-bind")
    ops[index] = Op("root-bind", "#2", str(tree))
    ops.insert(index + 2, Op("file", "/made", 0o600, b""))
    keeper = Keeper(binaries, mapped, pod)
    assert keeper.report() == ["ready"]
    status, output = keeper.wait()[:2]
    assert (status, output.count(" 0:0 ")) == (0, 2), output
    assert (above / "upper/made").stat().st_uid == 0


@pytest.mark.parametrize("path", ["#7/upper", "#0/../..", "#x", "#0upper"])
def test_layers_lie_in_what_was_opened(binaries: Path, pod: Path, tree: Path, path: str) -> None:
    need("idmap")
    broken = plan(tree, "exit", "0")
    broken.track("container").ops.insert(1, Op("overlay", (path,), "", "", (), 0, 0))
    keeper = Keeper(binaries, broken, pod)
    assert keeper.report()[0].startswith("fail container 1 ")
    assert keeper.wait()[0] == 125


def test_the_user_namespace_that_a_network_belongs_to(binaries: Path, pod: Path, tree: Path, tmp_path: Path) -> None:
    need("idmap")
    network = str(tmp_path / "network")
    make_network(network, 100000, 65536)
    try:
        adopting = plan(tree, "read", "/proc/self/uid_map", after=(PROC,))
        adopting.tracks[0].ops[0] = Op("adopt", CLONE_NEWUSER, network)
        keeper = Keeper(binaries, adopting, pod)
        assert keeper.report() == ["ready"]
        status, output = keeper.wait()[:2]
        assert (status, "100000" in output) == (0, True), output
    finally:
        netns.remove(network)
