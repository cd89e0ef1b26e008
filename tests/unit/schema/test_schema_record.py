"""A manifest is never changed by being read, only by being changed; every fault is found in one pass."""

from __future__ import annotations

import json

import pytest
from manifests import app, faults, image, image_with_app, isolator, pod

from appc.errors import ManifestError
from appc.schema.image import Annotation, App, EnvVar, ImageManifest, MountPoint, Port
from appc.schema.pod import PodManifest, RuntimeApp, RuntimeImage, Volume
from appc.values import ImageID, Labels


def test_a_rewrite_loses_nothing():
    text = """{"future": {"a": [1, 2.5, null]}, "name": "example.com/worker", "ACKIND": "ImageManifest",
      "labels": [{"value": "linux", "name": "os", "note": "kept"}], "acVersion": "0.8.11", "annotations": null,
      "app": {"user": "0", "supplementaryGids": [5], "exec": [], "group": "0", "x": "y", "workingDirectory": "",
              "isolators": [{"name": "example.com/own", "value": {"z": 1, "a": 2}, "why": "because"},
                            {"name": "resource/memory", "value": {"LIMIT": 1000, "burst": "2G"}}]}}"""
    manifest = ImageManifest.parse(text)
    assert manifest.app is not None
    assert manifest.app.supplementary_gids == (5,)
    written = manifest.to_json()
    assert json.loads(written) == json.loads(text)
    assert list(json.loads(written)) == list(json.loads(text))
    changed = manifest.replace(app=manifest.app.replace(user="root"))
    expected = json.loads(text)
    expected["app"]["user"] = "root"
    assert json.loads(changed.to_json()) == expected
    assert list(changed.to_dict()["app"]) == list(expected["app"])


def test_unknown_fields_can_be_seen():
    manifest = ImageManifest.parse(image(future=[1], Another={"a": 1}))
    assert manifest.extra == {"future": [1], "Another": {"a": 1}}
    manifest.extra["future"].append(2)
    manifest.to_dict()["Another"]["a"] = 2
    assert manifest.extra == {"future": [1], "Another": {"a": 1}}


def test_a_record_does_not_change_with_what_it_was_made_of():
    raw = image_with_app()
    manifest = ImageManifest.parse(raw)
    raw["name"] = "other"
    raw["app"]["exec"].append("--verbose")
    assert manifest.to_dict() == image_with_app()


def test_replace_sets_adds_and_removes():
    manifest = ImageManifest.parse(image(LABELS=[{"name": "os", "value": "linux"}], annotations=[]))
    labels = manifest.labels.with_label("version", "2")
    changed = manifest.replace(labels=labels, path_whitelist=("/a",), annotations=None)
    assert changed.to_dict() == image(
        LABELS=[{"name": "os", "value": "linux"}, {"name": "version", "value": "2"}], pathWhitelist=["/a"]
    )
    assert manifest.labels == Labels.of({"os": "linux"})
    assert changed.labels == labels
    with pytest.raises(ManifestError, match="name: is required"):
        manifest.replace(name=None)
    with pytest.raises(ManifestError, match=r"name: .* is not an AC Identifier"):
        manifest.replace(name="UPPER")
    with pytest.raises(TypeError, match="no field nam"):
        manifest.replace(nam="x")


def test_false_and_not_given_differ_where_that_matters():
    volume = Volume(name="v", kind="host", source="/x", read_only=False)
    assert volume.to_dict() == {"name": "v", "kind": "host", "source": "/x", "readOnly": False}
    assert volume.replace(read_only=None).to_dict() == {"name": "v", "kind": "host", "source": "/x"}
    assert MountPoint(name="m", path="/m", read_only=False).to_dict() == {"name": "m", "path": "/m"}


def test_records_are_built_in_code():
    manifest = ImageManifest(
        name="example.com/x",
        labels=Labels.of({"os": "linux", "arch": "amd64"}),
        app=App(
            exec=("/bin/x", "-v"),
            user="0",
            group="0",
            environment=(EnvVar(name="A", value="1"),),
            ports=(Port(name="www", protocol="tcp", port=80),),
            user_labels={"any thing": "goes"},
        ),
        annotations=(Annotation(name="authors", value="me"),),
    )
    assert manifest.to_dict() == {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "example.com/x",
        "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
        "app": {
            "exec": ["/bin/x", "-v"],
            "user": "0",
            "group": "0",
            "environment": [{"name": "A", "value": "1"}],
            "ports": [{"name": "www", "protocol": "tcp", "port": 80}],
            "userLabels": {"any thing": "goes"},
        },
        "annotations": [{"name": "authors", "value": "me"}],
    }
    assert ImageManifest.parse(manifest.to_json()) == manifest
    entry = RuntimeApp(name="x", image=RuntimeImage(id=ImageID.parse("sha512-" + "a" * 128)), app=manifest.app)
    assert PodManifest(apps=(entry,)).to_dict()["acVersion"] == "0.8.11"
    assert PodManifest.parse(PodManifest(apps=(entry,)).to_json(), strict=True).app("x") == entry


def test_what_is_built_in_code_is_checked_too():
    with pytest.raises(ManifestError) as caught:
        App(exec=("/x", 5), user="", environment=(EnvVar(name="A"),))  # type: ignore[arg-type, call-arg]
    assert dict(caught.value.faults) == {
        "exec[1]": "must be a string, not a number",
        "user": "must not be empty",
        "group": "is required",
    }
    with pytest.raises(TypeError, match="no field command"):
        App(command=())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no place in a manifest"):
        App(exec={1, 2}, user="0", group="0")  # type: ignore[arg-type]


def test_records_do_not_change():
    manifest = ImageManifest.parse(image_with_app(userLabels={"a": "b"}))
    assert manifest.app is not None
    with pytest.raises(AttributeError, match="use replace"):
        manifest.name = "x"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del manifest.app.exec
    with pytest.raises(TypeError):
        manifest.app.user_labels["a"] = "c"  # type: ignore[index]
    assert not hasattr(manifest, "__dict__")


def test_equality_is_by_meaning():
    one = ImageManifest.parse(image_with_app(mountPoints=[], readonly=1))
    other = ImageManifest.parse({**image_with_app(readonly=1), "pathWhitelist": []})
    assert one == other
    assert one != ImageManifest.parse(image_with_app(readonly=2))
    assert one != ImageManifest.parse(image())
    assert one.app != one
    assert "example.com/worker" in repr(one)


def test_every_fault_is_found_with_its_path():
    raw = {
        "acKind": "PodManifest",
        "labels": [{"name": "OS", "value": 5}, 7, {"name": "os", "value": "beos"}],
        "app": app(
            exec="/bin/sh",
            supplementaryGIDs=[1, "2", 2.5, True],
            isolators=[isolator("resource/cpu", {"limit": "1Q"}), isolator("resource/memory", {"limit": []})],
            ports=[{"port": 70000}, {"port": "80", "count": -1}],
            userAnnotations={"k": 1},
        ),
        "dependencies": {"imageName": "x"},
    }
    assert sorted(faults(ImageManifest, raw)) == [
        "acKind",
        "acVersion",
        "app.exec",
        "app.isolators[0].value.limit",
        "app.isolators[1].value.limit",
        "app.ports[0].port",
        "app.ports[1].count",
        "app.ports[1].port",
        "app.supplementaryGIDs[1]",
        "app.supplementaryGIDs[2]",
        "app.supplementaryGIDs[3]",
        'app.userAnnotations["k"]',
        "dependencies",
        "labels[0].name",
        "labels[0].value",
        "labels[1]",
        "labels[2].value",
        "name",
    ]


def test_the_error_names_the_manifest_on_every_line():
    with pytest.raises(ManifestError) as caught:
        ImageManifest.parse(b"{}", where="image x.aci")
    assert str(caught.value).splitlines() == [
        "image x.aci: acKind: is required",
        "image x.aci: acVersion: is required",
        "image x.aci: name: is required",
    ]
    with pytest.raises(ManifestError) as caught:
        ImageManifest.parse(b"{,}", where="image x.aci")
    assert str(caught.value).startswith("image x.aci: line 1, column 2: ")


@pytest.mark.parametrize("data", [b"null", b"[]", b'"x"', b"3", b"true", b"[{}]"])
@pytest.mark.parametrize("record", [ImageManifest, PodManifest])
def test_a_manifest_is_an_object(record, data):
    assert list(faults(record, data)) == [""]


def test_keys_are_compared_without_regard_to_case():
    raw = {"ACKIND": "ImageManifest", "acversion": "0.8.11", "NAME": "x", "App": {"Exec": ["/a"], "USER": "0"}}
    raw["App"]["Group"] = "0"
    for strict in (False, True):
        manifest = ImageManifest.parse(raw, strict=strict)
        assert manifest.name == "x"
        assert manifest.app is not None
        assert manifest.app.exec == ("/a",)


def test_two_spellings_of_a_key_are_refused():
    # The Go tools take the last one; a reader with exact keys takes another.
    assert faults(ImageManifest, {**image(), "Name": "other"}) == {"name": "is given twice, in different spellings"}
    assert ImageManifest.parse(b'{"name": "a", ' + json.dumps(image()).encode()[1:]).name == "example.com/worker"


def test_null_is_absent_at_the_compatible_level():
    raw = image(labels=None, app=None, dependencies=None, pathWhitelist=None, annotations=None)
    manifest = ImageManifest.parse(raw)
    assert manifest.app is None
    assert manifest.labels == Labels()
    assert set(faults(ImageManifest, raw, strict=True)) == set(raw) - set(image())
    assert faults(ImageManifest, image(name=None)) == {"name": "is required"}
    assert faults(ImageManifest, image(name=None), strict=True) == {"name": "must not be null"}
    assert faults(PodManifest, pod(apps=[None])) == {"apps[0]": "must be an object, not null"}


def test_a_flood_of_faults_is_cut_short():
    with pytest.raises(ManifestError) as caught:
        ImageManifest.parse(image_with_app(exec=[1] * 5000))
    assert len(caught.value.faults) == 101
    assert caught.value.faults[-1] == ("", "4900 more faults")
