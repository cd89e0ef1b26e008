"""From words and images to a reified pod manifest."""

from __future__ import annotations

from typing import Any

import pytest
from pod_fixtures import IMAGE_ID, FakeImage

from appc.errors import AppcError, UsageError
from appc.pods import reify
from appc.pods.request import AppRequest, PodRequest
from appc.schema.isolators import Isolator
from appc.schema.pod import Mount, PodManifest, Volume


def pod(
    *apps: AppRequest, images: list[FakeImage] | None = None, warnings: list[str] | None = None, **words: Any
) -> Any:
    """The manifest of these apps, as parsed JSON."""
    found = images or [FakeImage() for _ in apps]
    manifest = reify.reify(PodRequest(apps, **words), found, [] if warnings is None else warnings)  # type: ignore[arg-type]
    return manifest.to_dict()


def one(image: FakeImage | None = None, words: dict[str, Any] | None = None, **changes: Any) -> Any:
    """The only app of a pod, as parsed JSON."""
    manifest = pod(AppRequest("x", **changes), images=[image or FakeImage()], **(words or {}))
    return manifest["apps"][0]


def environment(app: Any) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in app["app"]["environment"]}


def test_everything_is_named_by_its_id() -> None:
    manifest = pod(AppRequest("example.com/web"))
    assert manifest["acKind"] == "PodManifest"
    assert manifest["apps"][0]["image"] == {
        "id": IMAGE_ID,
        "name": "example.com/web",
        "labels": [{"name": "os", "value": "linux"}],
    }
    assert PodManifest.parse(manifest).to_dict() == manifest


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("example.com/web", "web"),
        ("web", "web"),
        ("example.com/a_b.c~d", "a-b-c-d"),
        ("example.com/_x", "x"),
        ("example.com/x/y/z", "z"),
    ],
)
def test_an_app_is_named_after_its_image(image: str, name: str) -> None:
    assert one(FakeImage(image))["name"] == name
    assert one(FakeImage(image), name="given")["name"] == "given"


def test_two_apps_of_one_name() -> None:
    with pytest.raises(UsageError, match="app web: two apps of the pod would have this name") as caught:
        pod(AppRequest("a"), AppRequest("b"))
    assert "--name" in caught.value.hint
    assert [app["name"] for app in pod(AppRequest("a"), AppRequest("b", name="web-2"))["apps"]] == ["web", "web-2"]


def test_the_command() -> None:
    assert one()["app"]["exec"] == ["/bin/web", "--on"]
    assert one(args=("--more",))["app"]["exec"] == ["/bin/web", "--on", "--more"]
    assert one(exec_=("/bin/else",), args=("x",))["app"]["exec"] == ["/bin/else", "x"]


def test_an_image_without_an_app() -> None:
    library = FakeImage(none=True)
    with pytest.raises(AppcError, match="has no app section") as caught:
        one(library)
    assert "--exec" in caught.value.hint
    app = one(library, exec_=("/bin/sh",), args=("-c", "true"))["app"]
    assert (app["exec"], app["user"], app["group"]) == (["/bin/sh", "-c", "true"], "0", "0")


def test_an_app_without_a_command() -> None:
    with pytest.raises(AppcError, match="app web: has no command to run"):
        one(FakeImage(exec=[]))
    assert one(FakeImage(exec=[]), args=("/x",))["app"]["exec"] == ["/x"]


def test_the_environment_lowest_first() -> None:
    image = FakeImage(environment=[{"name": name, "value": "image"} for name in "BCDE"])
    app = one(
        image,
        {"inherited": tuple((name, "caller") for name in "AB"), "environment": tuple((n, "pod") for n in "CD")},
        environment=(("D", "app"), ("F", "app")),
    )
    assert environment(app) == {"A": "caller", "B": "image", "C": "pod", "D": "app", "E": "image", "F": "app"}


def test_overrides() -> None:
    image = FakeImage(user="1", group="2", supplementaryGIDs=[3], workingDirectory="/image")
    kept = one(image)["app"]
    assert (kept["user"], kept["group"], kept["supplementaryGIDs"], kept["workingDirectory"]) == (
        "1",
        "2",
        [3],
        "/image",
    )
    changed = one(
        image, user="alice", group="staff", supplementary_gids=(), working_directory="/x", read_only_root_fs=True
    )
    assert (changed["app"]["user"], changed["app"]["group"]) == ("alice", "staff")
    assert changed["app"].get("supplementaryGIDs", []) == []
    assert changed["app"]["workingDirectory"] == "/x"
    assert changed["readOnlyRootFS"] is True


def test_annotations_and_labels() -> None:
    image = FakeImage(userAnnotations={"a": "image", "b": "image"}, userLabels={"c": "image"})
    app = one(image, annotations=(("note", "1"),), user_annotations=(("a", "app"),), user_labels=(("d", "app"),))
    assert app["annotations"] == [{"name": "note", "value": "1"}]
    assert app["app"]["userAnnotations"] == {"a": "app", "b": "image"}
    assert app["app"]["userLabels"] == {"c": "image", "d": "app"}
    manifest = pod(
        AppRequest("x"), annotations=(("a", "b"),), user_annotations=(("c", "d"),), user_labels=(("e", "f"),)
    )
    assert manifest["annotations"] == [{"name": "a", "value": "b"}]
    assert (manifest["userAnnotations"], manifest["userLabels"]) == ({"c": "d"}, {"e": "f"})


RETAIN = {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}}
REMOVE = {"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_CHOWN"]}}
MEMORY = {"name": "resource/memory", "value": {"limit": "1Gi"}}


def test_isolators_replace_those_of_their_name_and_their_opposite() -> None:
    image = FakeImage(isolators=[RETAIN, MEMORY])
    smaller = Isolator.parse_string("resource/memory,limit=64Mi")
    app = one(image, isolators=(Isolator.parse(REMOVE), smaller))["app"]
    assert [(i["name"], i["value"]) for i in app["isolators"]] == [
        (REMOVE["name"], REMOVE["value"]),
        ("resource/memory", {"limit": "64Mi"}),
    ]
    assert len(one(image)["app"]["isolators"]) == 2


POINTS = [{"name": "data", "path": "/data"}, {"name": "log", "path": "/var//log/"}]


def volumes(*names: str) -> tuple[Volume, ...]:
    return tuple(Volume(name=name, kind="empty") for name in names)


def test_mount_points_get_the_volumes_of_their_names() -> None:
    warnings: list[str] = []
    manifest = pod(
        AppRequest("x"), images=[FakeImage(mountPoints=POINTS)], volumes=volumes("data", "log"), warnings=warnings
    )
    assert manifest["apps"][0]["mounts"] == [
        {"volume": "data", "path": "/data"},
        {"volume": "log", "path": "/var//log/"},
    ]
    assert warnings == []


def test_a_mount_point_nobody_thought_of_gets_an_empty_volume() -> None:
    warnings: list[str] = []
    manifest = pod(AppRequest("x"), images=[FakeImage(mountPoints=POINTS[:1])], warnings=warnings)
    assert manifest["apps"][0]["mounts"] == [{"volume": "web-data", "path": "/data"}]
    assert manifest["volumes"] == [{"name": "web-data", "kind": "empty"}]
    assert warnings == [
        "app web: no volume for mount point data (/data); an empty one is used, --volume data,kind=host,source=/PATH"
    ]


def test_strict_wants_every_volume_named() -> None:
    with pytest.raises(AppcError, match="no volume fulfils mount point data"):
        pod(AppRequest("x"), images=[FakeImage(mountPoints=POINTS)], strict=True)


def test_mounts_beat_mount_points_and_an_apps_beat_the_pods() -> None:
    manifest = pod(
        AppRequest("x", mounts=(Mount(volume="mine", path="/data/"),)),
        images=[FakeImage(mountPoints=POINTS)],
        volumes=volumes("mine", "all", "log"),
        mounts=(Mount(volume="all", path="/data"), Mount(volume="all", path="/all")),
    )
    assert sorted((mount["path"], mount["volume"]) for mount in manifest["apps"][0]["mounts"]) == [
        ("/all", "all"),
        ("/data/", "mine"),
        ("/var//log/", "log"),
    ]


def test_mounts_of_volumes_that_are_not_there() -> None:
    with pytest.raises(UsageError, match="volume nope: is mounted at /x but not defined"):
        pod(AppRequest("x", mounts=(Mount(volume="nope", path="/x"),)))


def test_a_volume_given_twice() -> None:
    with pytest.raises(UsageError, match="volume v: is given twice"):
        pod(AppRequest("x"), volumes=volumes("v", "v"))


def test_a_given_manifest_is_completed_from_its_images() -> None:
    given = PodManifest.parse(
        {
            "acKind": "PodManifest",
            "acVersion": "0.8.11",
            "kept": {"x": 1},
            "apps": [
                {"name": "a", "image": {"id": IMAGE_ID}},
                {
                    "name": "b",
                    "image": {"id": IMAGE_ID, "name": "example.com/b"},
                    "app": {"exec": ["/own"], "user": "1", "group": "1"},
                },
            ],
        }
    )
    request = PodRequest((), manifest=given, inherited=(("A", "caller"),))
    done = reify.complete(given, [FakeImage(), FakeImage()], request, []).to_dict()  # type: ignore[list-item]
    assert done["kept"] == {"x": 1}
    first, second = done["apps"]
    assert first["app"]["exec"] == ["/bin/web", "--on"]
    assert (first["image"]["name"], second["image"]["name"]) == ("example.com/web", "example.com/b")
    assert second["app"]["exec"] == ["/own"]
    assert environment(second) == {"A": "caller"}


def test_a_given_manifest_whose_image_has_no_app() -> None:
    given = PodManifest.parse(
        {"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [{"name": "a", "image": {"id": IMAGE_ID}}]}
    )
    with pytest.raises(AppcError, match="app a: image example.com/web has no app section"):
        reify.complete(given, [FakeImage(none=True)], PodRequest((), manifest=given), [])  # type: ignore[list-item]


CAPABILITIES = {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL", "CAP_SYS_MODULE"]}}
ALL_CALLS = {"name": "os/linux/seccomp-retain-set", "value": {"set": ["@appc.io/all"]}}


def test_what_an_image_does_to_containment_is_said_unless_the_user_decides() -> None:
    image = FakeImage(isolators=[CAPABILITIES, ALL_CALLS])
    keeps = "app web: its image has it keep CAP_SYS_MODULE, with which it can take over the host"
    unfiltered = "app web: its image has it run without a filter of system calls (@appc.io/all)"
    for given, said in (
        ((), [keeps, unfiltered]),
        ((Isolator.parse(CAPABILITIES),), [unfiltered]),
        ((Isolator.parse({"name": "os/linux/seccomp-remove-set", "value": {"set": ["reboot"]}}),), [keeps]),
        ((Isolator.parse(ALL_CALLS), Isolator.parse(CAPABILITIES)), []),
    ):
        warnings: list[str] = []
        reify.reify(PodRequest((AppRequest("x", isolators=given),)), [image], warnings)  # type: ignore[list-item]
        assert warnings == said
    given_manifest = PodManifest.parse(
        {"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [{"name": "web", "image": {"id": IMAGE_ID}}]}
    )
    warnings = []
    reify.complete(given_manifest, [image], PodRequest((), manifest=given_manifest), warnings)  # type: ignore[list-item]
    assert warnings == [keeps, unfiltered]
