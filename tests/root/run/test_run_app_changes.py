"""`appc app`: apps of a pod that runs are stopped, started again, removed and added."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, one_app, wait_for

from appc.config import Directories
from appc.errors import PodStateError
from appc.executor import addition, api
from appc.host import cgroupfs, probe
from appc.pods import layout
from appc.pods.request import AppRequest, PodRequest
from appc.schema.isolators import Isolator
from capabilities import need

pytestmark = pytest.mark.root

SHELL = ("--exec", "/bin/sh", "--", "-c")


def states(appc: Appc, uuid: str) -> dict[str, str]:
    return {app["name"]: app["state"] for app in appc.status(uuid)["apps"]}


@pytest.fixture
def pod(appc: Appc) -> str:
    """A pod of two apps that wait."""
    return appc.detached(PROBE, "--name", "web", "--", "wait", "---", PROBE, "--name", "cron", "--", "wait")


class TestPrivateUsers:
    @pytest.fixture(autouse=True)
    def mapped(self) -> None:
        need("idmap")

    def test_apps_come_and_come_again_in_the_pods_users(self, appc: Appc) -> None:
        flags = ("--restart", "on-failure", "--volume", "data,kind=empty")
        uuid = appc.detached("--private-users", *flags[2:], PROBE, "--name", "web", *flags[:2], "--", "wait")

        def user(app: str) -> str:
            pid = next(one["pid"] for one in appc.status(uuid)["apps"] if one["name"] == app)
            return next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "Uid" in line)

        first = user("web")
        assert first.split()[1] != "0"
        assert appc("kill", "--app", "web", uuid).status == 0
        wait_for(lambda: appc.status(uuid)["apps"][0]["restarts"] == 1 and appc.status(uuid)["apps"][0]["pid"])
        assert user("web") == first
        assert appc("app", "stop", uuid, "web").status == 0
        done = appc("app", "start", uuid, "web")
        assert done.status == 0, done
        assert user("web") == first
        script = "echo mine > /data/x; stat -c %u /data/x; exec sleep 600"
        done = appc("app", "add", uuid, PROBE, "--name", "late", "--mount", "volume=data,target=/data", *SHELL, script)
        assert done.status == 0, done
        assert user("late") == first
        wait_for(lambda: appc("logs", "--app", "late", uuid).out == "0\n")
        assert appc("app", "rm", "--force", uuid, "late").status == 0


class TestStopAndStart:
    def test_the_pod_goes_on(self, appc: Appc, pod: str) -> None:
        assert appc("app", "stop", pod, "web").status == 0
        assert states(appc, pod) == {"web": "stopped", "cron": "running"}
        assert appc("app", "stop", pod, "web", "cron").status == 0
        assert appc.status(pod)["state"] == "running"
        done = appc("app", "start", pod, "cron", "web")
        assert done.status == 0, done
        assert states(appc, pod) == {"web": "running", "cron": "running"}
        assert appc("stop", pod).status == 0
        assert appc.status(pod)["exit-status"] == 143

    def test_a_pod_that_ends_forgets_that_an_app_was_stopped(self, appc: Appc, pod: str) -> None:
        assert appc("app", "stop", pod, "web", "cron").status == 0
        assert appc("stop", pod).status == 0
        document = appc.status(pod)
        assert document["exit-status"] == 0
        assert {app["state"] for app in document["apps"]} == {"exited"}

    def test_the_root_is_the_one_the_app_left(self, appc: Appc) -> None:
        script = "echo run >> /runs; cat /runs; exec sleep 600"
        uuid = appc.detached(PROBE, "--name", "web", "--user", "0", *SHELL, script)
        for count in (1, 2, 3):
            wait_for(lambda count=count: appc("logs", uuid).out.count("run\n") == count * (count + 1) // 2)
            assert appc("app", "stop", uuid, "web", "--grace", "0").status == 0
            assert appc("app", "start", uuid, "web").status == 0

    def test_it_is_contained_as_before(self, appc: Appc) -> None:
        flags = ("--user", "alice", "--group", "staff", "--caps-retain", "NET_ADMIN", "--memory", "64Mi")
        uuid = appc.detached(PROBE, "--name", "web", *flags, "--", "report", "echo", "end", "wait")
        wait_for(lambda: appc("logs", uuid).out.count("\nend\n") == 1)
        assert appc("app", "stop", uuid, "web", "--grace", "0").status == 0
        assert appc("app", "start", uuid, "web").status == 0
        wait_for(lambda: appc("logs", uuid).out.count("\nend\n") == 2)
        first, again = appc("logs", uuid).out.split("argv.0=")[1:]
        different = set(first.splitlines()) ^ set(again.splitlines())
        assert {line.partition("=")[0] for line in different} <= {"pid", "sid", "pgid", "fd.1", "fd.2"}, different

    def test_handlers_run_around(self, appc: Appc, sandbox: Path) -> None:
        events = [
            {"name": "pre-start", "exec": ["/probe", "echo", "pre"]},
            {"name": "post-stop", "exec": ["/probe", "echo", "post"]},
        ]
        app = one_app(["/probe", "wait"], eventHandlers=events)
        appc.add(sandbox / "x.aci", name="example.com/events", app=app, dependencies=[{"imageName": PROBE}])
        uuid = appc.detached("example.com/events")
        assert appc("app", "stop", uuid, "events").status == 0
        assert appc("app", "start", uuid, "events").status == 0
        assert appc("logs", uuid).out.split() == ["pre", "post", "pre"]

    def test_a_program_that_is_gone_is_explained_and_the_app_stays_stopped(self, appc: Appc) -> None:
        uuid = appc.detached(PROBE, "--name", "web", *SHELL, "rm /bin/sh; exec /bin/sleep 600")
        wait_for(lambda: not Path(f"/proc/{appc.status(uuid)['apps'][0]['pid']}/root/bin/sh").is_symlink())
        assert appc("app", "stop", uuid, "web", "--grace", "0").status == 0
        done = appc("app", "start", uuid, "web")
        assert done.status in (126, 127)
        assert done.err.startswith("appc: app web: /bin/sh: ")
        assert states(appc, uuid) == {"web": "stopped"}

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("start", "web"), "runs"),
            (("rm", "web"), "runs"),
            (("start", "absent"), "has no app absent"),
            (("stop", "absent"), "has no app absent"),
            (("rm", "absent"), "has no app absent"),
        ],
    )
    def test_what_cannot_be(self, appc: Appc, pod: str, words: tuple[str, str], said: str) -> None:
        done = appc("app", words[0], pod, words[1])
        assert done.status == 1
        assert said in done.err
        assert states(appc, pod) == {"web": "running", "cron": "running"}

    def test_a_pod_that_does_not_run(self, appc: Appc, pod: str) -> None:
        assert appc("stop", pod).status == 0
        for verb in ("start", "stop", "rm"):
            done = appc("app", verb, pod, "web")
            assert done.status == 1
            assert "is not running (exited)" in done.err


class TestRemove:
    def test_nothing_is_left_of_it(self, appc: Appc, pod: str) -> None:
        assert appc("app", "stop", pod, "web").status == 0
        done = appc("app", "rm", pod, "web")
        assert done.status == 0, done
        assert states(appc, pod) == {"cron": "running"}
        assert [app["name"] for app in json.loads(appc("manifest", pod).out)["apps"]] == ["cron"]
        directory = Path(appc.the_pod().path)
        assert not list(directory.rglob("web*"))
        groups = [Path(path, "web") for path in cgroupfs.pod_directories(pod, probe.facts())]
        assert not any(path.exists() for path in groups)
        assert appc("enter", pod, "/probe", "exit", "3").status == 3

    def test_the_last_app_stays(self, appc: Appc, pod: str) -> None:
        done = appc("app", "rm", "--force", pod, "web", "cron")
        assert done.status == 1
        assert "app cron: is the pod's last app" in done.err
        assert states(appc, pod) == {"cron": "running"}


class TestAdd:
    def test_it_is_one_of_the_pods_apps(self, appc: Appc, pod: str) -> None:
        done = appc("app", "add", pod, PROBE, "--name", "late", "--env", "COLOUR=red", "--", "report", "wait")
        assert (done.status, done.out) == (0, "late\n"), done
        assert states(appc, pod) == {"web": "running", "cron": "running", "late": "running"}
        report = wait_for(lambda: (out := appc("logs", pod, "--app", "late").out).count("\npid=") and out)
        assert "env.COLOUR=red\n" in report
        # In the pod's namespaces and group.
        pids = {app["name"]: app["pid"] for app in appc.status(pod)["apps"]}
        for kind in ("net", "ipc", "uts", "pid"):
            assert len({os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids.values()}) == 1
        groups = [Path(f"/proc/{pids[name]}/cgroup").read_text().replace(name, "") for name in ("web", "late")]
        assert groups[0] == groups[1]
        manifest = json.loads(appc("manifest", pod).out)
        assert [app["name"] for app in manifest["apps"]] == ["web", "cron", "late"]
        assert appc("enter", pod, "--app", "late", "/probe", "exit", "5").status == 5

    def test_it_can_be_stopped_started_removed_and_added_again(self, appc: Appc, pod: str) -> None:
        for _ in range(2):
            assert appc("app", "add", pod, PROBE, "--name", "late", "--", "wait").status == 0
            assert appc("app", "stop", pod, "late").status == 0
            assert appc("app", "start", pod, "late").status == 0
            assert appc("app", "rm", "--force", pod, "late").status == 0
        assert appc("stop", pod).status == 0

    def test_it_shares_volumes_and_brings_its_own(self, appc: Appc, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("of the host\n")
        words = ("--volume", "data,kind=empty", PROBE, "--name", "web", "--mount", "volume=data,target=/data")
        uuid = appc.detached(*words, "--", "write", "/data/x", "of web\n", "wait")
        done = appc(
            "app",
            "add",
            uuid,
            "--volume",
            f"host,kind=host,source={tmp_path}",
            PROBE,
            "--name",
            "late",
            "--mount",
            "volume=data,target=/data",
            "--mount",
            "volume=host,target=/host",
            "--",
            *("read", "/data/x", "read", "/host/file", "wait"),
        )
        assert done.status == 0, done
        wait_for(lambda: appc("logs", uuid, "--app", "late").out == "of web\nof the host\n")
        assert [volume["name"] for volume in json.loads(appc("manifest", uuid).out)["volumes"]] == ["data", "host"]

    def test_its_limits_bind_and_are_told(self, appc: Appc, pod: str) -> None:
        need("memory-controller")
        assert appc("app", "add", pod, PROBE, "--name", "late", "--memory", "32Mi", "--", "wait").status == 0
        rows = [(row["scope"], row["name"], row["outcome"]) for row in appc.status(pod)["isolators"]]
        assert ("late", "resource/memory", "enforced") in rows
        assert appc("enter", pod, "--app", "late", "/probe", "memory", "64").status != 0

    def test_its_death_is_explained_and_its_groups_go_with_the_pod(self, appc: Appc, pod: str) -> None:
        need("memory-controller")
        flags = ("--name", "late", "--memory", "32Mi")
        assert appc("app", "add", pod, PROBE, *flags, "--", "memory", "64", "wait").status in (0, 1, 125)
        document = wait_for(lambda: (now := appc.status(pod))["state"] == "exited" and now)
        late = next(app for app in document["apps"] if app["name"] == "late")
        assert (late["signal"], late["out-of-memory"]) == (9, True)
        assert cgroupfs.pod_directories(pod, probe.facts()) == []

    def test_the_metadata_service_knows_it(self, appc: Appc, pod: str) -> None:
        assert appc("app", "add", pod, PROBE, "--name", "late", "--", "wait").status == 0
        request = r"GET /%s/acMetadata/v1/apps/late/image/id HTTP/1.0\r\nMetadata-Flavor: AppContainer\r\n\r\n"
        fetch = f"u=${{AC_METADATA_URL#http://}}; h=${{u%%/*}}; printf '{request}' ${{u#*/}} | nc ${{h%:*}} ${{h#*:}}"
        done = appc("enter", pod, "--app", "late", "/bin/sh", "-c", fetch)
        assert "200 OK" in done.out, done
        assert "sha512-" in done.out

    def test_policies_and_readiness_are_its_own(self, appc: Appc, pod: str) -> None:
        assert appc("app", "add", pod, PROBE, "--name", "late", "--restart", "always", "--", "exit", "1").status == 0
        wait_for(lambda: appc.status(pod)["apps"][2]["restarts"] > 1)
        assert appc("app", "stop", pod, "late").status == 0
        assert states(appc, pod)["late"] == "stopped"

    def test_several_come_together_or_not_at_all(self, appc: Appc, pod: str) -> None:
        before = {path: path.read_bytes() for path in Path(appc.the_pod().path).rglob("*") if path.is_file()}
        groups = [Path(path, name) for path in cgroupfs.pod_directories(pod, probe.facts()) for name in ("a", "b")]
        both = (PROBE, "--name", "a", "--memory", "64Mi", "--", "wait", "---", PROBE, "--name", "b", "--exec")
        done = appc("app", "add", pod, "--volume", "new,kind=empty", *both, "/nowhere")
        assert done.status == 127
        assert done.err.splitlines()[0] == "appc: app b: /nowhere: no such file in the image"
        assert states(appc, pod) == {"web": "running", "cron": "running"}
        after = {path: path.read_bytes() for path in Path(appc.the_pod().path).rglob("*") if path.is_file()}
        assert after == before
        assert not any(group.exists() for group in groups)
        assert appc("app", "add", pod, *both, "/probe", "--", "wait").status == 0

    def test_a_pre_start_that_fails(self, appc: Appc, pod: str, sandbox: Path) -> None:
        events = [{"name": "pre-start", "exec": ["/probe", "exit", "3"]}]
        app = one_app(["/probe", "wait"], eventHandlers=events)
        appc.add(sandbox / "x.aci", name="example.com/failing", app=app, dependencies=[{"imageName": PROBE}])
        done = appc("app", "add", pod, "example.com/failing")
        assert done.status == 1
        assert done.err.splitlines()[0] == "appc: pre-start handler of app failing: ended with status 3"
        assert states(appc, pod) == {"web": "running", "cron": "running"}

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ((PROBE, "--name", "web"), "app web of pod"),
            (("example.com/absent",), "example.com/absent"),
            ((PROBE, "--name", "x", "--stdin", "tty"), "has no terminal"),
            ((PROBE, "--name", "x", "--mount", "volume=absent,target=/x"), "not defined"),
            ((PROBE, "--name", "x", "--restart", "sometimes"), "sometimes"),
            ((), "no image is named"),
        ],
    )
    def test_what_is_refused_changes_nothing(self, appc: Appc, pod: str, words: tuple[str, ...], said: str) -> None:
        done = appc("app", "add", pod, *words)
        assert done.status in (1, 2)
        assert said in done.err
        assert states(appc, pod) == {"web": "running", "cron": "running"}


def test_the_list(appc: Appc, pod: str) -> None:
    assert appc("app", "stop", pod, "web").status == 0
    lines = appc("app", "list", pod).out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["web", PROBE, "stopped"],
        ["cron", PROBE, "running"],
    ]


def test_from_python(appc: Appc) -> None:
    where = Directories(str(appc.root), str(appc.state), (str(appc.config),))
    apps = (api.App(PROBE, name="web", args=("wait",)), api.App(PROBE, name="cron", args=("wait",)))
    with api.run(*apps, directories=where) as pod:
        pod.stop_app("web")
        assert pod.status["apps"][0]["state"] == "stopped"
        pod.start_app("web")
        with pytest.raises(PodStateError, match="runs"):
            pod.start_app("web")
        pod.remove_app("web", force=True)
        assert pod.add_app(api.App(PROBE, name="late", args=("wait",)), directories=where) == ["late"]
        pod.remove_app("late", force=True)
        assert [app["name"] for app in pod.manifest["apps"]] == ["cron"]


def test_groups_of_an_app_whose_coming_was_killed_go_with_the_pod(appc: Appc, monkeypatch: pytest.MonkeyPatch) -> None:
    need("memory-controller")
    uuid = appc.detached("--rm", PROBE, "--name", "web", "--", "wait")
    where = Directories(str(appc.root), str(appc.state), (str(appc.config),))
    late = PodRequest(
        (AppRequest(PROBE, name="late", isolators=(Isolator.parse_string("resource/memory,limit=64Mi"),)),)
    )
    # As kill -9 would end it: before the keeper was told.
    monkeypatch.setattr(addition, "perform", lambda *_: os._exit(9))
    child = os.fork()
    if child == 0:
        try:
            addition.add(layout.find(str(appc.root), uuid), where, late, [])
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert any(path.endswith("/late") for path in cgroupfs.pod_directories(uuid, probe.facts()))
    appc("stop", uuid)
    wait_for(lambda: appc.pods() == [])
    assert cgroupfs.pod_directories(uuid, probe.facts()) == []
