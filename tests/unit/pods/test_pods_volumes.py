"""Volume Setup (ace.md): every rule and every warning."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pod_fixtures import IMAGE_ID, tree

from appc.errors import AppcError
from appc.pods import volumes
from appc.pods.volumes import ResolvedMount
from appc.schema.pod import PodManifest


def manifest(mounts: list[dict[str, Any]], pods: list[dict[str, Any]], points: list[dict[str, Any]]) -> PodManifest:
    app = {"exec": ["/x"], "user": "0", "group": "0", "mountPoints": points}
    entry = {"name": "web", "image": {"id": IMAGE_ID}, "app": app, "mounts": mounts}
    return PodManifest.parse({"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [entry], "volumes": pods})


class Case:
    """A host directory, an image's tree and what was warned of."""

    def __init__(self, base: Path) -> None:
        self.host = base / "host"
        (self.host / "dir").mkdir(parents=True)
        (self.host / "file").write_text("x")
        self.image = base / "image"
        self.view = tree(self.image, {"etc/conf": "x", "full/file": "x", "empty": None})
        self.warnings: list[str] = []

    def resolve(self, path: str = "/data", point: dict[str, Any] | None = None, **volume: Any) -> ResolvedMount:
        """The one mount of a volume at `path`."""
        fields = {"name": "v", "kind": "host", "source": str(self.host / "dir"), **volume}
        if fields["kind"] == "empty":
            del fields["source"]
        points = [{"name": "v", "path": path, **point}] if point is not None else []
        (mount,) = self.all([{"volume": "v", "path": path}], [fields], points)
        return mount

    def all(
        self, mounts: list[dict[str, Any]], pods: list[dict[str, Any]], points: list[dict[str, Any]] | None = None
    ) -> list[ResolvedMount]:
        pod = manifest(mounts, pods, points or [])
        return volumes.resolve(pod, pod.apps[0], "/pod/volumes", self.view, self.warnings)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path.resolve())


def test_a_host_directory(case: Case) -> None:
    mount = case.resolve("//data/./x/")
    assert (mount.volume, mount.source, mount.target) == ("v", str(case.host / "dir"), "/data/x")
    assert (mount.read_only, mount.recursive, mount.is_directory, mount.replaces_file) == (False, True, True, False)
    assert case.warnings == []


def test_an_empty_volume_lies_in_the_pod(case: Case) -> None:
    mount = case.resolve(kind="empty")
    assert (mount.source, mount.recursive, mount.is_directory) == ("/pod/volumes/v", False, True)


@pytest.mark.parametrize(
    ("volume", "point", "expected"),
    [
        (None, None, False),
        (None, False, False),
        (None, True, True),
        (True, None, True),
        (True, False, True),
        (False, True, False),
        (False, None, False),
    ],
)
def test_readonly_is_the_volumes_word_then_the_mount_points(
    case: Case, volume: bool | None, point: bool | None, expected: bool
) -> None:
    fields = {} if volume is None else {"readOnly": volume}
    assert case.resolve(point=None if point is None else {"readOnly": point}, **fields).read_only is expected


@pytest.mark.parametrize(("recursive", "expected"), [(None, True), (True, True), (False, False)])
def test_recursion_is_the_default(case: Case, recursive: bool | None, expected: bool) -> None:
    assert case.resolve(**({} if recursive is None else {"recursive": recursive})).recursive is expected


def test_a_file_as_a_volume(case: Case) -> None:
    source = str(case.host / "file")
    fresh = case.resolve("/new", source=source)
    assert (fresh.is_directory, fresh.replaces_file) == (False, False)
    assert case.warnings == []
    over = case.resolve("/etc/conf", source=source)
    assert (over.is_directory, over.replaces_file) == (False, False)
    assert case.warnings == ["app web: the image's file /etc/conf is masked by a volume"]
    with pytest.raises(AppcError, match="a file cannot be mounted over the image's directory /full"):
        case.resolve("/full", source=source)


def test_what_the_image_has_at_the_target(case: Case) -> None:
    assert not case.resolve("/empty").replaces_file
    assert case.warnings == []
    assert not case.resolve("/full").replaces_file
    assert case.resolve("/etc/conf").replaces_file
    assert case.warnings == [
        "app web: the image's files below /full are masked by a volume",
        "app web: the image's file /etc/conf is replaced by a volume",
    ]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("absent", "No such file or directory"),
        ("absent/below", "No such file or directory"),
        ("file/below", "Not a directory"),
        ("link", "{host}/link is a symbolic link"),
        ("way/dir", "{host}/way is a symbolic link"),
        ("dangling", "{host}/dangling is a symbolic link"),
    ],
)
def test_sources_that_are_refused(case: Case, source: str, reason: str) -> None:
    (case.host / "link").symlink_to("dir")
    (case.host / "way").symlink_to(".")
    (case.host / "dangling").symlink_to("absent")
    path = f"{case.host}/{source}"
    with pytest.raises(AppcError) as caught:
        case.resolve(source=path)
    assert str(caught.value) == f"app web: source {path} of volume v: {reason.format(host=case.host)}"
    assert caught.value.hint
    assert not (case.host / "absent").exists()


def test_the_whole_host_as_a_volume(case: Case) -> None:
    assert case.resolve(source="/").is_directory
    assert case.resolve(source=f"{case.host}/../host/dir").is_directory


def test_a_volume_of_one_mount_goes_before_the_pods(case: Case) -> None:
    own = {"name": "v", "kind": "host", "source": str(case.host / "file")}
    mounts = [{"volume": "v", "path": "/a"}, {"volume": "v", "path": "/b", "appVolume": own}]
    first, second = case.all(mounts, [{"name": "v", "kind": "empty"}])
    assert (first.source, second.source) == ("/pod/volumes/v", str(case.host / "file"))


def test_mounts_come_in_the_order_of_their_targets(case: Case) -> None:
    paths = ["/z", "/a", "/m/n"]
    mounts = case.all([{"volume": "v", "path": path} for path in paths], [{"name": "v", "kind": "empty"}])
    assert [mount.target for mount in mounts] == sorted(paths)


@pytest.mark.parametrize(
    ("link", "target", "first", "second"),
    [
        ("same", "full", "/full", "/same"),
        ("up", "/", "/full", "/up/full/x"),
        ("a", "b/c", "/a/x/y", "/b/c/x"),
    ],
)
def test_targets_that_overlap_by_way_of_links(case: Case, link: str, target: str, first: str, second: str) -> None:
    (case.image / link).symlink_to(target)
    (case.image / "b/c").mkdir(parents=True)
    with pytest.raises(AppcError, match=r"app web: the mount at .* overlaps the one at "):
        case.all([{"volume": "v", "path": path} for path in (first, second)], [{"name": "v", "kind": "empty"}])


def test_targets_that_only_look_alike(case: Case) -> None:
    (case.image / "loop").symlink_to("loop")
    paths = ["/data", "/data2", "/loop/x", "/loop/y"]
    case.all([{"volume": "v", "path": path} for path in paths], [{"name": "v", "kind": "empty"}])


def test_empty_volumes_are_made_with_their_owner_and_mode(tmp_path: Path) -> None:
    uid, gid = os.getuid(), os.getgid()
    own = {"name": "w", "kind": "empty", "mode": "1777", "uid": uid, "gid": gid}
    pod = manifest(
        [{"volume": "w", "path": "/w", "appVolume": own}],
        [
            {"name": "v", "kind": "empty", "mode": "2750", "uid": uid, "gid": gid},
            {"name": "h", "kind": "host", "source": "/"},
        ],
        [],
    )
    volumes.make_empty(pod, str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["v", "w"]
    for name, mode in (("v", 0o2750), ("w", 0o1777)):
        status = os.stat(tmp_path / name)
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, uid, gid)
