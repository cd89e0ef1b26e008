"""What the Python interface makes of its arguments, without running anything."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import appc
from appc.errors import AppcError, HostError, PodStateError, UsageError
from appc.executor import api
from appc.pods.layout import Pod
from appc.pods.request import PodRequest


class Asked(Exception):
    """Raised in place of preparing a pod."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Call `appc.run` and return the request it makes."""

    def prepare(where: appc.Directories, request: PodRequest, warnings: list[str]) -> None:
        raise Asked(request)

    monkeypatch.setattr(api, "prepare", prepare)

    def call(*apps: Any, **words: Any) -> PodRequest:
        where = appc.Directories(str(tmp_path), str(tmp_path), [str(tmp_path)])
        with pytest.raises(Asked) as caught:
            appc.run(*apps, directories=where, **words)
        request: PodRequest = caught.value.args[0]
        return request

    return call


def test_importing_costs_nothing() -> None:
    program = "import sys, appc; print([name for name in sys.modules if name.startswith('appc.')])"
    source = str(Path(appc.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": source}
    )
    assert done.stdout == "[]\n"


def test_what_is_offered() -> None:
    for name in appc.__all__:
        assert getattr(appc, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = appc.nothing


def test_how_images_are_had_is_passed_on(asked: Any) -> None:
    request = asked("example.com/web", pull="never", offline=True, insecure=["image"])
    assert (request.pull, request.insecure, request.network().offline) == ("never", ("image",), True)
    request = asked("example.com/web")
    assert (request.pull, request.network().offline) == ("new", False)


def test_users_of_the_pods_own_are_passed_on(asked: Any) -> None:
    assert asked("example.com/web", private_users="1000000:65536").private_users == "1000000:65536"
    assert asked("example.com/web").private_users == ""


def test_without_the_network_only_this_host_is_asked(tmp_path: Path) -> None:
    where = appc.Directories(str(tmp_path / "data"), str(tmp_path), [str(tmp_path)])
    for name in ("example.com/app", "https://example.com/app.aci", "docker://example.com/app"):
        with pytest.raises(AppcError, match="network"):
            appc.fetch(name, offline=True, directories=where)


def test_one_image_and_what_to_change_about_it(asked: Any) -> None:
    request = asked(
        "example.com/web",
        args=["-v"],
        name="main",
        exec="/bin/x",
        env={"A": "b"},
        user="alice",
        group="staff",
        working_dir="/w",
        memory="64Mi",
        cpu="250m",
        mounts={"/data": "v"},
        volumes={"v": "/host", "w": None},
        net="host",
        hostname="h",
        read_only=True,
        strict=True,
        insecure=["image"],
        grace=2,
    )
    (app,) = request.apps
    assert (app.image, app.name, app.exec_, app.args) == ("example.com/web", "main", ("/bin/x",), ("-v",))
    assert (app.user, app.group, app.working_directory, app.environment) == ("alice", "staff", "/w", (("A", "b"),))
    assert [(mount.volume, mount.path) for mount in app.mounts] == [("v", "/data")]
    assert [str(isolator.name) for isolator in app.isolators] == ["resource/memory", "resource/cpu"]
    assert app.read_only_root_fs
    assert [(v.name, v.kind, v.source) for v in request.volumes] == [("v", "host", "/host"), ("w", "empty", "")]
    assert (request.net, request.hostname, request.strict, request.insecure) == ("host", "h", True, ("image",))
    assert request.grace == 2


def test_an_image_that_was_fetched_is_meant_by_its_id(asked: Any) -> None:
    class Fetched:
        id = "sha512-" + "0" * 128

    assert asked(Fetched()).apps[0].image == Fetched.id


def test_the_grace_time_of_the_configuration(asked: Any, tmp_path: Path) -> None:
    assert asked("x").grace == 10.0
    (tmp_path / "config.json").write_text('{"stop": {"grace": 4}}')
    assert asked("x").grace == 4.0
    assert asked("x", grace=0).grace == 0


def test_several_apps(asked: Any) -> None:
    request = asked("a", appc.App("b", name="second", args=("x",)), volumes={"v": None})
    assert [(app.image, app.name) for app in request.apps] == [("a", ""), ("b", "second")]


@pytest.mark.parametrize("words", [{"args": ["x"]}, {"memory": "1Mi"}, {"mounts": {"/x": "v"}}, {"read_only": True}])
def test_words_of_one_app_need_one_image(words: dict[str, Any]) -> None:
    for apps in (("a", "b"), (appc.App("a"),), ()):
        with pytest.raises(UsageError, match="options of an app need just one image"):
            appc.run(*apps, **words)


@pytest.mark.parametrize("words", [{"memory": "lots"}, {"cpu": "x"}, {"volumes": {"Bad Name": None}}])
def test_values_that_are_none(words: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AppcError):
        appc.run("a", directories=appc.Directories(str(tmp_path), str(tmp_path), [str(tmp_path)]), **words)


def test_an_error_of_the_system_is_one_of_appcs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def prepare(*args: object) -> None:
        raise OSError(28, "No space left on device", "/var/lib/appc/x")

    monkeypatch.setattr(api, "prepare", prepare)
    where = appc.Directories(str(tmp_path), str(tmp_path), [str(tmp_path)])
    with pytest.raises(HostError) as caught:
        appc.run("a", directories=where)
    assert str(caught.value) == "/var/lib/appc/x: no space left on device"
    assert "appc gc" in caught.value.hint


@pytest.fixture
def ended(tmp_path: Path) -> appc.RunningPod:
    """A pod that has ended, as far as anybody can see."""
    uuid = "01234567-89ab-4cde-8f01-23456789abcd"
    (tmp_path / "pods/exited" / uuid / "status").mkdir(parents=True)
    return appc.RunningPod(Pod(str(tmp_path), "exited", uuid), ["noted"], None)


def test_a_pod_that_has_ended(ended: appc.RunningPod) -> None:
    assert ended.warnings == ("noted",)
    assert repr(ended) == f"<pod {ended.uuid}>"
    assert ended.wait(0) is None
    with pytest.raises(PodStateError, match="has ended"):
        ended.wait_ready(0)
    with pytest.raises(PodStateError, match="has no manifest"):
        _ = ended.manifest
    ended.stop()


def test_a_keeper_somebody_else_has_waited_for(ended: appc.RunningPod) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    mine = appc.RunningPod(ended._pod, [], process.pid)
    threads = [threading.Thread(target=lambda: mine.wait(0)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mine.status["state"] == "exited"


def test_a_keeper_is_collected_once_its_pod_has_ended(ended: appc.RunningPod) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.1)"])
    mine = appc.RunningPod(ended._pod, [], process.pid)
    mine.wait(5)
    assert process.poll() is not None
