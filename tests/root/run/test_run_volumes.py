"""Volume Setup (ace.md) as apps and users meet it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, Done, one_app, pod_manifest


@pytest.fixture
def data(sandbox: Path) -> Path:
    """A directory of the host with a file in it."""
    directory = sandbox / "data"
    directory.mkdir()
    (directory / "file").write_text("of the host\n")
    return directory


def mounted(appc: Appc, volume: str, *actions: str, target: str = "/data", app: tuple[str, ...] = ()) -> Done:
    """Run the probe with one volume, called v."""
    return appc.run("--volume", f"v,{volume}", PROBE, "--mount", f"volume=v,target={target}", *app, "--", *actions)


def test_a_host_directory(appc: Appc, data: Path) -> None:
    done = mounted(appc, f"kind=host,source={data}", "read", "/data/file", "write", "/data/new", "from inside")
    assert (done.status, done.err) == (0, "")
    assert done.out == "of the host\n/data/new: written\n"
    assert (data / "new").read_text() == "from inside"


def test_a_read_only_volume(appc: Appc, data: Path) -> None:
    done = mounted(appc, f"kind=host,source={data},readOnly=true", "read", "/data/file", "write", "/data/new", "x")
    assert done.out.startswith("of the host\n/data/new: errno 30 ")
    assert not (data / "new").exists()


@pytest.fixture
def nested(data: Path) -> Iterator[Path]:
    """A file system mounted below the volume's source."""
    (data / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", str(data / "below")], check=True)
    (data / "below/deep").write_text("deep\n")
    yield data
    subprocess.run(["umount", str(data / "below")], check=True)


def test_volumes_are_recursive_unless_told_otherwise(appc: Appc, nested: Path) -> None:
    assert mounted(appc, f"kind=host,source={nested}", "read", "/data/below/deep").out == "deep\n"
    flat = mounted(appc, f"kind=host,source={nested},recursive=false", "read", "/data/below/deep")
    assert "errno 2 " in flat.out


def test_read_only_holds_for_what_is_mounted_below(appc: Appc, nested: Path) -> None:
    done = mounted(appc, f"kind=host,source={nested},readOnly=true", "write", "/data/below/new", "x")
    assert "errno 30 " in done.out
    assert not (nested / "below/new").exists()


def test_a_single_file(appc: Appc, data: Path) -> None:
    source = data / "file"
    fresh = mounted(appc, f"kind=host,source={source}", "read", "/etc/new.conf", target="/etc/new.conf")
    assert (fresh.out, fresh.err) == ("of the host\n", "")
    over = mounted(appc, f"kind=host,source={source}", "read", "/one-file", target="/one-file")
    assert over.out == "of the host\n"
    assert over.err == "appc: warning: app probe: the image's file /one-file is masked by a volume\n"


def test_a_missing_target_is_made_with_its_parents(appc: Appc) -> None:
    done = mounted(appc, "kind=empty", "stat", "/new", "stat", "/new/place", target="/new/place")
    for line in done.out.splitlines():
        _, mode, owner, *_ = line.split(" ")
        assert (mode, owner) == ("040755", "0:0")


def test_files_below_a_volume_are_masked_with_a_warning(appc: Appc) -> None:
    done = mounted(appc, "kind=empty", "list", "/masked", target="/masked")
    assert done.out == ""
    assert done.err == "appc: warning: app probe: the image's files below /masked are masked by a volume\n"


def test_a_file_makes_way_for_a_directory_with_a_warning(appc: Appc) -> None:
    done = mounted(appc, "kind=empty", "write", "/one-file/x", "x", target="/one-file")
    assert done.out == "/one-file/x: written\n"
    assert done.err == "appc: warning: app probe: the image's file /one-file is replaced by a volume\n"


def test_an_empty_volume_has_the_owner_and_mode_it_asks_for(appc: Appc) -> None:
    done = mounted(appc, "kind=empty,mode=1770,uid=12,gid=34", "stat", "/data", "list", "/data")
    assert done.out.split(" ")[:3] == ["/data", "041770", "12:34"]
    plain = mounted(appc, "kind=empty", "stat", "/data")
    assert plain.out.split(" ")[:3] == ["/data", "040755", "0:0"]


def test_an_empty_volume_is_shared_by_the_apps_and_goes_with_the_pod(appc: Appc) -> None:
    mount = ("--mount", "volume=v,target=/shared")
    writer = (PROBE, "--name", "writer", *mount, "--", "write", "/shared/word", "hello")
    reader = (PROBE, "--name", "reader", *mount, "--exec", "/bin/sh", "--")
    loop = "until [ -s /shared/word ]; do sleep 0.01; done; cat /shared/word"
    done = appc.run("--volume", "v,kind=empty", *writer, "---", *reader, "-c", loop)
    assert "reader: hello" in done.out
    pod = appc.the_pod()
    assert Path(pod.file("volumes/v/word")).read_text() == "hello"
    assert appc("rm", pod.uuid).status == 0
    assert not Path(pod.path).exists()


def test_the_volumes_readonly_goes_before_the_mount_points(appc: Appc, data: Path, sandbox: Path) -> None:
    appc.add(
        sandbox / "points.aci",
        name="example.com/points",
        app=one_app(mountPoints=[{"name": "v", "path": "/data", "readOnly": True}]),
        dependencies=[{"imageName": PROBE}],
    )
    words = ("example.com/points", "--", "write", "/data/new", "x")
    said_nothing = appc.run("--volume", f"v,kind=host,source={data}", *words)
    assert "errno 30 " in said_nothing.out
    said_no = appc.run("--volume", f"v,kind=host,source={data},readOnly=false", *words)
    assert said_no.out == "/data/new: written\n"


def test_a_mount_point_without_a_volume_gets_an_empty_one(appc: Appc, sandbox: Path) -> None:
    appc.add(
        sandbox / "point.aci",
        name="example.com/point",
        app=one_app(mountPoints=[{"name": "db", "path": "/db"}]),
        dependencies=[{"imageName": PROBE}],
    )
    done = appc.run("example.com/point", "--", "write", "/db/x", "x")
    assert done.out == "/db/x: written\n"
    assert done.err == (
        "appc: warning: app point: no volume for mount point db (/db); an empty one is used, "
        "--volume db,kind=host,source=/PATH\n"
    )
    refused = appc.run("--strict", "example.com/point", "--", "write", "/db/x", "x")
    assert refused.status == 1
    assert refused.err.splitlines() == [
        "appc: app point: no volume fulfils mount point db (/db)",
        "hint: add --volume db,kind=host,source=/PATH",
    ]


def test_volumes_of_one_mount_alone(appc: Appc, sandbox: Path, data: Path) -> None:
    image = appc.add(sandbox / "x.aci", name="example.com/x", dependencies=[{"imageName": PROBE}])
    mount = {"volume": "v", "path": "/data"}
    own = {**mount, "appVolume": {"name": "v", "kind": "host", "source": str(data)}}
    apps = [
        {"name": "pods", "image": {"id": image}, "app": one_app(["/probe", "list", "/data"]), "mounts": [mount]},
        {"name": "own", "image": {"id": image}, "app": one_app(["/probe", "list", "/data"]), "mounts": [own]},
    ]
    manifest = pod_manifest(sandbox / "pod.json", apps, volumes=[{"name": "v", "kind": "empty"}])
    assert appc.run("--pod-manifest", manifest).out == "own: file\n"


def test_mounts_of_all_apps_and_of_one(appc: Appc, data: Path) -> None:
    other = data / "other"
    other.mkdir()
    done = appc.run(
        *("--volume", f"all,kind=host,source={data}", "--volume", f"mine,kind=host,source={other}"),
        *("--mount", "volume=all,target=/data"),
        *(PROBE, "--name", "a", "--", "list", "/data"),
        *("---", PROBE, "--name", "b", "--mount", "volume=mine,target=/data", "--", "list", "/data"),
    )
    assert sorted(done.out.splitlines()) == ["a: file", "a: other"]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda data: data / "missing", "No such file or directory"),
        (lambda data: link(data / "link", data), "{source} is a symbolic link"),
        (lambda data: link(data / "way", data) / "file", "{data}/way is a symbolic link"),
        (lambda data: data / "file/x", "Not a directory"),
    ],
)
def test_sources_that_are_refused(appc: Appc, data: Path, make: object, what: str) -> None:
    source = make(data)  # type: ignore[operator]
    before = sorted(os.listdir(data))
    done = mounted(appc, f"kind=host,source={source}", "report")
    assert done.status == 1
    line, hint = done.err.splitlines()
    reason = what.format(source=source, data=data)
    assert line == f"appc: app probe: source {source} of volume v: {reason}"
    assert hint.startswith("hint: ")
    assert appc.pods() == []
    assert sorted(os.listdir(data)) == before


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


@pytest.mark.parametrize(
    ("first", "second"), [("/a", "/a"), ("/a", "/a/b"), ("/a/b/c", "/a//b/"), ("/a", "/./a/b"), ("/masked", "/m/x")]
)
def test_overlapping_targets_are_refused(appc: Appc, sandbox: Path, first: str, second: str) -> None:
    image = appc.add(sandbox / "m.aci", {"m": ("link", "masked")}, "example.com/m", dependencies=[{"imageName": PROBE}])
    mounts = [{"volume": "v", "path": first}, {"volume": "w", "path": second}]
    apps = [{"name": "x", "image": {"id": image}, "app": one_app(), "mounts": mounts}]
    volumes = [{"name": name, "kind": "empty"} for name in "vw"]
    done = appc.run("--pod-manifest", pod_manifest(sandbox / "pod.json", apps, volumes=volumes))
    assert done.status == 1
    assert "overlaps" in done.err
    assert len(done.err.splitlines()) == 1
    assert appc.pods() == []


def test_a_volume_that_is_not_defined(appc: Appc) -> None:
    done = appc.run(PROBE, "--mount", "volume=nope,target=/x")
    assert done.status == 2
    assert done.err.splitlines()[0] == "appc: volume nope: is mounted at /x but not defined"
    assert appc.pods() == []


def test_a_link_in_the_image_does_not_lead_a_mount_out(appc: Appc, sandbox: Path, data: Path) -> None:
    appc.add(
        sandbox / "leads.aci",
        {"out": ("link", "/../../../../../../etc")},
        "example.com/leads",
        app=one_app(),
        dependencies=[{"imageName": PROBE}],
    )
    done = appc.run(
        *("--volume", f"v,kind=host,source={data}", "example.com/leads"),
        *("--mount", "volume=v,target=/out/inside", "--", "list", "/etc/inside"),
    )
    assert done.out == "file\n", done
    assert not Path("/etc/inside").exists()
