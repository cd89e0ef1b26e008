"""What verbs that need Python have imported when they end, counted while they do their work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from capabilities import need
from conftest import PATIENCE, Runtime, configuration
from starter import BANNED, START

CODE = (
    f"{START}; from appc.oci.main import main; main(sys.argv[2:]); open(sys.argv[1], 'w').write(' '.join(sys.modules))"
)
# How many modules of ours each may have imported; each costs a tenth of a millisecond and 40 KB.
MOST = {"create": 44, "run": 46, "exec": 32, "exec --process": 37}


@pytest.fixture
def counting(sandbox: Path) -> Runtime:
    need("root", "native", "cgroup", "busybox")
    return Runtime(sandbox, sys.executable, "-I", "-S", "-c", CODE, str(sandbox / "modules"))


def imported(runtime: Runtime, *words: str) -> set[str]:
    done = subprocess.run(
        runtime.words(*words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done
    return set((runtime.base / "modules").read_text().split())


def test_making_and_joining_import_few_modules(counting: Runtime) -> None:
    counting.configure(configuration("/bin/sleep", "1000"))
    bundle = str(counting.bundle)
    process = counting.base / "process.json"
    process.write_text(json.dumps(configuration("/bin/true")["process"]))
    found = {
        "create": imported(counting, "create", "--bundle", bundle, "one"),
        "exec": imported(counting, "exec", "one", "/bin/true"),
        "exec --process": imported(counting, "exec", "--process", str(process), "one"),
    }
    imported(counting, "delete", "one")
    counting.configure(configuration("/bin/true"))
    found["run"] = imported(counting, "run", "--bundle", bundle, "one")
    for verb, modules in found.items():
        ours = sorted(name for name in modules if name.partition(".")[0] == "appc")
        assert not modules & (BANNED | {"ctypes"}), verb
        assert len(ours) <= MOST[verb], (verb, len(ours), ours)
