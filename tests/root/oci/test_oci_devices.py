"""Device rules where cgroup2 alone is mounted: a program of the container's group."""

from __future__ import annotations

from typing import Any

from capabilities import need
from conftest import Runtime, configuration

PURE = 'mount -t tmpfs t /sys/fs/cgroup && mount -t cgroup2 c /sys/fs/cgroup && exec "$@"'
KMSG = {"type": "c", "major": 1, "minor": 11}


def test_a_container_uses_the_devices_it_is_allowed(runtime: Runtime) -> None:
    need("cgroup2-mountable", "initial-userns")
    runtime.program = ("unshare", "-m", "--propagation", "private", "sh", "-c", PURE, "sh", *runtime.program)
    config: dict[str, Any] = configuration("/bin/sh", "-c", "echo appc > /dev/kmsg && echo >/dev/null && echo written")
    config["linux"]["devices"] = [{"path": "/dev/kmsg", **KMSG}]
    for rules in ([], [{"allow": True, "access": "w", **KMSG}]):
        config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}, *rules]}
        runtime.configure(config)
        done = runtime("run", "--bundle", str(runtime.bundle), "one", fails=0 if rules else 1)
        assert done.stdout == ("written\n" if rules else "")
        assert bool(rules) == ("Operation not permitted" not in done.stderr)
