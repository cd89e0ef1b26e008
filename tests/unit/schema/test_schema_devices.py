"""Names of devices, and specs of the Container Device Interface."""

from __future__ import annotations

import pytest

from appc.errors import InvalidValue, ManifestError
from appc.schema.cdi import Spec
from appc.schema.common import Annotation
from appc.schema.devices import DeviceName
from appc.schema.policies import DEVICES, Policies

SPEC = {
    "cdiVersion": "0.6.0",
    "kind": "vendor.com/class",
    "devices": [
        {
            "name": "one",
            "containerEdits": {
                "env": ["A=1"],
                "deviceNodes": [{"path": "/dev/one", "type": "c", "major": 1, "minor": 11, "permissions": "rw"}],
                "mounts": [{"hostPath": "/lib/one", "containerPath": "/lib/two", "options": ["ro", "bind"]}],
                "additionalGids": [7],
                "hooks": [{"hookName": "createContainer", "path": "/bin/true"}],
            },
        }
    ],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/fuse", ("/dev/fuse", "/dev/fuse", "rwm", "", "")),
        ("/dev/fuse:r", ("/dev/fuse", "/dev/fuse", "r", "", "")),
        ("/dev/a:/dev/b", ("/dev/a", "/dev/b", "rwm", "", "")),
        ("/dev/a:/dev/b:mr", ("/dev/a", "/dev/b", "mr", "", "")),
        ("vendor.com/gpu=0", ("", "", "", "vendor.com/gpu", "0")),
        ("vendor.com/gpu=a=b", ("", "", "", "vendor.com/gpu", "a=b")),
    ],
)
def test_names(text: str, expected: tuple[str, ...]) -> None:
    name = DeviceName.parse(text)
    assert (name.path, name.target, name.access, name.kind, name.device) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "fuse", "vendor.com/gpu", "vendor.com=0", "/gpu=0:x", "a/b/c=0", "vendor/=0", "/dev/a:/dev/b:/dev/c"),
        *("/dev/a:rwx", "/dev/a:rr", "/dev/a:", "/dev/a:/../b", "/dev/a b", "/dev/a:/dev/b:r:w"),
    ],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InvalidValue):
        DeviceName.parse(text)


def test_a_pod_manifest_names_them() -> None:
    policies = Policies([Annotation(name=DEVICES, value="/dev/fuse:r\n vendor.com/gpu=0")])
    assert [name.path or name.device for name in policies.devices] == ["/dev/fuse", "0"]


def test_a_spec() -> None:
    spec = Spec.parse(SPEC)
    (device,) = spec.devices
    (node,) = device.edits.device_nodes
    assert (spec.kind, device.name, node.path, node.permissions, node.mode) == (
        *("vendor.com/class", "one", "/dev/one", "rw", None),
    )
    assert device.edits.gids == (7,)
    assert list(device.edits.extra) == ["hooks"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"cdiVersion": "2.0.0"}, "cdiVersion"),
        ({"kind": "class"}, "kind"),
        ({"devices": [{"name": "x"}]}, "devices[0].containerEdits"),
        ({"containerEdits": {"deviceNodes": [{"path": "dev"}]}}, "containerEdits.deviceNodes[0].path"),
        ({"containerEdits": {"deviceNodes": [{"path": "/a/../b"}]}}, "containerEdits.deviceNodes[0].path"),
        ({"containerEdits": {"deviceNodes": [{"path": "/a", "permissions": "x"}]}}, "containerEdits.deviceNodes[0]"),
        ({"containerEdits": {"mounts": [{"hostPath": "/a"}]}}, "containerEdits.mounts[0].containerPath"),
        ({"containerEdits": {"env": ["A"]}}, "containerEdits.env[0]"),
        ({"containerEdits": {"env": ["=A"]}}, "containerEdits.env[0]"),
    ],
)
def test_a_spec_with_a_fault(change: dict[str, object], path: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Spec.parse({**SPEC, **change})
    assert any(at.startswith(path) for at, _ in caught.value.faults)
