"""The words of `run`, `prepare` and `plan` as a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appc.cli.context import Context
from appc.cli.options import parse
from appc.cli.pod_options import request
from appc.cli.run import VERB
from appc.errors import AppcError, UsageError
from appc.pods.request import PodRequest


@pytest.fixture
def read(tmp_path: Path) -> Any:
    context = Context(str(tmp_path / "root"), str(tmp_path / "state"), [str(tmp_path)])
    return lambda *words: request(parse(VERB, words), context)


def isolators(found: PodRequest, index: int = 0) -> dict[str, Any]:
    return {str(isolator.name): isolator.to_dict()["value"] for isolator in found.apps[index].isolators}


def test_nothing_but_an_image(read: Any) -> None:
    found = read("example.com/web")
    (app,) = found.apps
    assert (app.image, app.name, app.exec_, app.args, app.environment) == ("example.com/web", "", (), (), ())
    assert (found.net, found.pull, found.grace, found.remove, found.strict) == ("none", "new", 10.0, False, False)
    assert found.inherited == ()


def test_the_grammar_of_several_apps(read: Any) -> None:
    found = read(
        *("--net", "host", "a.aci", "--name", "one", "--", "--net", "x", "---", "b.aci", "--exec", "/bin/b"),
        *("--", "--", "---", "c.aci"),
    )
    assert [(app.image, app.name, app.exec_, app.args) for app in found.apps] == [
        ("a.aci", "one", (), ("--net", "x")),
        ("b.aci", "", ("/bin/b",), ("--",)),
        ("c.aci", "", (), ()),
    ]
    assert found.net == "host"


def test_words_of_an_app(read: Any) -> None:
    (app,) = read(
        *("x", "--user", "alice", "--group", "staff", "--supplementary-gids", "1,2", "--working-dir", "/w"),
        *("--env", "A=b", "-e", "C=d=e", "-e", "E=", "--mount", "volume=v,target=/d", "--readonly-rootfs"),
        *("--annotation", "a=b", "--user-annotation", "c=d", "--user-label", "e=f", "--signature", "x.asc"),
        *("--stdin", "stream", "--stdout", "null", "--stderr", "log"),
    ).apps
    assert (app.user, app.group, app.supplementary_gids, app.working_directory) == ("alice", "staff", (1, 2), "/w")
    assert app.environment == (("A", "b"), ("C", "d=e"), ("E", ""))
    assert [(mount.volume, mount.path) for mount in app.mounts] == [("v", "/d")]
    assert app.read_only_root_fs
    assert (app.annotations, app.user_annotations, app.user_labels) == ((("a", "b"),), (("c", "d"),), (("e", "f"),))
    assert (app.signature, app.stdin, app.stdout, app.stderr) == ("x.asc", "stream", "null", "log")


def test_isolators(read: Any) -> None:
    found = isolators(
        read(
            *("x", "--memory", "64Mi", "--cpu", "250m", "--caps-retain", "net_admin,CAP_KILL"),
            *("--seccomp", "mode=remove,errno=EPERM,reboot,swapon", "--no-new-privileges"),
            *("--isolator", "resource/block-iops,default=true,limit=5"),
        )
    )
    assert found == {
        "resource/memory": {"limit": "64Mi"},
        "resource/cpu": {"limit": "250m"},
        "os/linux/capabilities-retain-set": {"set": ["CAP_NET_ADMIN", "CAP_KILL"]},
        "os/linux/seccomp-remove-set": {"errno": "EPERM", "set": ["reboot", "swapon"]},
        "os/linux/no-new-privileges": True,
        "resource/block-iops": {"default": True, "limit": "5"},
    }


def test_words_of_the_pod(read: Any) -> None:
    found = read(
        *("--volume", "v,kind=empty,mode=0700", "--volume", "h,kind=host,source=/x,readOnly=true"),
        *("--mount", "volume=v,target=/d", "--hostname", "h", "--set-env", "A=b", "--annotation", "a=b"),
        *("--user-annotation", "c=d", "--user-label", "e=f", "--strict", "--rm", "--pull", "never"),
        *("--insecure", "image", "--grace", "1m30s", "x"),
    )
    assert [(volume.name, volume.kind) for volume in found.volumes] == [("v", "empty"), ("h", "host")]
    assert found.volumes[1].read_only is True
    assert [(mount.volume, mount.path) for mount in found.mounts] == [("v", "/d")]
    assert (found.hostname, found.environment, found.grace) == ("h", (("A", "b"),), 90.0)
    assert (found.strict, found.remove, found.pull, found.insecure) == (True, True, "never", ("image",))
    assert (found.annotations, found.user_annotations, found.user_labels) == (
        (("a", "b"),),
        (("c", "d"),),
        (("e", "f"),),
    )


def test_the_grace_time_of_the_configuration(read: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"stop": {"grace": 3}}')
    assert read("x").grace == 3.0
    assert read("--grace", "0", "x").grace == 0.0


def test_files_of_variables(read: Any, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"# comment\n\n  ; another\nA=1\nB = no\n".replace(b"B = no\n", b"B=\xff=x\n"))
    (tmp_path / "two").write_text("A=2\n")
    found = read(
        "--set-env-file", str(tmp_path / "one"), "--set-env-file", str(tmp_path / "two"), "--set-env", "A=3", "x"
    )
    assert found.environment == (("A", "1"), ("B", "\udcff=x"), ("A", "2"), ("A", "3"))


@pytest.mark.parametrize(("line", "what"), [("A", "'A' is not NAME=VALUE"), ("A B=c", '"A B" is not a variable')])
def test_a_faulty_line(read: Any, tmp_path: Path, line: str, what: str) -> None:
    place = tmp_path / "file"
    place.write_text(f"# first\n{line}\n")
    with pytest.raises(AppcError) as caught:
        read("--set-env-file", str(place), "x")
    assert str(caught.value).startswith(f"{place}:2: ")
    assert what in str(caught.value)


def test_the_callers_environment(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "1")
    monkeypatch.setenv("BASH_FUNC_f%%", "() { :; }")
    found = dict(read("--inherit-env", "x").inherited)
    assert found["MINE"] == "1"
    assert "BASH_FUNC_f%%" not in found


def test_a_pod_manifest(read: Any, tmp_path: Path) -> None:
    place = tmp_path / "pod.json"
    place.write_text('{"acKind": "PodManifest", "acVersion": "0.8.11", "apps": []}')
    found = read("--pod-manifest", str(place), "--hostname", "h", "--rm")
    assert found.apps == ()
    assert found.manifest is not None
    assert (found.hostname, found.remove) == ("h", True)
    place.write_bytes(b" " * (4 << 20) + b"{}")
    with pytest.raises(AppcError, match="is larger than"):
        read("--pod-manifest", str(place))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "no image is named"),
        (("x", "--user", ""), "must not be empty"),
        (("x", "--supplementary-gids", "1,staff"), "is not a list of group IDs"),
        (("x", "--seccomp", "read"), "mode=retain|remove"),
        (("x", "--seccomp", "mode=retain,mode=remove,read"), "mode=retain|remove"),
        (("x", "--mount", "volume=a,volume=b"), "the form is volume=NAME,target=/PATH"),
        (("x", "--mount", "volume=a,target=relative"), "is not volume=NAME,target=/PATH"),
        (("x", "--caps-remove", "CAP_NOTHING"), "there is no capability CAP_NOTHING"),
        (("--interactive", "x", "---", "y"), "needs a pod of one app"),
        (("--user", "root", "x"), "no image comes before it"),
        (("x", "--name", "a", "--name", "b"), "given twice for x"),
        (("--dns", "beef", "x"), "'beef' is not host, none or an address"),
        (("--dns", "192.0.2", "x"), "'192.0.2' is not host, none or an address"),
        (("--dns", "1:2:3", "x"), "'1:2:3' is not host, none or an address"),
        (("--hosts-entry", "web=db", "x"), "'web=db' is not IP=NAME[,NAME...], nor host"),
        (("--hosts-entry", "192.0.2.1=", "x"), "'192.0.2.1=' is not IP=NAME[,NAME...], nor host"),
        (("--hosts-entry", "192.0.2.1=a b", "x"), "'192.0.2.1=a b' is not IP=NAME[,NAME...], nor host"),
    ],
)
def test_words_that_are_refused(read: Any, words: tuple[str, ...], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert what in str(caught.value)


def test_words_of_name_resolution(read: Any) -> None:
    found = read(
        *("--dns", "192.0.2.1", "--dns", "2001:db8::1", "--dns", "fe80::1%eth0"),
        *("--hosts-entry", "2001:db8::2=db.example,db", "--hosts-entry", "host", "x"),
    ).names
    assert found.servers == ("192.0.2.1", "2001:db8::1", "fe80::1%eth0")
    assert found.hosts == (("2001:db8::2", ("db.example", "db")), ("host", ()))
