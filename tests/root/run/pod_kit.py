"""Running pods in tests: small images that report what they see from inside, and the command line as people type it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import appc
import image_kit
from appc.executor import control
from appc.pods import gc, layout

PACKAGE = Path(appc.__file__).parent
PROBES = (PACKAGE / "_native/appc-probe", Path(__file__).parents[3] / "build/native/appc-probe")
PROBE = "example.com/probe"
# Seconds that nothing here takes, however busy the machine is.
PATIENCE = 120.0 if os.environ.get("APPC_EMULATED") else 30.0

APPLETS = (
    "sh",
    "cat",
    "echo",
    "env",
    "false",
    "kill",
    "ls",
    "mkdir",
    "mknod",
    "mv",
    "nc",
    "rm",
    "seq",
    "sleep",
    "stat",
    "true",
)
PASSWD = """root:x:0:0:root:/root:/bin/sh
alice:x:1000:1001:Alice:/home/alice:/bin/sh
4000:x:4001:4001:a name of digits:/:/bin/sh
"""
GROUP = """root:x:0:
staff:x:50:alice
5000:x:5001:
"""

# A command for a shell in a pod: which pod it is, asked of the metadata service.
ASK_UUID = (
    "u=${AC_METADATA_URL#http://}; h=${u%%/*}; "
    r"printf 'GET /%s/acMetadata/v1/pod/uuid HTTP/1.0\r\nMetadata-Flavor: AppContainer\r\n\r\n' ${u#*/} "
    "| nc ${h%:*} ${h#*:}"
)


def file(content: bytes | str, mode: int = 0o644, **fields: int) -> image_kit.Entry:
    """An entry of an image: a file with a mode, and other fields of its tar header."""
    return ("file", content, {"mode": mode, **fields})


def probe_program() -> bytes:
    """Return the program that reports what it sees from inside a pod."""
    return next((path for path in PROBES if path.exists()), PROBES[-1]).read_bytes()


def base_files() -> dict[str, image_kit.Entry]:
    """What the image `PROBE` holds: the probe, a shell, and programs that cannot be executed for one reason each."""
    probe = probe_program()
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    foreign = bytearray(probe)
    struct.pack_into("<H", foreign, 18, 0xF3)  # e_machine: RISC-V
    files: dict[str, image_kit.Entry] = {
        "probe": file(probe, 0o755),
        "suid": file(probe, 0o4755),
        "bin/busybox": file(busybox, 0o755),
        "etc/passwd": PASSWD,
        "etc/group": GROUP,
        "work/file": "here\n",
        "owned": file("", uid=1234, gid=4321),
        "masked/old": "old\n",
        "one-file": "from the image\n",
        "bad/not-executable": file(probe, 0o644),
        "bad/foreign": file(bytes(foreign), 0o755),
        "bad/damaged": file(probe[:60], 0o755),
        "bad/dynamic": file(Path(os.path.realpath(shutil.which("ls") or "/bin/ls")).read_bytes(), 0o755),
        "bad/empty": file("", 0o755),
        "bad/text": file("echo no first line\n", 0o755),
        "bad/no-interpreter": file("#!/opt/missing -x\n", 0o755),
        "bad/crlf": file("#!/bin/sh\r\necho hello\r\n", 0o755),
        "bad/nested": file("#!/bad/not-executable\n", 0o755),
        "closed": ("dir", 0o700),
        "closed/probe": file(probe, 0o755),
        "private": file(probe, 0o700),
    }
    files.update({f"bin/{name}": ("link", "busybox") for name in APPLETS})
    return files


class Done:
    """How a command ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"status {self.status}\n--- out\n{self.out}--- err\n{self.err}"

    @property
    def report(self) -> dict[str, str]:
        """What the probe's `report` says, by key."""
        return dict(line.split("=", 1) for line in self.out.splitlines() if "=" in line)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in the probe's report."""
        return {key[4:]: value for key, value in self.report.items() if key.startswith("env.")}


class Appc:
    """The command line over one root, which all tests of this directory share; pods are each test's own."""

    def __init__(self, base: Path, python: str = sys.executable, package: Path = PACKAGE) -> None:
        self.base = base
        self.python = python
        self.package = package
        self.root = base / "root"
        self.state = base / "state"
        self.config = base / "config"
        # What a test does not make is not to be looked for on the network.
        (self.config / "config.d").mkdir(parents=True, exist_ok=True)
        (self.config / "config.d/offline.json").write_text('{"net": {"offline": true}}')

    def words(self, *words: str) -> list[str]:
        """The argument vector of a command."""
        places = ("--root", str(self.root), "--state", str(self.state), "--config", str(self.config))
        return [self.python, "-I", "-S", str(self.package / "__main__.py"), *places, *words]

    def __call__(
        self,
        *words: str,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Done:
        """Run a command to its end."""
        variables = {"PATH": os.environ["PATH"], "HOME": "/root", **(env or {})}
        done = subprocess.run(
            self.words(*words),
            input=stdin,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=PATIENCE,
            env=variables,
            **options,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *words: str, **options: Any) -> Done:
        """`appc run`."""
        return self("run", *words, **options)

    def probe(self, *actions: str, flags: Iterable[str] = (), pod: Iterable[str] = (), **options: Any) -> Done:
        """Run the probe, with options of the app and of the pod, and expect that it was run."""
        done = self.run(*pod, PROBE, *flags, "--", *actions, **options)
        assert not done.err.startswith("appc: "), done
        return done

    def detached(self, *words: str) -> str:
        """`appc run --detach`; return the pod's UUID."""
        done = self.run("--detach", *words)
        assert done.status == 0, done
        return done.out.strip()

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command and do not wait for it."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(self.words(*words), **pipes)

    def status(self, uuid: str) -> dict[str, Any]:
        """What `appc status --format json` says."""
        done = self("status", "--format", "json", uuid)
        assert done.status == 0, done
        document: dict[str, Any] = json.loads(done.out)
        return document

    def pods(self) -> list[layout.Pod]:
        """All pods there are."""
        return layout.every(str(self.root))

    def the_pod(self) -> layout.Pod:
        """The only pod there is."""
        (pod,) = self.pods()
        return pod

    def add(self, path: Path, files: dict[str, image_kit.Entry] | None = None, name: str = PROBE, **fields: Any) -> str:
        """Make an image and import it; return its ID."""
        image_id = image_kit.aci(path, files, name, compress="none", **fields)
        done = self("fetch", "--insecure", "image", str(path))
        assert done.status == 0, done
        return image_id

    def clear(self) -> None:
        """End and remove every pod."""
        for pod in self.pods():
            try:
                if pod.locked():
                    control.stop(pod, force=True, timeout=PATIENCE)
                gc.remove(pod.refresh())
            except appc.errors.PodNotFound:
                continue


def one_app(exec_: Iterable[str] = ("/probe",), **fields: Any) -> dict[str, Any]:
    """The app section of an image manifest."""
    return {"exec": list(exec_), "user": "0", "group": "0", **fields}


def pod_manifest(path: Path, apps: list[dict[str, Any]], **fields: Any) -> str:
    """Write a pod manifest and return its path."""
    document = {"acKind": "PodManifest", "acVersion": "0.8.11", "apps": apps, **fields}
    path.write_text(json.dumps(document))
    return str(path)


def until(condition: str) -> str:
    """A piece of shell script that waits for a condition."""
    return f"until {condition}; do sleep 0.01; done"


def pending(pid: int, number: int) -> bool:
    """Whether a process has not yet taken a signal it was sent: a second one would be merged with it."""
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["ShdPnd"], 16) >> (number - 1) & 1)


def wait_for(condition: Callable[[], Any], what: str = "", patience: float = PATIENCE) -> Any:
    """Wait until `condition` gives something true, for `patience` seconds, and return that."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited in vain{': ' if what else ''}{what}")
