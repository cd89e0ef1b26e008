"""Deaths of apps in words."""

from __future__ import annotations

import pytest

from appc.executor.deaths import explain
from appc.pods.records import AppRecord
from capabilities import need

MIB = 1 << 20


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"signal": "15"}, "killed by SIGTERM"),
        ({"signal": "34"}, "killed by signal 34"),
        (
            {"signal": "9", "out-of-memory": "1", "memory-limit": f"{256 * MIB}", "memory-peak": f"{256 * MIB}"},
            "killed: memory limit 256 MiB, peak 256 MiB",
        ),
        (
            {"status": "137", "out-of-memory": "1", "pod-memory-limit": f"{1536 * MIB}", "memory-peak": f"{MIB}"},
            "killed: the pod's memory limit 1.5 GiB, peak 1 MiB",
        ),
        (
            {"signal": "9", "out-of-memory": "1", "memory-peak": "1000"},
            "killed: the host had no memory left, peak 1000 B",
        ),
        ({"signal": "9", "out-of-memory": "1"}, "killed: the host had no memory left"),
        ({"signal": "31"}, "killed by SIGSYS"),
    ],
)
def test_in_words(fields: dict[str, str], words: str) -> None:
    assert explain(AppRecord("web", {"exited": "5", **fields})) == words


def test_the_system_call_by_its_name_on_that_architecture() -> None:
    need("seccomp")
    fields = {"exited": "5", "status": "159", "syscall": "160", "arch": str(0xC00000B7)}
    assert explain(AppRecord("web", fields)) == "killed by SIGSYS: system call uname is not allowed"
    fields.update(syscall="9999", signal="31")
    assert explain(AppRecord("web", fields)) == "killed by SIGSYS: system call 9999 is not allowed"
