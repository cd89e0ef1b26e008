"""What cannot be run: one clear line, a hint where there is a remedy, the exit status, and nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc, Done, file, one_app, pod_manifest, probe_program

import image_kit

NOBODY = 65534


def refused(appc: Appc, done: Done, status: int, line: str, hint: str = "") -> None:
    """The command said just this, ended so, and left neither a pod nor anything half-imported."""
    assert done.status == status, done
    said = done.err.splitlines()
    assert said, done
    assert said[0].startswith(f"appc: {line}"), done
    assert all(more.startswith("hint: ") for more in said[1:]), done
    assert len(said) <= 2, done
    assert not hint or hint in said[1], done
    assert done.out == ""
    assert [pod.path for pod in appc.pods() if pod.phase != "exited"] == []
    assert list((appc.root / "store/staging").glob("*")) == []


@pytest.mark.parametrize(
    ("program", "status", "line", "hint"),
    [
        ("/nowhere", 127, "/nowhere: no such file in the image", "appc image extract"),
        ("nothing", 127, "nothing: not found in the app's PATH (/usr/local/sbin:", ""),
        ("./nothing", 127, "./nothing: no such file in the image", ""),
        ("/work", 126, "/work: is a directory", ""),
        ("/bad/not-executable", 126, "/bad/not-executable: is not executable (mode 0644)", "x bits"),
        ("/bad/foreign", 126, "/bad/foreign: is built for riscv64, this host is ", ""),
        ("/bad/damaged", 126, "/bad/damaged: ", ""),
        ("/bad/dynamic", 127, "/bad/dynamic: its ELF interpreter /lib", "C library"),
        ("/bad/empty", 126, "/bad/empty: is empty", ""),
        ("/bad/text", 126, "/bad/text: is neither an ELF program nor a script with a #! line", ""),
        ("/bad/no-interpreter", 127, "/bad/no-interpreter: its interpreter /opt/missing (from the #! line)", ""),
        ("/bad/crlf", 126, "/bad/crlf: its #! line ends in CR LF", "sed"),
        ("/bad/nested", 126, "/bad/nested: /bad/not-executable: is not executable (mode 0644)", "x bits"),
        ("/etc/passwd/x", 127, "/etc/passwd/x: no such file in the image", ""),
    ],
)
def test_programs_that_cannot_be_executed(appc: Appc, program: str, status: int, line: str, hint: str) -> None:
    done = appc.run(PROBE, "--exec", program)
    refused(appc, done, status, f"app probe: {line}", hint)
    document = appc.status(appc.the_pod().uuid)
    assert (document["state"], document["exit-status"]) == ("exited", status)
    assert document["failure"] == done.err.splitlines()[0].removeprefix("appc: ")


def test_the_same_when_detached_or_for_a_terminal(appc: Appc) -> None:
    refused(appc, appc.run("--detach", PROBE, "--exec", "/nowhere"), 127, "app probe: /nowhere: no such file")
    refused(appc, appc.run("--interactive", PROBE, "--exec", "/bad/text"), 126, "app probe: /bad/text: is neither")


def test_a_program_below_the_working_directory(appc: Appc) -> None:
    done = appc.run(PROBE, "--working-dir", "/bad", "--exec", "./not-executable")
    refused(appc, done, 126, "app probe: /bad/./not-executable: is not executable")


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("/closed/probe", "/closed/probe: the directory /closed (mode 0700, owner 0:0) is closed to user 1000"),
        ("/private", "/private: it (mode 0700, owner 0:0) is closed to user 1000"),
    ],
)
def test_programs_closed_to_the_apps_user(appc: Appc, program: str, line: str) -> None:
    done = appc.run(PROBE, "--user", "alice", "--group", "staff", "--exec", program)
    refused(appc, done, 126, f"app probe: {line}")


def test_programs_on_volumes(appc: Appc, sandbox: Path) -> None:
    (sandbox / "v").mkdir()
    (sandbox / "v/script").write_text("#!/opt/missing\n")
    (sandbox / "v/script").chmod(0o755)
    volume = ("--volume", f"v,kind=host,source={sandbox}/v")
    mount = ("--mount", "volume=v,target=/v")
    done = appc.run(*volume, PROBE, *mount, "--exec", "/v/nowhere")
    refused(appc, done, 127, "app probe: /v/nowhere: no such file in the volume at /v")
    done = appc.run(*volume, PROBE, *mount, "--exec", "/v/script")
    refused(appc, done, 127, "app probe: /v/script: its interpreter /opt/missing (from the #! line)")


@pytest.fixture
def noexec(sandbox: Path) -> Iterator[Path]:
    """A file system nothing may be executed from, with a program."""
    place = sandbox / "noexec"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "noexec", str(place)], check=True)
    (place / "script").write_text("#!/bin/sh\n")
    (place / "script").chmod(0o755)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_program_on_a_file_system_without_exec(appc: Appc, noexec: Path) -> None:
    volume = ("--volume", f"v,kind=host,source={noexec}")
    done = appc.run(*volume, PROBE, "--mount", "volume=v,target=/v", "--exec", "/v/script")
    refused(appc, done, 126, "app probe: /v/script: its file system is mounted noexec", "in the image")


@pytest.mark.parametrize(
    ("flags", "line", "hint"),
    [
        (("--user", "mallory"), "app probe.user: 'mallory' is neither in the image's /etc/passwd nor a number", "path"),
        (("--group", "cabal"), "app probe.group: 'cabal' is neither in the image's /etc/group nor a number", ""),
        (("--user", "/absent"), "app probe.user: /absent does not exist in the image", ""),
        (("--user", "4294967295"), "app probe.user: 4294967295 is not a valid ID", ""),
        (("--user", "9" * 5000), "app probe.user: 99999999999999999999 is not a valid ID", ""),
        (("--working-dir", "/absent"), "pod ", ""),
        (("--working-dir", "/work/file"), "pod ", ""),
    ],
)
def test_users_and_directories_that_are_not_there(appc: Appc, flags: tuple[str, ...], line: str, hint: str) -> None:
    done = appc.run(PROBE, *flags)
    refused(appc, done, 1, line, hint)
    if "--working-dir" in flags:
        assert f"cannot change to the working directory {flags[1]}" in done.err


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        ((), 2, "no image is named"),
        (("--bogus",), 2, "run: --bogus: no such option"),
        ((PROBE, "--memory", "lots"), 2, "run: --memory: "),
        ((PROBE, "--memory", "0"), 1, "apps[0].app.isolators[0].value.limit: must be more than 0"),
        ((PROBE, "--cpu", "-1"), 1, "apps[0].app.isolators[0].value.limit: must be more than 0"),
        ((PROBE, "--caps-retain", "CAP_BOGUS"), 2, "capabilities: there is no capability CAP_BOGUS"),
        ((PROBE, "--caps-retain", "CAP_CHOWN", "--caps-remove", "CAP_KILL"), 2, "--caps-retain: cannot go together"),
        ((PROBE, "--seccomp", "mode=sometimes,read"), 2, "run: --seccomp: "),
        ((PROBE, "--isolator", "nonsense"), 2, "run: --isolator: "),
        ((PROBE, "--env", "=x"), 2, "run: --env: '=x' is not NAME=VALUE"),
        ((PROBE, "--env", "a b=x"), 2, "run: --env: "),
        ((PROBE, "--mount", "volume=x"), 2, "run: --mount: "),
        ((PROBE, "--name", "Not A Name"), 2, "run: --name: "),
        ((PROBE, "--stdin", "file"), 2, "run: --stdin: "),
        ((PROBE, "--user", ""), 2, "run: --user"),
        ((PROBE, "---", PROBE), 2, "app probe: two apps of the pod would have this name"),
        (("--net", "bogus", PROBE), 125, "network bogus: there is no such network"),
        (("--hostname", "two words", PROBE), 2, "hostname: 'two words' is not a host name"),
        (("--hostname", "x" * 65, PROBE), 2, "hostname: "),
        (("--grace", "soon", PROBE), 2, "run: --grace: 'soon' is not a duration"),
        (("--grace", "100d", PROBE), 2, "grace: "),
        (("--volume", "v,kind=other", PROBE), 2, "run: --volume: "),
        (("--volume", "v,kind=host,source=relative", PROBE), 2, "run: --volume: "),
        (("--volume", "v,kind=empty", "--volume", "v,kind=empty", PROBE), 2, "volume v: is given twice"),
        (("--set-env-file", "/nowhere", PROBE), 1, "/nowhere: no such file or directory"),
        (("--pod-manifest", "/nowhere"), 1, "/nowhere: no such file or directory"),
        (("--pod-manifest", "/"), 1, "/: is a directory"),
        (("example.com/absent",), 1, "example.com/absent: is not in the store, and"),
        (("sha512-00",), 1, "image sha512-00: is not in the store"),
        (("/nowhere.aci",), 1, "/nowhere.aci: there is no such file"),
        (("/dev/null",), 1, "/dev/null: is not a regular file"),
        (("docker://example.com/x",), 125, "the network is not to be used (--offline)"),
        (("--uuid-file-save", "/nowhere/uuid", PROBE), 1, "/nowhere/uuid: no such file or directory"),
        (("--uuid-file-save", "/", PROBE), 1, "/: is a directory"),
    ],
)
def test_words_that_make_no_pod(appc: Appc, words: tuple[str, ...], status: int, line: str) -> None:
    refused(appc, appc.run(*words), status, line)


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("status", "0000"), 1, "0000: no pod has a UUID that begins so"),
        (("status", ""), 1, '"": no pod has a UUID'),
        (("run-prepared", "0000"), 1, "0000: no pod has a UUID that begins so"),
        (("enter", "0000"), 1, "0000: no pod has a UUID that begins so"),
        (("logs", "0000"), 1, "0000: no pod has a UUID that begins so"),
        (("manifest", "../../etc"), 1, "../../etc: no pod has a UUID that begins so"),
        (("kill", "0000"), 1, "0000: no pod has a UUID that begins so"),
        (("stop", "0000"), 1, "0000: no pod has a UUID that begins so"),
        (("rm", "0000"), 1, "0000: no pod has a UUID that begins so"),
        (("kill", "--signal", "NONE", "0000"), 2, "kill: --signal: 'NONE' is not a signal"),
        (("gc", "--grace-period", "x"), 2, "gc: --grace-period: 'x' is not a duration"),
    ],
)
def test_pods_that_are_not_there(appc: Appc, words: tuple[str, ...], status: int, line: str) -> None:
    refused(appc, appc(*words), status, line)


def test_several_pods_of_one_prefix(appc: Appc) -> None:
    for number in range(2):
        (appc.root / "pods/exited" / f"0000000{number}-0000-4000-8000-000000000000").mkdir(parents=True)
    refused(appc, appc("status", "0000"), 1, "0000: 2 pods have a UUID that begins so", "give more of it")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda pod: "{", "{path}: line 1, column 2: "),
        (lambda pod: "[]", "{path}: "),
        (lambda pod: {**pod, "acKind": "ImageManifest"}, "{path}: acKind: "),
        (lambda pod: {**pod, "apps": []}, "apps: must hold at least one app"),
        (lambda pod: app(pod, image={}), "apps[0].image: must have an ID or a name"),
        (lambda pod: app(pod, image={"name": "example.com/absent"}), "example.com/absent: "),
        (lambda pod: app(pod, image={"name": "example.com/x", "id": "sha512-abc"}), "apps[0].image.id: "),
        (lambda pod: app(pod, image={"id": "sha512-" + "0" * 128}), "image sha512-0"),
        (lambda pod: app(pod, app=one_app(["/probe", "a\0b"])), "apps[0].app.exec[1]: must not hold a NUL character"),
        (lambda pod: app(pod, app=one_app([])), "apps[0].app.exec: must name a program"),
        (
            lambda pod: app(pod, mounts=[{"volume": "v", "path": "/x"}]),
            'apps[0].mounts[0].volume: there is no volume "v"',
        ),
        (lambda pod: app(pod, mounts=[own(kind="empty", mode="rwx")]), "apps[0].mounts[0].appVolume.mode: "),
        (lambda pod: app(pod, mounts=[own(kind="empty", uid=-5)]), "apps[0].mounts[0].appVolume.uid: "),
        (lambda pod: app(pod, mounts=[own("/", kind="empty")]), "apps[0].mounts[0].path: must not be the app's root"),
        (lambda pod: app(pod, mounts=[own("/a/../..", kind="empty")]), "apps[0].mounts[0].path: "),
        (lambda pod: app(pod, app=one_app(mountPoints=[{"name": "v", "path": "/v"}])), "apps[0].app.mountPoints[0]: "),
    ],
)
def test_pod_manifests_that_cannot_be_executed(appc: Appc, sandbox: Path, change: object, line: str) -> None:
    image = next(entry["id"] for entry in json.loads(appc("image", "list", "--format", "json").out))
    path = sandbox / "pod.json"
    entry = {"name": "x", "image": {"id": image}, "app": one_app()}
    document = json.loads(Path(pod_manifest(path, [entry])).read_text())
    changed = change(document)  # type: ignore[operator]
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    refused(appc, appc.run("--pod-manifest", str(path)), 1, line.format(path=path))


def app(document: dict[str, list[dict[str, object]]], **fields: object) -> dict[str, object]:
    return {**document, "apps": [{**document["apps"][0], **fields}]}


def own(path: str = "/x", **fields: object) -> dict[str, object]:
    return {"volume": "v", "path": path, "appVolume": {"name": "v", **fields}}


def test_faults_of_a_manifest_are_told_together(appc: Appc, sandbox: Path) -> None:
    path = pod_manifest(sandbox / "pod.json", [{"name": "Bad Name", "image": {"id": "md5-1"}}])
    done = appc.run("--pod-manifest", path)
    assert done.status == 1
    assert [line.split(": ")[2] for line in done.err.splitlines()] == ["apps[0].name", "apps[0].image.id"]


def test_an_image_without_an_app(appc: Appc, sandbox: Path) -> None:
    appc.add(sandbox / "x.aci", {"x": "x"}, "example.com/library")
    done = appc.run("example.com/library")
    refused(appc, done, 1, "app library: image example.com/library has no app section", "--exec PROGRAM")


def test_an_unsigned_image_file(appc: Appc, sandbox: Path) -> None:
    path = sandbox / "x.aci"
    image_kit.aci(path, {"x": "x"}, app=one_app())
    refused(appc, appc.run(str(path)), 1, f"{path}: is not signed: there is no {path}.asc", "--insecure image")


def test_a_damaged_image_file(appc: Appc, sandbox: Path) -> None:
    path = sandbox / "x.aci"
    image_kit.aci(path, {"x": file(os.urandom(100_000))}, app=one_app())
    whole = path.read_bytes()
    for damaged in (whole[:50_000], whole[:50_000] + b"\0" * 100 + whole[50_100:], b"not an archive", b""):
        path.write_bytes(damaged)
        refused(appc, appc.run("--insecure", "image", str(path)), 1, f"{path}: ")


def test_words_that_are_not_text(appc: Appc) -> None:
    done = appc.run(PROBE, "--", os.fsdecode(b"\xff"))
    refused(appc, done, 1, "apps[0].app.exec[1]: must be UTF-8")


@pytest.mark.parametrize("what", [b"x" * 5_000_000, b"root:x:\xff:0::/:\n" * 3, b"root:x:" + b"9" * 5000 + b":0::/:\n"])
def test_hostile_user_databases(appc: Appc, sandbox: Path, what: bytes) -> None:
    appc.add(
        sandbox / "x.aci",
        {"etc/passwd": what},
        "example.com/users",
        app=one_app(user="root"),
        dependencies=[{"imageName": PROBE}],
    )
    refused(appc, appc.run("example.com/users"), 1, "app users.user: ")


def test_a_user_database_that_is_no_file(appc: Appc, sandbox: Path) -> None:
    appc.add(
        sandbox / "x.aci",
        {"etc/passwd": ("link", "passwd")},
        "example.com/loop",
        app=one_app(user="root"),
        dependencies=[{"imageName": PROBE}],
    )
    refused(appc, appc.run("example.com/loop"), 1, "app loop.user: the image's /etc/passwd cannot be read: Too many")


def test_broken_configuration(appc: Appc) -> None:
    settings = appc.config / "config.json"
    settings.write_text('{"stop": {"grace": "soon"}}')
    try:
        refused(appc, appc.run(PROBE), 1, f"{settings}: stop.grace: is not a number of seconds")
    finally:
        settings.unlink()


@pytest.fixture
def small(sandbox: Path, appc: Appc) -> Iterator[Appc]:
    """A root on a file system with little room, which holds the image."""
    place = sandbox / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "small", str(place)], check=True)
    made = Appc(place)
    made.add(place / "x.aci", {"probe": file(probe_program(), 0o755)}, PROBE, app=one_app())
    (place / "x.aci").unlink()
    yield made
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(small: Appc) -> None:
    assert small.run(PROBE, "--", "echo", "fits").out == "fits\n"
    small.clear()
    filler = small.base / "filler"
    left = os.statvfs(small.base)
    filler.write_bytes(b"x" * (left.f_bavail * left.f_bsize))
    hint = "`appc gc` and `appc image gc` remove what is no longer needed"
    for words in (("run", PROBE), ("run", "-d", PROBE), ("prepare", PROBE)):
        refused(small, small(*words), 125, "", hint)
        assert small.pods() == []
    # With some room, then none, at any point of what follows.
    for room in range(1, 12):
        filler.write_bytes(b"x" * ((left.f_bavail - room) * left.f_bsize))
        done = small.run(PROBE, "--", "echo", "fits")
        assert done.out == "fits\n" or done.status == 125, (room, done)
        assert len(done.err.splitlines()) <= 2, done
        small.clear()
        assert small.pods() == []


def test_a_root_that_cannot_be_written(appc: Appc, sandbox: Path) -> None:
    place = sandbox / "ro"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "ro", str(place)], check=True)
    try:
        mine = Appc(sandbox)
        mine.root, mine.state = place / "root", place / "state"
        done = mine.run(PROBE)
        assert done.status in (1, 125)
        assert len(done.err.splitlines()) <= 2
        assert mine("list").status == 0
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_too_few_descriptors(appc: Appc) -> None:
    words = appc.words("run", PROBE, "--", "echo", "x")
    done = subprocess.run(["sh", "-c", 'ulimit -n 20; exec "$@"', "sh", *words], capture_output=True, text=True)
    refused(appc, Done(done.returncode, done.stdout, done.stderr), 125, "too many open files", "ulimit -n")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(appc: Appc, closed: str) -> None:
    words = appc.words("run", PROBE, "--", "report", "exit", "3")
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *words], capture_output=True, text=True)
    assert done.returncode == 3, done
    logged = appc("logs", appc.the_pod().uuid).out
    assert {line.partition("=")[0] for line in logged.splitlines() if line.startswith("fd.")} == {
        "fd.0",
        "fd.1",
        "fd.2",
    }


def test_a_detached_pod_without_streams(appc: Appc) -> None:
    words = appc.words("run", "--detach", PROBE, "--", "wait")
    done = subprocess.run(["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *words], capture_output=True)
    assert done.returncode == 0
    assert appc.status(appc.the_pod().uuid)["state"] == "running"


def test_where_overlays_cannot_be_roots_are_copied(appc: Appc, sandbox: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (sandbox / name).mkdir()
    options = f"lowerdir={sandbox}/lower,upperdir={sandbox}/upper,workdir={sandbox}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "x", f"{sandbox}/merged"], check=True)
    try:
        mine = Appc(sandbox / "merged")
        mine.add(sandbox / "merged/x.aci", {"probe": file(probe_program(), 0o755)}, PROBE, app=one_app())
        done = mine.run(PROBE, "--", "write", "/new", "x", "mounts")
        assert done.out.startswith("/new: written\n"), done
        assert mine.run(PROBE, "--", "read", "/new").out.startswith("/new: errno 2 ")
        refused(mine, mine.run(PROBE, "--exec", "/nowhere"), 127, "app probe: /nowhere: no such file in the image")
        first = next(pod.uuid for pod in mine.pods() if "/new: written" in mine("logs", pod.uuid).out)
        exported = mine("export", first, str(sandbox / "out.aci"))
        assert exported.status == 0, exported
        with tarfile.open(sandbox / "out.aci") as archive:
            assert {"rootfs/probe", "rootfs/new"} <= set(archive.getnames())
            assert "rootfs/etc/hosts" not in archive.getnames()
        mine.clear()
    finally:
        subprocess.run(["umount", f"{sandbox}/merged"], check=True)
