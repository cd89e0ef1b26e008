"""The metadata service of a running pod: there when it is asked, gone half a minute after the last question."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from capabilities import need

PATIENCE = 60.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def appc(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "appc", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def services(root: Path) -> list[int]:
    """Return the processes that serve the pods below `root`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(root).encode() in words and any(word.endswith(b"/metadata/start.py") for word in words):
            found.append(int(entry.name))
    return found


def pythons(root: Path) -> list[str]:
    """Return the command lines of all Pythons that have to do with `root`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            if "python" in os.path.basename(os.readlink(entry / "exe")) and str(root).encode() in words:
                found.append(words.decode())
        except OSError:
            continue
    return found


class Pod:
    """A running pod on the host's network, so that the test can ask in the app's place."""

    def __init__(self, sandbox: Path, *options: str) -> None:
        """`options` are further ones before the verb."""
        layout = sandbox / "layout"
        (layout / "rootfs" / "bin").mkdir(parents=True)
        shutil.copy2("/bin/busybox", layout / "rootfs" / "bin" / "busybox")
        app = {
            "exec": ["/bin/busybox", "sh", "-c", "echo $AC_METADATA_URL >/out/url; exec /bin/busybox sleep 600"],
            "user": "0",
            "group": "0",
            "mountPoints": [{"name": "out", "path": "/out"}],
        }
        manifest = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/sleep", "app": app}
        (layout / "manifest").write_text(json.dumps(manifest))
        image, out = sandbox / "sleep.aci", sandbox / "out"
        out.mkdir()
        appc("image", "build", str(layout), str(image))
        self.root = sandbox / "root"
        self.directories = ("--root", str(self.root), "--state", str(sandbox / "state"), *options)
        appc(
            *(*self.directories, "run", "--detach", "--insecure", "image", "--net", "host"),
            *("--volume", f"out,kind=host,source={out}", "--uuid-file-save", str(sandbox / "uuid"), str(image)),
        )
        self.uuid = (sandbox / "uuid").read_text().strip()
        wait_for(lambda: (out / "url").exists() and (out / "url").read_text().endswith("\n"), "the app's start")
        self.url = (out / "url").read_text().strip()

    def ask(self) -> None:
        """Ask for the pod's UUID."""
        with urllib.request.urlopen(self.url + "/acMetadata/v1/pod/uuid", timeout=PATIENCE) as answer:
            assert answer.read().decode() == self.uuid

    def kill_service(self) -> None:
        """End the service the hard way, and wait until the keeper may start another."""
        for pid in services(self.root):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not services(self.root), "the service's end")


@pytest.fixture
def pod(sandbox: Path) -> Iterator[Pod]:
    need("busybox")
    one = Pod(sandbox)
    yield one
    appc(*one.directories, "kill", one.uuid)
    appc(*one.directories, "gc", "--grace-period", "0s")
    wait_for(lambda: not services(one.root), "the service's end")


def test_a_service_that_was_killed_is_started_again_by_the_next_question(pod: Pod) -> None:
    for _ in range(10):
        pod.ask()
        pod.kill_service()
    pod.ask()
    assert len(services(pod.root)) == 1


@pytest.mark.slow
def test_half_a_minute_after_the_last_request_the_service_is_gone_and_comes_back_when_asked(pod: Pod) -> None:
    assert services(pod.root) == []
    pod.ask()
    assert len(services(pod.root)) == 1
    wait_for(lambda: services(pod.root) == [], "the service leaves when nobody asks")
    assert pythons(pod.root) == []
    pod.ask()
    assert len(services(pod.root)) == 1
