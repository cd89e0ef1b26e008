"""The configuration that `spec` writes."""

from __future__ import annotations

from appc.oci.spec import default, rootless
from appc.schema.oci_runtime import validate


def test_both_forms_are_sound() -> None:
    assert validate(default()) == []
    assert validate(rootless(default(), 1000, 100)) == []


def test_the_form_for_a_user_maps_that_user_and_shares_the_network() -> None:
    linux = rootless(default(), 1000, 100)["linux"]
    kinds = [one["type"] for one in linux["namespaces"]]
    assert "user" in kinds
    assert "network" not in kinds
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert "resources" not in linux
    mounts = {mount["destination"]: mount for mount in rootless(default(), 1000, 100)["mounts"]}
    assert not [
        option for mount in mounts.values() for option in mount["options"] if option.startswith(("gid=", "uid="))
    ]
    assert mounts["/sys"]["source"] == "/sys"
    assert "rbind" in mounts["/sys"]["options"]
