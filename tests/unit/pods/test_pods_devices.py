"""Devices of the host: what an app is given, and what is found of the Container Device Interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appc.errors import AppcError
from appc.pods.devices import Given, give
from appc.schema.devices import DeviceName

NULL = {"type": "c", "major": 1, "minor": 3}


def spec(path: Path, name: str = "one", kind: str = "vendor.com/class", **edits: Any) -> None:
    """Write a spec with one device, and an edit that goes with every device of its kind."""
    document = {
        "cdiVersion": "1.0.0",
        "kind": kind,
        "devices": [{"name": name, "containerEdits": edits}],
        "containerEdits": {"env": ["ALL=yes"]},
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))


def given(*names: str, cdi: tuple[Path, ...] = ()) -> Given:
    return give(map(DeviceName.parse, names), [str(path) for path in cdi], "app web")


def test_a_device_by_its_path() -> None:
    found = given("/dev/null:/dev/other:rw")
    (node,) = found.nodes
    assert {key: node[key] for key in ("path", *NULL)} == {"path": "/dev/other", **NULL}
    assert node["fileMode"] == Path("/dev/null").stat().st_mode & 0o7777
    assert found.rules == [{"allow": True, **NULL, "access": "rw"}]


def test_a_link_to_a_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    (node,) = given(f"{tmp_path}/link").nodes
    assert (node["path"], node["minor"]) == (f"{tmp_path}/link", 3)


@pytest.mark.parametrize(("name", "words"), [("absent", "not a device of this host"), ("file", "is not a device")])
def test_what_is_no_device(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AppcError, match=words) as caught:
        given(f"{tmp_path}/{name}")
    assert caught.value.where == f"app web: {tmp_path}/{name}"


def test_a_directory_without_devices(tmp_path: Path) -> None:
    with pytest.raises(AppcError, match="no device in this directory"):
        given(str(tmp_path))


def test_a_vendors_device(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    spec(
        tmp_path / "cdi/vendor.json",
        deviceNodes=[{"path": "/dev/mine", "hostPath": "/dev/null", "uid": 5, "permissions": "r"}],
        env=["ONE=1", "AC_APP_NAME=other"],
        mounts=[
            {"hostPath": f"{tmp_path}/lib", "containerPath": "/lib/mine", "options": ["ro"]},
            {"hostPath": f"{tmp_path}/cdi/vendor.json", "containerPath": "/vendor.json"},
        ],
        additionalGids=[44],
        hooks=[{"hookName": "createContainer", "path": "/bin/true"}],
    )
    found = given("vendor.com/class=one", cdi=(tmp_path / "cdi",))
    (node,) = found.nodes
    assert (node["path"], node["minor"], node["uid"]) == ("/dev/mine", 3, 5)
    assert found.rules == [{"allow": True, **NULL, "access": "r"}]
    assert [mount["options"] for mount in found.mounts] == [["ro", "rbind"], ["rbind"]]
    assert found.files == ["/vendor.json"]
    assert found.left_out == ["hooks"]
    config: dict[str, Any] = {
        "process": {"env": ["ONE=0", "AC_APP_NAME=web"], "user": {"additionalGids": [1]}},
        "mounts": [],
        "linux": {"devices": [], "resources": {"devices": []}},
    }
    found.apply(config)
    assert config["process"] == {"env": ["AC_APP_NAME=web", "ALL=yes", "ONE=1"], "user": {"additionalGids": [1, 44]}}
    assert config["linux"] == {"devices": found.nodes, "resources": {"devices": found.rules}}


def test_a_later_directory_goes_first(tmp_path: Path) -> None:
    for name in ("etc", "run"):
        spec(tmp_path / name / "x.json", env=[f"FROM={name}"])
    found = given("vendor.com/class=one", cdi=(tmp_path / "etc", tmp_path / "run", tmp_path / "absent"))
    assert found.env == ["ALL=yes", "FROM=run"]


def test_what_goes_with_a_kind_is_given_once(tmp_path: Path) -> None:
    spec(tmp_path / "cdi/one.json", "one")
    spec(tmp_path / "cdi/two.json", "two")
    assert given("vendor.com/class=one", "vendor.com/class=two", cdi=(tmp_path / "cdi",)).env == ["ALL=yes"]


def test_specs_in_yaml(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "x.yaml").write_text(
        "cdiVersion: 0.5.0\nkind: vendor.com/class\ndevices:\n- name: one\n  containerEdits:\n    env: [ONE=1]\n"
    )
    assert given("vendor.com/class=one", cdi=(tmp_path,)).env == ["ONE=1"]


def test_a_device_that_no_spec_has(tmp_path: Path) -> None:
    spec(tmp_path / "x.json", "two")
    with pytest.raises(AppcError, match="no such device") as caught:
        given("vendor.com/class=one", cdi=(tmp_path,))
    assert caught.value.hint == "there are two"
    with pytest.raises(AppcError) as caught:
        given("other.com/class=one", cdi=(tmp_path,))
    assert str(tmp_path) in caught.value.hint


def test_a_device_that_two_specs_have(tmp_path: Path) -> None:
    for name in ("a", "b"):
        spec(tmp_path / f"{name}.json")
    with pytest.raises(AppcError, match=r"a.json and .*b.json"):
        given("vendor.com/class=one", cdi=(tmp_path,))


def test_a_spec_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"kind": 1}')
    with pytest.raises(AppcError) as caught:
        given("vendor.com/class=one", cdi=(tmp_path,))
    assert str(tmp_path / "x.json") in str(caught.value)
