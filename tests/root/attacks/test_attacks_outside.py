"""What hostile images and pods leave for the host: paths, terminals, the store, and who comes to clear away."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from pod_kit import PROBE, Appc, base_files, one_app, pod_manifest

import image_kit
from appc.store.deletion import delete_tree

HOSTILE = "\x1b]0;pwn\x07\x1b[31m\u202e\x9b31m"
NOBODY = 65534


def shell_image(**files: image_kit.Entry) -> dict[str, image_kit.Entry]:
    """A shell and what else is named."""
    base = base_files()
    kept = {name: base[name] for name in ("bin/busybox", "bin/sh", "bin/ls", "bin/cat", "bin/true")}
    return {**kept, **files}


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
@pytest.mark.parametrize("target", ["/elsewhere", "../../../../etc", "."])
def test_kernel_file_systems_are_not_mounted_by_way_of_links(
    appc: Appc, sandbox: Path, place: str, target: str
) -> None:
    appc.add(sandbox / "x.aci", shell_image(**{place: ("link", target)}), "example.com/link", app=one_app())
    done = appc.run("example.com/link", "--exec", "/bin/true")
    assert done.status == 125
    assert f"cannot make the directory /{place}" in done.err


def test_volume_targets_stay_in_the_root(appc: Appc, sandbox: Path) -> None:
    outside = sandbox / "outside"
    outside.mkdir()
    volume = sandbox / "volume"
    volume.mkdir()
    links = {"up": ("link", "../" * 20 + str(outside)[1:]), "at": ("link", str(outside)), "loop": ("link", "loop")}
    appc.add(sandbox / "x.aci", shell_image(**links), "example.com/targets", app=one_app())
    for target in ("/up/made", "/at/made", "/loop/made", "/at"):
        words = ("--volume", f"v,kind=host,source={volume}", "--mount", f"volume=v,target={target}")
        appc.run(*words, "example.com/targets", "--exec", "/bin/true")
    assert list(outside.iterdir()) == []
    assert not os.path.ismount(outside)


def test_a_volume_whose_owner_swaps_it_for_a_link_shows_nothing_else(appc: Appc, sandbox: Path) -> None:
    """A pod that shares the directory above plays with the source of another's volume while that one starts."""
    secret = sandbox / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret\n")
    shared = sandbox / "shared"
    (shared / "source").mkdir(parents=True)
    (shared / "source" / "file").write_text("own\n")
    (shared / "link").symlink_to(secret)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            os.rename(shared / "source", shared / "kept")
            os.rename(shared / "link", shared / "source")
            os.rename(shared / "source", shared / "link")
            os.rename(shared / "kept", shared / "source")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        words = ("--volume", f"v,kind=host,source={shared}/source", "--mount", "volume=v,target=/v")
        ends = [appc.run(*words, PROBE, "--exec", "/bin/cat", "--", "/v/file") for _ in range(12)]
    finally:
        over.set()
        thread.join()
    assert {done.out for done in ends} <= {"own\n", ""}


def test_results_and_refusals_cannot_steer_a_terminal(appc: Appc, sandbox: Path) -> None:
    def add(file: str, files: dict[str, image_kit.Entry], **fields: Any) -> list[str]:
        path = sandbox / f"{file}.aci"
        image_kit.aci(path, files, fields.pop("called", f"example.com/{file}"), **fields)
        done = appc("fetch", "--insecure", "image", str(path))
        return [done.out, done.err]

    nobody: dict[str, Any] = {"exec": ["/bin/true"], "user": HOSTILE, "group": "0"}
    lost: dict[str, Any] = {**nobody, "user": "0", "workingDirectory": f"/{HOSTILE}"}
    shown = [
        *add("label", shell_image(), labels=[("version", HOSTILE)], app=one_app(["/bin/true"])),
        *add("path", shell_image(**{f"a{HOSTILE}": "x", f"a{HOSTILE}/b": "y"}), app=one_app()),
        *add("name", shell_image(), called=f"example.com/{HOSTILE}", app=one_app()),
        *add("user", shell_image(), app=nobody),
        *add("lost", shell_image(), app=lost),
        *add("script", shell_image(**{"bin/script": ("file", f"#!/{HOSTILE}\n", {"mode": 0o755})}), app=one_app()),
    ]
    runs = (
        ("example.com/label",),
        ("example.com/user",),
        ("example.com/lost",),
        ("example.com/script", "--exec", "/bin/script"),
        (PROBE, "--exec", f"/{HOSTILE}"),
    )
    for words in runs:
        shown.append(appc.run(*words).err)
    verbs = [("list",), ("list", "--full"), ("image", "list"), ("image", "list", "--format", "json")]
    for words in (*verbs, *[("status", pod.uuid) for pod in appc.pods()], ("status", HOSTILE)):
        done = appc(*words)
        shown += [done.out, done.err]
    for text in shown:
        assert text.replace("\n", "").isprintable(), text


def test_ordinary_users_reach_neither_setuid_programs_nor_secrets(appc: Appc) -> None:
    uuid = appc.detached(PROBE, "--exec", "/bin/sleep", "--", "60")
    (pod,) = appc.pods()
    reachable = [
        *(str(path) for path in appc.root.rglob("suid")),
        *(pod.file(name) for name in ("token", "hmac-key", "plan", "pod", "logs/probe.log", "apps/probe/upper")),
    ]
    assert len(reachable) > 6
    script = "import os, sys\nfor path in sys.argv[1:]:\n if os.path.exists(path): print(path)"
    found = subprocess.run(
        ["/usr/bin/python3", "-c", script, *reachable],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == ""
    for name in ("token", "hmac-key", "plan"):
        assert stat.S_IMODE(os.stat(pod.file(name)).st_mode) == 0o600
    token = pod.read("token").decode()
    keeper = appc.status(uuid)["keeper"]
    for place in ("cmdline", "environ"):
        assert token.encode() not in Path(f"/proc/{keeper}/{place}").read_bytes()


def test_what_a_pod_leaves_is_removed_without_touching_the_host(appc: Appc, sandbox: Path) -> None:
    victim = sandbox / "victim"
    victim.mkdir()
    (victim / "file").write_text("kept\n")
    script = f"""ln -s {victim} /e/link; ln -s {victim}/file /link; mkdir -p /e/a/b; ln -s ../../.. /e/a/b/up
        mkdir /e/.deleted-1; echo x > /e/.deleted-1/.deleted-1; mkfifo /e/fifo; mknod /e/null c 1 3
        cd /e/a; i=0; while [ $i -lt 300 ]; do mkdir {"d" * 200}; cd {"d" * 200}; i=$((i+1)); done; chmod 0 ."""
    volume = ("--volume", "e,kind=empty", "--mount", "volume=e,target=/e")
    done = appc.run(*volume, PROBE, "--exec", "/bin/busybox", "--", "sh", "-c", script)
    assert done.status == 0, done
    pod = appc.the_pod()
    assert appc("rm", pod.uuid).status == 0
    assert not os.path.exists(pod.path)
    assert (victim / "file").read_text() == "kept\n"


def test_a_pod_that_cannot_be_removed_does_not_keep_the_others(appc: Appc) -> None:
    volume = ("--volume", "e,kind=empty", "--mount", "volume=e,target=/e")
    capability = ("--caps-retain", "CAP_LINUX_IMMUTABLE")
    appc.run(*volume, PROBE, "--exec", "/attack", *capability, "--", "immutable", "/e")
    stubborn = appc.the_pod()
    appc.run(PROBE, "--exec", "/bin/true")
    try:
        done = appc("gc", "--grace-period", "0s")
        assert [pod.uuid for pod in appc.pods()] == [stubborn.uuid]
        assert done.status == 1
        assert "chattr" in done.err
    finally:
        subprocess.run(["chattr", "-R", "-i", stubborn.refresh().path], check=True)
        delete_tree(stubborn.path)


def test_a_pod_manifest_cannot_name_its_way_out(appc: Appc, sandbox: Path) -> None:
    image = appc.add(sandbox / "x.aci", shell_image(), "example.com/named", app=one_app(["/bin/true"]))
    before = sorted(os.listdir(appc.root))
    for name in ("../../../out", "/out", "..", "a/b", "_keeper", ""):
        manifest = pod_manifest(sandbox / "pod", [{"name": name, "image": {"id": image}}])
        done = appc.run("--pod-manifest", manifest)
        assert done.status not in (0, 125), done
    for name in ("../../../out", ".."):
        volume = {"name": name, "kind": "empty"}
        manifest = pod_manifest(sandbox / "pod", [{"name": "a", "image": {"id": image}}], volumes=[volume])
        assert appc.run("--pod-manifest", manifest).status not in (0, 125)
    assert sorted(os.listdir(appc.root)) == before
