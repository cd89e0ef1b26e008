"""Pods prepared now and run later, pods given as a manifest, and what a store has to hold for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pod_kit import PATIENCE, PROBE, Appc, one_app, pod_manifest, wait_for


def prepared(appc: Appc, *words: str) -> str:
    done = appc("prepare", *words)
    assert done.status == 0, done
    return done.out.strip()


def test_a_prepared_pod_runs_once(appc: Appc) -> None:
    uuid = prepared(appc, "--hostname", "later", PROBE, "--env", "A=b", "--", "report", "exit", "6")
    assert appc.status(uuid)["state"] == "prepared"
    done = appc("run-prepared", uuid[:8])
    assert done.status == 6
    assert done.report["hostname"] == "later"
    assert done.environment["A"] == "b"
    again = appc("run-prepared", uuid)
    assert (again.status, again.err) == (1, f"appc: pod {uuid}: is exited, not prepared\n")


def test_of_several_who_run_a_prepared_pod_one_wins(appc: Appc) -> None:
    uuid = prepared(appc, PROBE, "--", "echo", "ran", "sleep", "0.5")
    racers = [appc.start("run-prepared", uuid) for _ in range(4)]
    ends = [(racer.wait(PATIENCE), *racer.communicate()) for racer in racers]
    winners = [end for end in ends if end[0] == 0]
    assert [out for _, out, _ in winners] == [b"ran\n"]
    for status, out, err in ends:
        if status:
            assert (status, out) == (1, b"")
            reasons = (b"was taken by another process", b"is running, not prepared", b"is exited, not prepared")
            assert err.startswith(f"appc: pod {uuid}: ".encode())
            assert any(reason in err for reason in reasons), err
            assert err.count(b"\n") == 1


def test_options_are_kept_until_it_runs(appc: Appc) -> None:
    uuid = prepared(appc, "--rm", "--net", "host", PROBE, "--stdout", "null", "--", "echo", "x", "error", "y")
    done = appc("run-prepared", uuid)
    assert (done.out, done.err) == ("", "y\n")
    assert appc.pods() == []


def test_an_interactive_pod_cannot_be_detached_and_waits_on(appc: Appc) -> None:
    uuid = prepared(appc, "--interactive", PROBE, "--", "echo", "x")
    done = appc("run-prepared", "--detach", uuid)
    assert done.status == 2
    assert "is interactive, so it needs a terminal" in done.err
    assert appc.status(uuid)["state"] == "prepared"
    assert appc("run-prepared", uuid).out == "x\n"


def test_stopping_and_removing_a_prepared_pod(appc: Appc) -> None:
    uuid = prepared(appc, PROBE)
    done = appc("stop", uuid)
    assert (done.status, done.err) == (1, f"appc: pod {uuid}: is not running (prepared)\n")
    assert appc("gc", "--grace-period", "0s").out == ""
    assert appc("rm", uuid).out == f"{uuid}\n"


def test_images_of_prepared_pods_stay(appc: Appc, sandbox: Path) -> None:
    image = appc.add(sandbox / "x.aci", {"x": "x"}, "example.com/held", app=one_app())
    uuid = prepared(appc, "example.com/held")
    refused = appc("image", "rm", image)
    assert refused.status == 1
    assert uuid[:8] in refused.err
    appc("rm", uuid)
    assert appc("image", "rm", image).status == 0


def test_a_pod_manifest(appc: Appc, sandbox: Path) -> None:
    app = one_app(["/probe", "echo", "of the image"])
    image = appc.add(sandbox / "x.aci", name="example.com/own", app=app, dependencies=[{"imageName": PROBE}])
    apps = [
        {"name": "own", "image": {"id": image}},
        {
            "name": "other",
            "image": {"id": image, "name": "example.com/own"},
            "app": one_app(["/probe", "echo", "else"]),
        },
    ]
    manifest = pod_manifest(sandbox / "pod.json", apps, annotations=[{"name": "a", "value": "b"}], extra={"kept": 1})
    done = appc.run("--pod-manifest", manifest)
    assert sorted(done.out.splitlines()) == ["other: else", "own: of the image"]
    shown = json.loads(appc("manifest", appc.the_pod().uuid).out)
    assert shown["annotations"] == [{"name": "a", "value": "b"}]
    assert shown["extra"] == {"kept": 1}
    assert shown["apps"][0]["app"]["exec"] == ["/probe", "echo", "of the image"]
    assert shown["apps"][0]["image"]["name"] == "example.com/own"


def test_the_reified_manifest_names_everything(appc: Appc) -> None:
    appc.run(
        *("--volume", "v,kind=empty", "--annotation", "a=b", "--user-label", "c=d"),
        *(PROBE, "--mount", "volume=v,target=/x", "--memory", "64Mi", "--readonly-rootfs", "--", "echo"),
    )
    manifest = json.loads(appc("manifest", appc.the_pod().uuid).out)
    (entry,) = manifest["apps"]
    assert entry["name"] == "probe"
    assert entry["image"]["id"].startswith("sha512-")
    assert len(entry["image"]["id"]) == 7 + 128
    assert entry["mounts"] == [{"volume": "v", "path": "/x"}]
    assert entry["app"]["exec"] == ["/probe", "echo"]
    assert entry["app"]["isolators"] == [{"name": "resource/memory", "value": {"limit": "64Mi"}}]
    assert entry["readOnlyRootFS"] is True
    assert manifest["volumes"][0]["name"] == "v"
    assert manifest["annotations"] == [{"name": "a", "value": "b"}]
    assert manifest["userLabels"] == {"c": "d"}


def test_a_given_manifest_goes_with_no_other_word(appc: Appc, sandbox: Path) -> None:
    manifest = pod_manifest(sandbox / "pod.json", [])
    for words in (("--volume", "v,kind=empty"), ("--set-env", "A=b"), ("--annotation", "a=b")):
        done = appc.run("--pod-manifest", manifest, *words)
        assert done.status == 2
        assert f"--pod-manifest: cannot go together with {words[0]}" in done.err
    assert "--pod-manifest: cannot go together with images" in appc.run("--pod-manifest", manifest, PROBE).err


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ([("os", "freebsd"), ("arch", "amd64")], "is for freebsd, this host is linux"),
        ([("os", "linux"), ("arch", "s390x")], "is for s390x, this host is "),
    ],
)
def test_images_for_other_machines(appc: Appc, sandbox: Path, labels: list[tuple[str, str]], line: str) -> None:
    image = appc.add(sandbox / "foreign.aci", {"x": "x"}, "example.com/foreign", labels=labels, app=one_app())
    done = appc.run(image)
    assert done.status == 1
    assert done.err.startswith(f"appc: image example.com/foreign: {line}")
    assert appc.pods() == []


def test_a_missing_dependency(appc: Appc, sandbox: Path) -> None:
    appc.add(
        sandbox / "x.aci", name="example.com/needs", app=one_app(), dependencies=[{"imageName": "example.com/absent"}]
    )
    done = appc.run("example.com/needs")
    assert done.status == 1
    assert done.err.startswith("appc: ")
    assert "example.com/absent" in done.err
    assert len(done.err.splitlines()) <= 2
    assert appc.pods() == []


def test_strict_refuses_what_cannot_be_enforced(appc: Appc, sandbox: Path) -> None:
    appc.add(
        sandbox / "x.aci",
        name="example.com/strict",
        app=one_app(isolators=[{"name": "example.com/unknown", "value": 1}]),
        dependencies=[{"imageName": PROBE}],
    )
    done = appc.run("--strict", "example.com/strict", "--", "echo", "ran")
    assert (done.status, done.out) == (1, "")
    line, hint = done.err.splitlines()
    assert "app strict: example.com/unknown ignored: appc does not know this isolator" in line
    assert hint == "hint: without --strict it runs all the same"
    assert appc.pods() == []
    assert appc.run("--strict", PROBE, "--memory", "64Mi", "--", "echo", "ran").out == "ran\n"


def test_plan_changes_nothing_and_runs_nothing(appc: Appc) -> None:
    done = appc("plan", "--volume", "v,kind=empty", PROBE, "--mount", "volume=v,target=/x", "--memory", "64Mi")
    assert done.status == 0, done
    tracks = [line.rstrip(":") for line in done.out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert tracks[0] == "keeper"
    assert "app probe" in tracks
    assert "/probe" in done.out
    assert appc.pods() == []
    short = appc("plan", "--short", PROBE)
    assert len(short.out) < len(done.out)


def test_an_image_as_a_bundle_runs_elsewhere(appc: Appc, sandbox: Path) -> None:
    runtime = shutil.which("runc")
    target = sandbox / "bundle"
    options = ("--user", "alice", "--group", "staff", "--memory", "64Mi")
    done = appc("oci", "bundle", *options, PROBE, str(target), "report")
    assert done.status == 0, done
    config = json.loads((target / "config.json").read_text())
    assert config["process"]["args"] == ["/probe", "report"]
    assert config["process"]["user"]["uid"] == 1000
    assert (target / "rootfs/work/file").read_text() == "here\n"
    assert appc("oci", "bundle", PROBE, str(target)).status == 2
    if runtime is None:
        pytest.skip("runc is not installed")
    state = sandbox / "runc"
    name = f"appc-test-{os.getpid()}"
    words = [runtime, "--root", str(state), "run", "--bundle", str(target), name]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 0, ran
    assert "uid=1000 1000 1000" in ran.stdout


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("--user", "mallory", PROBE), 1, "app probe.user: 'mallory' is neither"),
        (("--volume", "v,kind=empty", PROBE), 1, "app probe: a bundle has no empty volumes"),
        (("example.com/absent",), 1, "example.com/absent: is not in the store"),
    ],
)
def test_bundles_that_cannot_be(appc: Appc, sandbox: Path, words: tuple[str, ...], status: int, line: str) -> None:
    target = sandbox / "bundle"
    done = appc("oci", "bundle", *words, str(target))
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(f"appc: {line}")
    assert not target.exists()


def test_interrupted_preparations_are_told_and_collected(appc: Appc) -> None:
    for phase in ("embryo", "prepare", "garbage"):
        uuid = f"00000000-0000-4000-8000-{phase:0<12.12}".replace("g", "6").replace("o", "0").replace("y", "7")
        hexadecimal = "".join(c if c in "0123456789abcdef-" else "9" for c in uuid)
        (appc.root / "pods" / phase / hexadecimal / "apps").mkdir(parents=True)
    states = {pod["state"] for pod in json.loads(appc("list", "--format", "json").out)}
    assert states == {"embryo", "aborted prepare", "garbage"}
    done = appc("gc")
    assert sorted(line.partition(": ")[2] for line in done.out.splitlines()) == [
        "creation was interrupted",
        "preparation was interrupted",
        "removal was interrupted",
    ]
    assert wait_for(lambda: appc.pods() == [])


def test_what_of_an_app_a_bundle_has(appc: Appc, sandbox: Path) -> None:
    target = sandbox / "bundle"
    words = ("--device", "/dev/null:/dev/mine:rw", "--pids", "33", "--isolator", "resource/network-bandwidth,limit=1M")
    done = appc("oci", "bundle", PROBE, str(target), *words)
    assert done.status == 0, done
    assert "isolator resource/network-bandwidth is ignored: a bundle has no place for it" in done.err
    linux = json.loads((target / "config.json").read_text())["linux"]
    assert linux["resources"]["pids"] == {"limit": 33}
    assert linux["resources"]["devices"][-1] == {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    assert linux["devices"][-1]["path"] == "/dev/mine"
