"""Write what the front of appc-oci reads, in its right forms, into a corpus directory: where a fuzzer starts from."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

from appc.oci.container import Container
from appc.oci.front import describe

CALLS = (
    "state one",
    "--root /run/a --log /log --log-format json start one",
    "-root=/run/a --debug kill --all one SIGKILL",
    "kill -a one 15",
    "delete --force one",
)


def samples() -> dict[str, bytes]:
    """Name → bytes: the file `front`, `status/_process`, and command lines."""
    container = Container("/run/appc/oci", "one")
    container.record = {
        "ociVersion": "1.3.0",
        "bundle": "/bundle",
        "boot": "0f250541-a7e4-4959-bedc-c965c7b192b7",
        "cgroups": ["/sys/fs/cgroup/pids/one", "/sys/fs/cgroup/memory/one"],
    }
    calls = {f"call-{n}": b"\0".join(word.encode() for word in ("appc-oci", *c.split())) for n, c in enumerate(CALLS)}
    front = describe(container, {"process": {"cwd": "/"}})
    return {"front": front, "process": b"pid=12\nstarttime=345\ncreated=6\n", **calls}


if __name__ == "__main__":
    for name, data in samples().items():
        (Path(sys.argv[1]) / name).write_bytes(data)
