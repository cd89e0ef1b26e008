"""Image manifests: what the Go tools accept is accepted, what the text forbids is refused when strict."""

from __future__ import annotations

import pytest
from manifests import IMAGE_EXAMPLE, app, faults, image, image_with_app

from appc.errors import InvalidValue
from appc.schema.image import POST_STOP, PRE_START, ImageManifest, MountPoint, Port
from appc.values import Labels


@pytest.mark.parametrize("strict", [False, True])
def test_the_specifications_example_reads_at_both_levels(strict):
    manifest = ImageManifest.parse(IMAGE_EXAMPLE, strict=strict)
    assert manifest.to_dict() == IMAGE_EXAMPLE
    app = manifest.app
    assert app is not None
    assert app.exec == ("/usr/bin/reduce-worker", "--quiet")
    assert (app.user, app.group, app.supplementary_gids) == ("100", "300", (400, 500))
    assert app.handler(PRE_START) == ("/usr/bin/data-downloader",)
    assert app.handler(POST_STOP) == ("/usr/bin/deregister-worker", "--verbose")
    assert app.working_directory == "/opt/work"
    assert [(v.name, v.value) for v in app.environment] == [("REDUCE_WORKER_DEBUG", "true")]
    assert [(m.name, m.path, m.read_only) for m in app.mount_points] == [("work", "/var/lib/work", False)]
    assert [(p.port, p.count, p.socket_activated) for p in app.ports] == [(4000, 1, True), (20000, 1000, False)]
    assert manifest.labels.get("version") == "1.0.0"
    dependency = manifest.dependencies[0]
    assert dependency.image_name == "example.com/reduce-worker-base"
    assert dependency.image_id is not None
    assert dependency.image_id.complete
    assert dependency.labels.get("env") == "canary"
    assert dependency.size == 22017258
    assert manifest.path_whitelist == ("/etc/ca/example.com/crt", "/etc/systemd/system/")
    assert manifest.annotation("authors").startswith("Carly")
    assert manifest.annotation("absent", "default") == "default"


def test_the_smallest_manifest():
    for strict in (False, True):
        manifest = ImageManifest.parse(image(), strict=strict)
        assert manifest.app is None
        assert manifest.labels == Labels()
        assert manifest.dependencies == manifest.path_whitelist == manifest.annotations == ()


# Fields of the manifest itself: what is refused at both levels.
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"acKind": "PodManifest"}, "acKind"),
        ({"acKind": ""}, "acKind"),
        ({"acKind": "imagemanifest"}, "acKind"),
        ({"acKind": ["ImageManifest"]}, "acKind"),
        ({"acVersion": "0.0.0"}, "acVersion"),
        ({"acVersion": "1"}, "acVersion"),
        ({"acVersion": 1}, "acVersion"),
        ({"acVersion": ""}, "acVersion"),
        ({"name": ""}, "name"),
        ({"name": "UPPER"}, "name"),
        ({"labels": {}}, "labels"),
        ({"labels": [{"name": "name", "value": "x"}]}, "labels[0].name"),
        ({"labels": [{"name": "a", "value": "1"}, {"name": "a", "value": "1"}]}, "labels[1]"),
        ({"labels": [{"name": "a", "value": 1}]}, "labels[0].value"),
        ({"labels": [{"name": "", "value": "1"}]}, "labels[0].name"),
        ({"app": []}, "app"),
        ({"app": {"exec": ["/x"]}}, "app.user"),
        ({"dependencies": [{}]}, "dependencies[0].imageName"),
        ({"dependencies": [{"imageName": ""}]}, "dependencies[0].imageName"),
        ({"dependencies": [{"imageName": "a", "imageID": "sha1-ab"}]}, "dependencies[0].imageID"),
        ({"dependencies": [{"imageName": "a", "size": -1}]}, "dependencies[0].size"),
        ({"dependencies": [{"imageName": "a", "size": 1.0}]}, "dependencies[0].size"),
        ({"dependencies": [{"imageName": "a", "size": 2**64}]}, "dependencies[0].size"),
        ({"pathWhitelist": "/a"}, "pathWhitelist"),
        ({"pathWhitelist": [1]}, "pathWhitelist[0]"),
        ({"annotations": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]}, "annotations[1]"),
        ({"annotations": [{"name": "created", "value": "yesterday"}]}, "annotations[0].value"),
        ({"annotations": [{"name": "homepage", "value": "not-A$@#URL"}]}, "annotations[0].value"),
        ({"annotations": [{"name": "documentation", "value": "ftp://example.com"}]}, "annotations[0].value"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_refused(fields, path, strict):
    assert path in faults(ImageManifest, image(**fields), strict)


# Fields of the app: what is refused at both levels.
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"user": ""}, "user"),
        ({"group": ""}, "group"),
        ({"user": 0}, "user"),
        ({"exec": "/bin/x"}, "exec"),
        ({"exec": [None]}, "exec[0]"),
        ({"workingDirectory": "stuff"}, "workingDirectory"),
        ({"workingDirectory": "../home"}, "workingDirectory"),
        ({"supplementaryGIDs": ["1"]}, "supplementaryGIDs[0]"),
        ({"supplementaryGIDs": [1e3]}, "supplementaryGIDs[0]"),
        ({"eventHandlers": [{"name": "pre-start"}, {"name": "pre-start"}]}, "eventHandlers[1]"),
        ({"eventHandlers": [{"name": "prestart", "exec": []}]}, "eventHandlers[0].name"),
        ({"eventHandlers": [{"exec": []}]}, "eventHandlers[0].name"),
        ({"environment": [{"name": "", "value": "v"}]}, "environment[0].name"),
        ({"environment": [{"value": "v"}]}, "environment[0].name"),
        ({"environment": [{"name": "0DEBUG", "value": "v"}]}, "environment[0].name"),
        ({"environment": [{"name": "A|B", "value": "v"}]}, "environment[0].name"),
        ({"environment": [{"name": "A=B", "value": "v"}]}, "environment[0].name"),
        ({"environment": [{"name": "-A", "value": "v"}]}, "environment[0].name"),
        ({"environment": [{"name": "É", "value": "v"}]}, "environment[0].name"),
        ({"environment": [{"name": "A", "value": "1"}, {"name": "A", "value": "1"}]}, "environment[1]"),
        ({"mountPoints": [{"name": "A", "path": "/a"}]}, "mountPoints[0].name"),
        ({"mountPoints": [{"name": "a", "path": 1}]}, "mountPoints[0].path"),
        ({"mountPoints": [{"name": "a", "path": "/a", "readOnly": "true"}]}, "mountPoints[0].readOnly"),
        ({"ports": [{"name": "a", "protocol": "tcp", "port": 0}]}, "ports[0].port"),
        ({"ports": [{"name": "a", "protocol": "tcp", "port": 65536}]}, "ports[0].port"),
        ({"ports": [{"name": "a", "protocol": "tcp", "port": "80"}]}, "ports[0].port"),
        ({"ports": [{"name": "a", "protocol": "tcp"}]}, "ports[0].port"),
        ({"ports": [{"name": "a", "protocol": "tcp", "port": 65535, "count": 2}]}, "ports[0].count"),
        ({"ports": [{"name": "a", "protocol": "tcp", "port": 1, "count": 2**64 - 1}]}, "ports[0].count"),
        ({"userLabels": {"a": None}}, 'userLabels["a"]'),
        ({"userAnnotations": []}, "userAnnotations"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_refused_in_an_app(fields, path, strict):
    assert "app." + path in faults(ImageManifest, image_with_app(**fields), strict)


# What the Go tools let pass and the text does not.
@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (image(name="e..com//a"), "name"),
        (image(acVersion="01.2.3"), "acVersion"),
        (image(acVersion="9.9.9"), "acVersion"),
        (image(labels=[{"name": "a"}]), "labels[0].value"),
        (image(labels=[{"value": "a"}]), "labels[0].name"),
        (image(annotations=[{"name": "a"}]), "annotations[0].value"),
        (image(annotations=[{"name": "created", "value": "2014-10-27T9:32:27,5+25:00"}]), "annotations[0].value"),
        (image(annotations=[{"name": "homepage", "value": "http:"}]), "annotations[0].value"),
        (image(pathWhitelist=["etc"]), "pathWhitelist[0]"),
        (image(dependencies=[{"imageName": "a", "imageID": "sha512-..."}]), "dependencies[0].imageID"),
        (image_with_app(workingDirectory=""), "app.workingDirectory"),
        (image_with_app(supplementaryGIDs=[-1]), "app.supplementaryGIDs[0]"),
        (image_with_app(eventHandlers=[{"name": "pre-start"}]), "app.eventHandlers[0].exec"),
        (image_with_app(environment=[{"name": "A"}]), "app.environment[0].value"),
        (image_with_app(mountPoints=[{}]), "app.mountPoints[0].path"),
        (image_with_app(mountPoints=[{"path": "/a"}]), "app.mountPoints[0].name"),
        (image_with_app(ports=[{"port": 80}]), "app.ports[0].protocol"),
        (image_with_app(ports=[{"port": 80, "name": "a", "protocol": "tcp", "count": 0}]), "app.ports[0].count"),
        (image(app=None), "app"),
    ],
)
def test_refused_only_when_strict(raw, path):
    assert faults(ImageManifest, raw) == {}
    assert path in faults(ImageManifest, raw, strict=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"exec": []},
        {"exec": ["app"]},
        {"exec": ["bin/app", "arg"]},
        {"exec": [""]},
        {"user": "root", "group": "/usr/bin/ping"},
        {"environment": [{"name": "_0_DEBUG.x-y", "value": ""}]},
        {"ports": [{"name": "a", "protocol": "sctp", "port": 65535}]},
        {"mountPoints": [{"name": "a", "path": "/a"}, {"name": "a", "path": "/a"}]},
        {"userAnnotations": {"weird!": "normal?", "": ""}},
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_accepted_in_an_app(fields, strict):
    assert faults(ImageManifest, image_with_app(**fields), strict) == {}


def test_an_app_without_exec_reads_as_the_go_tools_read_it():
    manifest = ImageManifest.parse(image(app={"user": "0", "group": "0"}))
    assert manifest.app is not None
    assert manifest.app.exec == ()


def test_a_count_of_zero_means_one_port():
    manifest = ImageManifest.parse(image_with_app(ports=[{"port": 80, "count": 0}, {"port": 81}]))
    assert manifest.app is not None
    assert [port.count for port in manifest.app.ports] == [1, 1]


OS_ARCH = {
    "linux": "amd64 i386 aarch64 aarch64_be armv6l armv7l armv7b ppc64 ppc64le s390x",
    "freebsd": "amd64 i386 arm",
    "darwin": "x86_64 i386",
}


@pytest.mark.parametrize("system", OS_ARCH)
def test_known_platforms(system):
    for arch in OS_ARCH[system].split():
        labels = [{"name": "arch", "value": arch}, {"name": "os", "value": system}]
        assert faults(ImageManifest, image(labels=labels), strict=True) == {}


@pytest.mark.parametrize(
    ("system", "arch"),
    [
        *(("linux", arch) for arch in ("arm64", "arm64_be", "arm", "ppc64l", "ppc64b", "S390x", "x86_64", "")),
        ("freebsd", "armv7b"),
        ("darwin", "amd64"),
    ],
)
def test_unknown_architectures_name_the_known_ones(system, arch):
    labels = [{"name": "os", "value": system}, {"name": "arch", "value": arch}]
    found = faults(ImageManifest, image(labels=labels))
    assert list(found) == ["labels[1].value"]
    for known in OS_ARCH[system].split():
        assert known in found["labels[1].value"]


def test_an_unknown_os_is_refused_but_an_architecture_alone_is_not():
    assert faults(ImageManifest, image(labels=[{"name": "os", "value": "OS/360"}])) == {
        "labels[0].value": '"OS/360" is not one of darwin, freebsd, linux'
    }
    assert faults(ImageManifest, image(labels=[{"name": "arch", "value": "S/360"}]), strict=True) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("foobar,path=/tmp", {"name": "foobar", "path": "/tmp"}),
        ("foobar,path=/tmp,readOnly=true", {"name": "foobar", "path": "/tmp", "readOnly": True}),
        ("foobar,readOnly=F,path=/a=b%20+", {"name": "foobar", "path": "/a=b%20+", "readOnly": False}),
    ],
)
def test_mount_points_in_one_line(text, expected):
    assert MountPoint.parse_string(text).to_dict() == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "foobar", ",path=/", "#foobar,path=/tmp", "foobar,path=", "foobar,path=/tmp,readOnly="),
        *("foobar,path=/tmp,readOnly=maybe", "foobar,path=/tmp,asdf=asdf", "foobar,path=/a,path=/b", "foobar,path"),
        *("foobar,name=b,path=/a", "foobar,path=/tmp,"),
    ],
)
def test_not_mount_points(text):
    with pytest.raises(InvalidValue) as caught:
        MountPoint.parse_string(text)
    assert caught.value.hint == "the form is NAME,path=/PATH[,readOnly=true]"
    assert "\n" not in str(caught.value)


def test_ports_in_one_line():
    port = Port.parse_string("www,protocol=tcp,port=80,count=3,socketActivated=1")
    assert (port.name, port.protocol, port.port, port.count, port.socket_activated) == ("www", "tcp", 80, 3, True)
    assert Port.parse_string("www,port=80").count == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "www", "www,port=", "www,port=x", "www,port=0", "www,port=65536", "www,port=80,x=1", "WWW,port=80"),
        *("www,port=65000,count=1000", "www,port=80,socketActivated=yes", "www,port=" + "9" * 5000),
    ],
)
def test_not_ports(text):
    with pytest.raises(InvalidValue):
        Port.parse_string(text)


def test_an_app_keeps_its_users_words():
    manifest = ImageManifest.parse(image(app=app(userAnnotations={"a b": "c"}, userLabels={"x": "y"})))
    assert manifest.app is not None
    assert dict(manifest.app.user_annotations) == {"a b": "c"}
    assert manifest.app.user_labels["x"] == "y"
