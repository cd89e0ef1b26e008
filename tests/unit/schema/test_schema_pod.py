"""Pod manifests: templates are readable, the text's rules hold when strict, and a pod to be run is whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import IMAGE_ID, POD_EXAMPLE, app, faults, image_with_app, isolator, pod, pod_app

from appc.errors import InvalidValue, ManifestError
from appc.schema.image import ImageManifest
from appc.schema.pod import PodManifest, Volume, is_ipv4, is_ipv6

WORK = {"name": "work", "kind": "host", "source": "/opt/work"}


@pytest.mark.parametrize("strict", [False, True])
def test_the_specifications_example_reads_at_both_levels(strict):
    manifest = PodManifest.parse(POD_EXAMPLE, strict=strict)
    assert manifest.to_dict() == POD_EXAMPLE
    worker, register = manifest.apps
    assert worker.name == "reduce-worker"
    assert worker.read_only_root_fs
    assert worker.app is not None
    assert worker.app.exec == ("/bin/reduce-worker", "--debug=true")
    assert worker.image.name == "example.com/reduce-worker"
    assert worker.image.labels.get("version") == "1.0.0"
    assert [(m.volume, m.path) for m in worker.mounts] == [("worklib", "/var/lib/work")]
    assert register.app is None
    assert not register.read_only_root_fs
    volume = manifest.volume("worklib")
    assert volume is not None
    assert (volume.kind, volume.source, volume.read_only, volume.recursive) == ("host", "/opt/tenant1/work", True, True)
    assert [(a.name, a.value) for a in manifest.annotations] == [("ip-address", "10.1.2.3")]
    assert [(p.name, p.host_port, p.host_ip) for p in manifest.ports] == [("ftp", 2121, "")]
    assert manifest.app("absent") is manifest.volume("absent") is None


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (pod(acKind="ImageManifest"), "acKind"),
        ({"acVersion": "0.8.11", "apps": []}, "acKind"),
        (pod(acVersion="x"), "acVersion"),
        (pod(acVersion=None, apps={}), "apps"),
        (pod(pod_app("a"), pod_app("b"), pod_app("a")), "apps[2]"),
        (pod(pod_app("UPPER")), "apps[0].name"),
        (pod(pod_app(image="x")), "apps[0].image"),
        (pod(pod_app(image={"id": "sha1-x"})), "apps[0].image.id"),
        (pod(pod_app(image={"id": IMAGE_ID, "name": ""})), "apps[0].image.name"),
        (pod(pod_app(app={"user": "0"})), "apps[0].app.group"),
        (pod(pod_app(readOnlyRootFS=1)), "apps[0].readOnlyRootFS"),
        (pod(pod_app(mounts=[{"volume": "A"}])), "apps[0].mounts[0].volume"),
        (pod(pod_app(mounts=[{"appVolume": {"name": "a"}}])), "apps[0].mounts[0].appVolume.kind"),
        (pod(volumes=[WORK, {"name": "work", "kind": "empty"}]), "volumes[1]"),
        (pod(volumes=[{"kind": "empty"}]), "volumes[0].name"),
        (pod(volumes=[{"name": "a"}]), "volumes[0].kind"),
        (pod(volumes=[{"name": "a", "kind": "nfs"}]), "volumes[0].kind"),
        (pod(volumes=[{"name": "a", "kind": "empty", "source": "/x"}]), "volumes[0].source"),
        (pod(volumes=[{"name": "a", "kind": "host"}]), "volumes[0].source"),
        (pod(volumes=[{"name": "a", "kind": "host", "source": "x"}]), "volumes[0].source"),
        (pod(volumes=[{**WORK, "mode": "0755"}]), "volumes[0].mode"),
        (pod(volumes=[{**WORK, "uid": 0}]), "volumes[0].uid"),
        (pod(volumes=[{**WORK, "GID": 0}]), "volumes[0].gid"),
        (pod(volumes=[{"name": "a", "kind": "empty", "mode": 755}]), "volumes[0].mode"),
        (pod(volumes=[{"name": "a", "kind": "empty", "uid": "0"}]), "volumes[0].uid"),
        (pod(isolators=[isolator("resource/cpu", {"limit": "x"})]), "isolators[0].value.limit"),
        (pod(annotations=[{"name": "a", "value": "1"}] * 2), "annotations[1]"),
        (pod(ports=[{"name": "a", "hostPort": -1}]), "ports[0].hostPort"),
        (pod(ports=[{"name": "a", "hostPort": "80"}]), "ports[0].hostPort"),
        (pod(ports=[{"name": "a", "hostPort": 80, "hostIP": "10.1.2"}]), "ports[0].hostIP"),
        (pod(ports=[{"name": "a", "hostPort": 80, "podPort": {"port": 0}}]), "ports[0].podPort.port"),
        (pod(userLabels={"a": 1}), 'userLabels["a"]'),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_refused(raw, path, strict):
    assert path in faults(PodManifest, raw, strict)


def without(raw, key):
    return {name: value for name, value in raw.items() if name != key}


# Every rule that the text has and the Go tools do not check.
@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (without(pod(), "acVersion"), "acVersion"),
        (without(pod(), "apps"), "apps"),
        (pod(without(pod_app(), "name")), "apps[0].name"),
        (pod(without(pod_app(), "image")), "apps[0].image"),
        (pod(pod_app(image={})), "apps[0].image.id"),
        (pod(pod_app(image={"id": "sha512-..."})), "apps[0].image.id"),
        (pod(pod_app(mounts=[{"path": "/a"}])), "apps[0].mounts[0].volume"),
        (pod(pod_app(mounts=[{"volume": "a", "path": "/a"}])), "apps[0].mounts[0].volume"),
        (pod(pod_app(mounts=[{"volume": "work"}]), volumes=[WORK]), "apps[0].mounts[0].path"),
        (pod(pod_app(annotations=[{"name": "a/b", "value": ""}])), "apps[0].annotations[0].name"),
        (pod(annotations=[{"name": "example.com", "value": ""}]), "annotations[0].name"),
        (pod(ports=[{"name": "a", "hostPort": 0}]), "ports[0].hostPort"),
        (pod(ports=[{"name": "a", "hostPort": 70000}]), "ports[0].hostPort"),
        (pod(ports=[{"name": "a"}]), "ports[0].hostPort"),
        (pod(ports=[{"hostPort": 80}]), "ports[0].name"),
        (pod(ports=[{"name": "a", "hostPort": 80, "hostIP": "::1"}]), "ports[0].hostIP"),
        (pod(ports=[{"name": "a", "hostPort": 80, "hostIP": ""}]), "ports[0].hostIP"),
        (pod(volumes=[{"name": "a", "kind": "empty", "mode": "rwx"}]), "volumes[0].mode"),
        (pod(volumes=[{"name": "a", "kind": "empty", "mode": "77777"}]), "volumes[0].mode"),
        (pod(volumes=[{"name": "a", "kind": "empty", "uid": -1}]), "volumes[0].uid"),
        (
            pod(*(pod_app(name, app=app(ports=[{"name": "www", "protocol": "tcp", "port": 80}])) for name in "ab")),
            "apps[1].app.ports[0]",
        ),
    ],
)
def test_refused_only_when_strict(raw, path):
    assert faults(PodManifest, raw) == {}
    assert list(faults(PodManifest, raw, strict=True)) == [path]


def test_empty_volumes_have_defaults():
    volume = Volume.parse({"name": "a", "kind": "empty"})
    assert (volume.mode, volume.uid, volume.gid, volume.read_only, volume.recursive) == ("0755", 0, 0, None, None)
    assert volume.to_dict() == {"name": "a", "kind": "empty"}


def test_a_mount_may_bring_its_volume():
    raw = pod(pod_app(mounts=[{"volume": "a", "path": "/a", "appVolume": {"name": "a", "kind": "empty", "uid": 5}}]))
    manifest = PodManifest.parse(raw, strict=True)
    own = manifest.apps[0].mounts[0].app_volume
    assert own is not None
    assert own.uid == 5


@pytest.mark.parametrize(
    "text",
    [
        "foobar,kind=host,source=/tmp",
        "foobar,kind=host,source=/tmp,readOnly=false",
        "foobar,kind=host,source=/tmp,readOnly=true",
        "foobar,kind=host,source=/tmp,recursive=false",
        "foobar,kind=host,source=/tmp/a=b%20$1",
        "foobar,kind=empty",
        "foobar,kind=empty,readOnly=true",
        "foobar,kind=empty,readOnly=true,mode=0777",
        "foobar,kind=empty,mode=0777,uid=1000,gid=1000",
    ],
)
def test_volumes_in_one_line_and_back(text):
    assert Volume.parse_string(text).to_string() == text


def test_defaults_are_left_out_of_the_line():
    assert Volume.parse_string("a,gid=0,kind=empty,uid=0,mode=0755").to_string() == "a,kind=empty"
    assert Volume.parse_string("a,kind=host,readOnly=T,source=/x").to_string() == "a,kind=host,source=/x,readOnly=true"


@pytest.mark.parametrize(
    "text",
    [
        *("", "foobar", "#foobar,kind=host,source=/tmp", "foobar,kind=host,source=/tmp,readOnly=true,asdf=asdf"),
        *("foobar,kind=host,source=tmp", "foobar,kind=host", "foobar,kind=host,source=/tmp,uid=3", "foobar,kind=nfs"),
        *("foobar,kind=host,source=/tmp,mode=0755", "foobar,kind=empty,source=/tmp", "foobar,source=/tmp"),
        *("foobar,kind=host,source=/tmp,recursive=MAYBE", "foobar,kind=empty,uid=x", "foobar,kind=empty,kind=empty"),
        "foobar,kind=empty,name=b",
    ],
)
def test_not_volumes(text):
    with pytest.raises(InvalidValue) as caught:
        Volume.parse_string(text)
    assert "kind=host,source=/PATH" in caught.value.hint
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="0123456789abf:.", max_size=20) | st.ip_addresses().map(str))
def test_addresses_are_those_the_standard_library_knows(text):
    import ipaddress

    def known(cls):
        try:
            cls(text)
        except ValueError:
            return False
        return True

    assert is_ipv4(text) == known(ipaddress.IPv4Address)
    assert is_ipv6(text) == known(ipaddress.IPv6Address)


def whole_pod(**fields):
    """A pod that can be executed, with `fields` put into its app's entry."""
    return pod(
        pod_app(
            **{
                "app": app(mountPoints=[{"name": "work", "path": "/var/lib/work"}]),
                "mounts": [{"volume": "work", "path": "/var/lib/work/"}],
                **fields,
            }
        ),
        volumes=[WORK],
    )


def unexecutable(raw, images=None):
    manifest = PodManifest.parse(raw)
    try:
        manifest.check_executable(images)
    except ManifestError as error:
        return dict(error.faults)
    return {}


def test_a_whole_pod_can_be_executed():
    assert unexecutable(whole_pod()) == {}


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (pod(apps=[]), "apps"),
        (whole_pod(name=None), "apps[0].name"),
        (whole_pod(name="a" * 201), "apps[0].name"),
        (whole_pod(image={}), "apps[0].image.id"),
        (whole_pod(image={"id": "sha512-abc"}), "apps[0].image.id"),
        (whole_pod(mounts=[]), "apps[0].app.mountPoints[0]"),
        (whole_pod(mounts=[{"volume": "none", "path": "/var/lib/work"}]), "apps[0].mounts[0].volume"),
        (whole_pod(mounts=[{"volume": "work"}], app=app()), "apps[0].mounts[0].path"),
        (whole_pod(mounts=[{"path": "/var/lib/work"}]), "apps[0].mounts[0].volume"),
        (whole_pod(app=None), "apps[0].app"),
        (whole_pod(app=app(exec=[]), mounts=[]), "apps[0].app.exec"),
        (whole_pod(app=app(exec=[""])), "apps[0].app.exec"),
        (whole_pod(app=app(exec=["/a", "b\0c"])), "apps[0].app.exec[1]"),
        (whole_pod(app=app(environment=[{"name": "A", "value": "\0"}])), "apps[0].app.environment[0].value"),
        (whole_pod(app=app(workingDirectory="/a\0")), "apps[0].app.workingDirectory"),
        (whole_pod(app=app(user="a\0")), "apps[0].app.user"),
        (whole_pod(app=app(eventHandlers=[{"name": "pre-start"}])), "apps[0].app.eventHandlers[0].exec"),
        (whole_pod(app=app(supplementaryGIDs=[-1])), "apps[0].app.supplementaryGIDs[0]"),
        (whole_pod(app=app(supplementaryGIDs=[2**32 - 1])), "apps[0].app.supplementaryGIDs[0]"),
        (whole_pod(app=app(mountPoints=[{"name": "a"}])), "apps[0].app.mountPoints[0].path"),
        (
            whole_pod(app=app(isolators=[isolator("resource/memory", {"limit": "-1"})])),
            "apps[0].app.isolators[0].value.limit",
        ),
        (
            whole_pod(app=app(isolators=[isolator("resource/memory", {"limit": "0"})])),
            "apps[0].app.isolators[0].value.limit",
        ),
        (
            whole_pod(
                app=app(
                    isolators=[
                        isolator("os/linux/capabilities-remove-set", {"set": ["CAP_KILL"]}),
                        isolator("os/linux/capabilities-retain-set", {"set": ["CAP_KILL"]}),
                    ]
                )
            ),
            "apps[0].app.isolators[0]",
        ),
    ],
)
def test_what_keeps_a_pod_from_being_executed(raw, path):
    assert path in unexecutable(raw)


@pytest.mark.parametrize(
    ("one", "other"),
    [("/a", "/a"), ("/a", "/a/b"), ("/a/b", "/a"), ("/a/", "//a/./b"), ("a", "/a")],
)
def test_targets_must_not_overlap(one, other):
    mounts = [{"volume": "work", "path": one}, {"volume": "work", "path": other}]
    assert "overlaps mounts[0]" in unexecutable(whole_pod(app=app(), mounts=mounts))["apps[0].mounts[1].path"]


def test_neighbours_do_not_overlap():
    mounts = [{"volume": "work", "path": path} for path in ("/a", "/ab", "/b/a")]
    assert unexecutable(whole_pod(app=app(), mounts=mounts)) == {}


@pytest.mark.parametrize("path", ["/", "//", "/.", "/a/../b", ".."])
def test_targets_lie_below_the_root(path):
    assert "apps[0].mounts[0].path" in unexecutable(whole_pod(app=app(), mounts=[{"volume": "work", "path": path}]))


def test_images_fill_in_for_apps_without_a_section():
    image = ImageManifest.parse(image_with_app(mountPoints=[{"name": "work", "path": "/other"}]))
    found = unexecutable(whole_pod(app=None), {"worker": image})
    assert list(found) == ["apps[0].app.mountPoints[0]"]


def test_volumes_of_a_pod_to_be_executed_are_sound():
    for fields, key in (
        ({"mode": ""}, "mode"),
        ({"mode": "0999"}, "mode"),
        ({"uid": -1}, "uid"),
        ({"gid": 2**33}, "gid"),
    ):
        raw = pod(volumes=[{"name": "a", "kind": "empty", **fields}])
        assert list(unexecutable(raw)) == [f"volumes[0].{key}"]
    assert list(unexecutable(pod(volumes=[{**WORK, "source": "/a\0b"}]))) == ["volumes[0].source"]


def test_exposed_ports_lead_to_a_port():
    ports = [{"name": "www", "protocol": "tcp", "port": 80, "count": 10}]

    def found(*exposed):
        return unexecutable(pod(pod_app(app=app(ports=ports)), ports=list(exposed)))

    assert found({"name": "www", "hostPort": 8080}) == {}
    assert found({"name": "own", "hostPort": 8080, "podPort": {"port": 80}}) == {}
    assert list(found({"name": "none", "hostPort": 8080})) == ["ports[0].name"]
    assert list(found({"name": "www"})) == ["ports[0].hostPort"]
    assert list(found({"name": "www", "hostPort": 70000})) == ["ports[0].hostPort"]
    assert "10 ports" in found({"name": "www", "hostPort": 65530})["ports[0].hostPort"]
