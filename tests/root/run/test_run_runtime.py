"""Pods whose apps another OCI runtime makes (`--runtime`): the sandbox, and what is said of the apps, is as ever."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pod_kit import PROBE, Appc, Done, one_app, wait_for

from appc.config import Directories
from appc.errors import UsageError
from appc.executor import api
from appc.host.probe import facts
from appc.host.procs import start_time
from capabilities import need
from starter import installed

pytestmark = pytest.mark.root

slow = pytest.mark.slow
SHELL = ("--exec", "/bin/sh", "--", "-c")
# crun knows pure cgroup v2 alone, so it gets to see no other.
PURE_V2 = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "
SYS_RESOURCE = 1 << 24
# crun loads a program for devices, for which it needs a capability that this machine may not grant anybody.
WITHOUT_DEVICES = f"""#!{sys.executable} -IS
import json, os, sys
words = sys.argv[1:]
if "create" in words:
    bundle = words[words.index("--bundle") + 1]
    config = json.load(open(bundle + "/config.json"))
    config["linux"]["resources"].pop("devices", None)
    json.dump(config, open(bundle + "/less.json", "w"))
    at = words.index("create") + 1
    words[at:at] = ["--config", bundle + "/less.json"]
os.execvp("crun", ["crun", *words])
"""


class Host(Appc):
    """The command line, with a runtime for each pod."""

    def __init__(self, appc: Appc, runtime: str, within: tuple[str, ...] = ()) -> None:
        super().__init__(appc.base)
        self.runtime = runtime
        self.within = within

    def words(self, *words: str) -> list[str]:
        if words[0] in ("run", "prepare", "plan"):
            words = (words[0], "--runtime", self.runtime, *words[1:])
        return [*self.within, *super().words(*words)]


RUNTIMES = ["runc", "crun", "appc-oci"]
# Those that get to see the controllers of this host.
limiting = pytest.mark.parametrize(
    "host", [name for name in RUNTIMES if name != "crun" or facts().cgroup == "v2"], indirect=True
)


def states() -> set[Path]:
    """What lies where runtimes keep their states, if they are not told another place."""
    return {path for name in ("runc", "crun", "appc-oci") for path in Path("/run", name).glob("*")}


@pytest.fixture(params=RUNTIMES)
def host(request: pytest.FixtureRequest, appc: Appc, sandbox: Path) -> Iterator[Host]:
    """The command line with one runtime after the other, none of which leaves anything of its own behind."""
    name = request.param
    within: tuple[str, ...] = ()
    runtime = name
    if name == "appc-oci":
        runtime = str(installed(sandbox / "installed"))
    else:
        need(name)
    if name == "crun" and facts().cgroup != "v2":
        within = ("unshare", "--mount", "sh", "-c", f'{PURE_V2} "$@"', "sh")
    if name == "crun" and not facts().caps & SYS_RESOURCE:
        runtime = str(sandbox / "crun")
        Path(runtime).write_text(WITHOUT_DEVICES)
        Path(runtime).chmod(0o755)
    before = states()
    yield Host(appc, runtime, within)
    assert states() == before


def app_of(document: dict[str, Any]) -> dict[str, Any]:
    """What a status document says of its only app."""
    (app,) = document["apps"]
    return app


def script(host: Host, text: str, *flags: str) -> Done:
    """Run a script as a pod, with flags of the pod."""
    return host.run(*flags, PROBE, *SHELL, text)


def test_streams_and_exit_status(host: Host) -> None:
    done = script(host, "echo out; echo error >&2; exit 3")
    assert (done.status, done.out, done.err) == (3, "out\n", "error\n")
    uuid = host.the_pod().uuid
    document = host.status(uuid)
    assert (app_of(document)["exit-status"], document["exit-status"], document["failure"]) == (3, 3, None)
    assert os.path.basename(document["runtime"]) == os.path.basename(host.runtime)
    written = host("logs", uuid)
    assert (written.out, written.err) == ("out\n", "error\n")


@slow
def test_a_signal_is_told_from_a_status(host: Host) -> None:
    assert script(host, "kill -SEGV $$").status == 128 + signal.SIGSEGV
    app = app_of(host.status(host.the_pod().uuid))
    assert (app["signal"], app["death"]) == (signal.SIGSEGV, "killed by SIGSEGV")


@slow
def test_user_directory_environment_and_name(host: Host) -> None:
    flags = ("--user", "alice", "--group", "staff", "--supplementary-gids", "7,8", "--working-dir", "/work")
    done = host.run(
        "--hostname", "box", PROBE, *flags, "--env", "COLOUR=red", "--caps-retain", "NET_ADMIN", "--", "report"
    )
    report, environment = done.report, done.environment
    assert (report["uid"], report["gid"], report["cwd"]) == ("1000 1000 1000", "50 50 50", "/work"), done
    assert set(report["groups"].split()) == {"7", "8"}
    assert report["hostname"] == "box"
    assert (environment["COLOUR"], environment["AC_APP_NAME"], environment["HOME"]) == ("red", "probe", "/home/alice")


@slow
def test_two_apps_share_all_but_their_files(host: Host) -> None:
    kinds = ("pid", "net", "ipc", "uts", "mnt")
    links = [word for kind in kinds for word in ("link", f"/proc/self/ns/{kind}")]
    volume = ("--volume", "v,kind=empty", "--mount", "volume=v,target=/data")
    # The first outlives the second: numbers of namespaces that are gone are used again.
    first = (
        "--name",
        "a",
        "--",
        *links,
        "write",
        "/data/x",
        "shared",
        "write",
        "/dev/shm/x",
        "memory",
        "await",
        "/data/y",
    )
    second = ("--name", "b", "--", "await", "/data/x", "await", "/dev/shm/x", "read", "/data/x", "read", "/dev/shm/x")
    done = host.run(*volume, PROBE, *first, "---", PROBE, *second, *links, "write", "/data/y", "done")
    assert done.status == 0, done
    assert "shared" in done.out
    assert "memory" in done.out
    found = {kind: {word for word in done.out.split() if word.startswith(f"{kind}:[")} for kind in kinds}
    assert {kind: len(names) for kind, names in found.items()} == {"pid": 1, "net": 1, "ipc": 1, "uts": 1, "mnt": 2}


def test_handlers_come_before_and_after_in_the_apps_root(host: Host, sandbox: Path) -> None:
    events = [
        {
            "name": "pre-start",
            "exec": ["/bin/sh", "-c", "echo pre $COLOUR $(stat -c %u /proc/self); echo made > /prepared"],
        },
        {"name": "post-stop", "exec": ["/bin/sh", "-c", "cat /prepared; echo post"]},
    ]
    app = one_app(
        ["/bin/sh", "-c", "cat /prepared; echo app; exit 5"],
        user="1000",
        environment=[{"name": "COLOUR", "value": "red"}],
        eventHandlers=events,
    )
    host.add(sandbox / "x.aci", name="example.com/handlers", app=app, dependencies=[{"imageName": PROBE}])
    done = host.run("example.com/handlers")
    assert (done.status, done.out) == (5, "pre red 0\nmade\napp\nmade\npost\n"), done
    assert app_of(host.status(host.the_pod().uuid))["post-stop"] == "done"


@slow
def test_a_handler_that_fails_keeps_its_app_from_running(host: Host, sandbox: Path) -> None:
    events = [{"name": "pre-start", "exec": ["/bin/sh", "-c", "exit 9"]}]
    app = one_app(["/bin/echo", "ran"], eventHandlers=events)
    host.add(sandbox / "x.aci", name="example.com/failing", app=app, dependencies=[{"imageName": PROBE}])
    done = host.run("example.com/failing")
    assert done.out == ""
    assert "pre-start handler of app failing: ended with status 9" in done.err


@slow
def test_the_metadata_service_answers(host: Host) -> None:
    fetch = (
        "u=${AC_METADATA_URL#http://}; h=${u%%/*}; "
        'printf "GET /${u#*/}/acMetadata/v1/pod/uuid HTTP/1.0\\r\\nMetadata-Flavor: AppContainer\\r\\n\\r\\n" '
        "| nc ${h%:*} ${h#*:}"
    )
    done = script(host, fetch)
    assert done.out.splitlines()[-1] == host.the_pod().uuid, done


@limiting
def test_a_memory_limit_bites_and_is_told(host: Host) -> None:
    need("memory-controller")
    done = host.run(PROBE, "--memory", "24Mi", "--", "memory", "100", "echo", "survived")
    app = app_of(host.status(host.the_pod().uuid))
    assert (done.status, done.out) == (137, "")
    assert (app["signal"], app["out-of-memory"]) == (9, True)
    assert app["death"].startswith("killed: memory limit 24 MiB, peak 2")


@limiting
@slow
def test_the_pods_limit_bounds_its_apps(host: Host) -> None:
    need("memory-controller")
    done = host.run("--isolator", "resource/memory,limit=24Mi", PROBE, "--", "memory", "100")
    assert done.status == 137
    assert app_of(host.status(host.the_pod().uuid))["death"].startswith("killed: the pod's memory limit 24 MiB")


@limiting
@slow
def test_a_fork_bomb_is_stopped(host: Host) -> None:
    need("pids-controller")
    done = host.run(PROBE, "--pids", "8", "--", "forks", "40")
    assert "forks 7" in done.out, done


@slow
def test_stop_waits_for_the_app_and_then_kills_it(host: Host) -> None:
    uuid = host.detached(
        "--grace", "0.2s", PROBE, "--name", "a", *SHELL, "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"
    )
    wait_for(lambda: "up" in host("logs", uuid).out)
    assert host("stop", uuid).status == 0
    assert app_of(host.status(uuid))["exit-status"] in (7, 137)
    uuid = host.detached("--grace", "0.2s", PROBE, "--", "ignore", "15", "echo", "up", "wait")
    wait_for(lambda: "up" in host("logs", uuid).out)
    assert host("stop", uuid).status == 0
    assert app_of(host.status(uuid))["signal"] == signal.SIGKILL


def test_what_is_done_to_a_running_app(host: Host) -> None:
    uuid = host.detached(PROBE, "--user", "alice", "--seccomp", "mode=remove,errno=EPERM,mkdir,mkdirat", "--", "wait")
    pid = app_of(host.status(uuid))["pid"]
    assert os.readlink(f"/proc/{pid}/exe") == "/probe"
    entered = host("enter", uuid, "/bin/sh", "-c", "mkdir /new; exec /probe report")
    assert entered.report["uid"] == "1000 1000 1000", entered
    assert "Operation not permitted" in entered.err
    groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert any(line.endswith(f"/appc/{uuid}/probe") for line in groups), groups
    assert host("kill", "--signal", "USR1", uuid).status == 0
    wait_for(lambda: not host.pods()[0].locked())
    assert app_of(host.status(uuid))["signal"] == signal.SIGUSR1


@slow
def test_an_app_runs_again_and_is_stopped_and_started(host: Host) -> None:
    text = "if [ ! -e /ran ]; then echo > /ran; exit 7; fi; echo well; exec sleep 600"
    uuid = host.detached(PROBE, "--restart", "on-failure", *SHELL, text)
    wait_for(lambda: "well" in host("logs", uuid).out)
    assert app_of(host.status(uuid))["restarts"] == 1
    assert host("app", "stop", "--grace", "0s", uuid, "probe").status == 0
    wait_for(lambda: app_of(host.status(uuid))["state"] == "stopped")
    assert host("app", "start", uuid, "probe").status == 0, host.status(uuid)
    assert app_of(host.status(uuid))["state"] == "running"
    assert host("stop", "--force", uuid).status == 0


@slow
def test_health_is_asked_by_containers(host: Host) -> None:
    uuid = host.detached(
        PROBE, "--health", "interval=0.05,failures=2,exec=/bin/ls /well", *SHELL, "touch /well; exec sleep 600"
    )
    wait_for(lambda: app_of(host.status(uuid))["health"] == "good")
    assert host("enter", uuid, "/bin/rm", "/well").status == 0
    wait_for(lambda: app_of(host.status(uuid))["health"] == "bad")
    assert host("stop", "--force", uuid).status == 0


def test_a_killed_keeper_leaves_nothing_that_gc_does_not_find(host: Host) -> None:
    uuid = host.detached(PROBE, "--name", "a", "--", "wait", "---", PROBE, "--name", "b", "--", "wait")
    document = host.status(uuid)
    pids = [app["pid"] for app in document["apps"]]
    os.kill(document["keeper"], signal.SIGKILL)
    wait_for(lambda: not any(start_time(pid) for pid in pids))
    assert host("gc", "--grace-period", "0").status == 0
    assert host.pods() == []


@slow
def test_a_pod_is_removed_with_all_its_runtime_had(host: Host) -> None:
    assert script(host, "exit 0", "--rm").status == 0
    assert host.pods() == []


@slow
def test_prepared_pods_keep_their_runtime(host: Host) -> None:
    uuid = host("prepare", PROBE, "--", "exit", "4").out.strip()
    assert host("run-prepared", uuid).status == 4
    assert host.status(uuid)["runtime"]


@slow
def test_what_a_runtime_cannot_do_is_said_in_its_words(host: Host) -> None:
    done = host.run(PROBE, "--exec", "/no/such", "--name", "web")
    assert done.status != 0
    (line,) = [line for line in done.err.splitlines() if line.startswith("appc: ")]
    assert line.startswith(f"appc: app web: {os.path.basename(host.runtime)} did not make it: ")
    assert "/no/such" in line
    assert host.status(host.the_pod().uuid)["failure"] in line


@slow
def test_the_plan_names_the_runtime(host: Host) -> None:
    done = host("plan", PROBE)
    steps = [line.split() for line in done.out.splitlines()]
    assert any("runtime" in step and any(host.runtime in word for word in step) for step in steps), done
    assert host.pods() == []


def refused(appc: Appc, *words: str) -> str:
    """The line that says why there is no pod."""
    done = appc(*words)
    assert done.status != 0, done
    assert appc.pods() == []
    (line,) = [line for line in done.err.splitlines() if line.startswith("appc: ")]
    return line


class TestRefusals:
    """What goes beyond a runtime is refused by name, before there is a pod."""

    def test_no_runtime(self, appc: Appc) -> None:
        assert "--runtime nothing: there is no such program" in refused(appc, "run", "--runtime", "nothing", PROBE)

    def test_no_runtime_from_python(self, appc: Appc) -> None:
        where = Directories(str(appc.root), str(appc.state), (str(appc.config),))
        with pytest.raises(UsageError, match="there is no such program"):
            api.run(PROBE, runtime="nothing", directories=where)

    def test_a_terminal(self, appc: Appc) -> None:
        assert "has no terminal" in refused(appc, "run", "--runtime", "/bin/true", "--interactive", PROBE)

    def test_private_users(self, appc: Appc) -> None:
        assert "users of the pod's own" in refused(appc, "run", "--runtime", "/bin/true", "--private-users", PROBE)

    def test_no_app_can_come(self, appc: Appc) -> None:
        need("runc")
        uuid = appc.detached("--runtime", "runc", PROBE, "--", "wait")
        done = appc("app", "add", uuid, PROBE, "--name", "b")
        assert "no app can come to a pod whose apps another runtime makes" in done.err, done
        assert appc("stop", "--force", uuid).status == 0

    def test_a_program_that_is_no_runtime(self, appc: Appc) -> None:
        done = appc.run("--runtime", "/bin/false", PROBE)
        assert "cannot have the runtime /bin/false make" in done.err, done
        done = appc.run("--runtime", "/bin/true", PROBE)
        assert "cannot have the runtime /bin/true make" in done.err, done


@slow
def test_an_update_holds_for_the_next_start_too(appc: Appc) -> None:
    need("runc", "memory-controller")
    uuid = appc.detached("--runtime", "runc", PROBE, "--memory", "64Mi", "--restart", "always", "--", "wait")
    assert appc("update", "--app", "probe", "--memory", "32Mi", uuid).status == 0
    first = app_of(appc.status(uuid))["pid"]
    os.kill(first, signal.SIGKILL)
    again = wait_for(lambda: (pid := app_of(appc.status(uuid))["pid"]) not in (None, first) and pid)
    lines = Path(f"/proc/{again}/cgroup").read_text().splitlines()
    groups = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
    group = groups["memory"] if "memory" in groups else groups[""]
    directory = Path(facts().controllers["memory"] + group)
    limits = [path for name in ("memory.max", "memory.limit_in_bytes") if (path := directory / name).exists()]
    assert [path.read_text().strip() for path in limits] == [str(32 << 20)]
    assert appc("stop", "--force", uuid).status == 0
