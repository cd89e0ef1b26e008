"""Seccomp programs decide as the OCI section says: run by a small BPF interpreter, call by call."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appc.errors import HostError, InvalidValue, Unenforceable
from appc.host import seccomp
from capabilities import need

ALLOW, KILL_PROCESS, KILL_THREAD, TRAP, LOG = 0x7FFF0000, 0x80000000, 0, 0x30000, 0x7FFC0000
X86_64, I386 = 0xC000003E, 0x40000003
NUMBERS = {"read": 0, "write": 1, "ioctl": 16, "socket": 41, "clone": 56, "personality": 135}


def errno(number: int) -> int:
    return 0x50000 | number


def decide(program: bytes, number: int, arguments: tuple[int, ...] = (), arch: int = X86_64) -> int:
    """Interpret a classic BPF program on one struct seccomp_data."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=iIQ6Q", number, arch, 0, *padded)
    accumulator, position, memory = 0, 0, {}
    while True:
        code, if_true, if_false, constant = struct.unpack_from("=HBBI", program, position * 8)
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif code == 0x05:
            position += constant
        elif code in (0x15, 0x25, 0x35, 0x45):
            holds = {
                0x15: accumulator == constant,
                0x25: accumulator > constant,
                0x35: accumulator >= constant,
                0x45: bool(accumulator & constant),
            }[code]
            position += if_true if holds else if_false
        elif code == 0x54:
            accumulator &= constant
        elif code == 0x02:
            memory[constant] = accumulator
        elif code == 0x60:
            accumulator = memory[constant]
        elif code == 0x06:
            return constant
        else:
            raise AssertionError(f"code {code:#x}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    need("linux", "libseccomp")
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers here are those of x86-64")
    return str(tmp_path_factory.mktemp("seccomp"))


def built(section: dict[str, Any], cache: str) -> bytes:
    return seccomp.filter_bytes(section, cache, "amd64")


def test_a_whitelist(cache: str) -> None:
    program = built(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "syscalls": [
                {"names": ["read", "write", "no_such_call_ever"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            ],
        },
        cache,
    )
    assert decide(program, NUMBERS["read"]) == ALLOW
    assert decide(program, NUMBERS["ioctl"]) == errno(1)
    assert decide(program, NUMBERS["socket"]) == errno(38)
    assert decide(program, 5000) == errno(38)


def test_a_blacklist_with_every_action(cache: str) -> None:
    actions = {
        "read": ("SCMP_ACT_KILL", KILL_THREAD),
        "write": ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
        "ioctl": ("SCMP_ACT_TRAP", TRAP),
        "socket": ("SCMP_ACT_ERRNO", errno(1)),
        "clone": ("SCMP_ACT_TRACE", 0x7FF00001),
        "personality": ("SCMP_ACT_LOG", LOG),
    }
    rules = [{"names": [name], "action": action} for name, (action, _) in actions.items()]
    program = built({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}, cache)
    for name, (_, verdict) in actions.items():
        assert decide(program, NUMBERS[name]) == verdict, name
    assert decide(program, 60) == ALLOW


def test_calls_of_other_architectures_end_the_process(cache: str) -> None:
    """A filter for one architecture cannot be passed by through another's entry, nor through x32 numbers."""
    rules = [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}]
    section: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    program = built(section, cache)
    assert decide(program, 3, arch=I386) == KILL_PROCESS
    assert decide(program, 0x40000000 | NUMBERS["read"]) == KILL_PROCESS
    both = built({**section, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}, cache)
    assert decide(both, 3, arch=I386) == errno(1)
    assert decide(both, 4, arch=I386) == ALLOW
    assert decide(both, NUMBERS["read"]) == errno(1)


operators = st.sampled_from(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"])
values = st.one_of(st.integers(0, 5), st.sampled_from([2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]))
conditions = st.lists(
    st.fixed_dictionaries(
        {"index": st.integers(0, 5), "op": operators.map("SCMP_CMP_".__add__), "value": values},
        optional={"valueTwo": values},
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda condition: condition["index"],
)


def holds(condition: dict[str, Any], argument: int) -> bool:
    value, second = condition["value"], condition.get("valueTwo", 0)
    return {
        "SCMP_CMP_NE": argument != value,
        "SCMP_CMP_LT": argument < value,
        "SCMP_CMP_LE": argument <= value,
        "SCMP_CMP_EQ": argument == value,
        "SCMP_CMP_GE": argument >= value,
        "SCMP_CMP_GT": argument > value,
        "SCMP_CMP_MASKED_EQ": argument & value == second & value,
    }[condition["op"]]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conditions, st.lists(values, min_size=6, max_size=6))
def test_conditions_compare_all_64_bits(cache: str, listed: list[dict[str, Any]], arguments: list[int]) -> None:
    """All conditions must hold; where two are about one argument, one of them suffices (as runc reads profiles)."""
    rules = [{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": listed}]
    program = built({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}, cache)
    outcomes = [holds(condition, arguments[condition["index"]]) for condition in listed]
    distinct = len({condition["index"] for condition in listed}) == len(listed)
    expected = all(outcomes) if distinct else any(outcomes)
    assert (decide(program, NUMBERS["ioctl"], tuple(arguments)) == ALLOW) == expected


def test_a_built_program_is_read_from_the_cache(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    section = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP"}]}
    program = built(section, cache)

    def fail(_: object) -> bytes:
        raise AssertionError("built again")

    monkeypatch.setattr(seccomp, "_build", fail)
    assert built(section, cache) == program


def test_the_cache_is_private_and_never_trusted_when_damaged(tmp_path: Path, cache: str) -> None:
    """A truncated, changed, foreign or outdated file is as good as none: a part of a program is a weaker program."""
    directory = tmp_path / "new" / "cache"
    section = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP"}]}
    program = built(section, str(directory))
    (file,) = directory.iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    whole = file.read_bytes()
    for damaged in (whole[:-8], b"", whole[:40] + b"\x01" + whole[41:]):
        file.write_bytes(damaged)
        assert built(section, str(directory)) == program
        assert file.read_bytes() == whole
    os.utime(file, (0, 0))
    assert built(section, str(directory)) == program
    assert file.stat().st_mtime > 0
    file.chmod(0o666)
    assert built(section, str(directory)) == program
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_cache_that_cannot_be_written_is_no_obstacle(cache: str) -> None:
    section = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    assert decide(seccomp.filter_bytes(section, "/proc/no/such", "amd64"), 0) == ALLOW


def test_without_libseccomp_a_cached_program_still_works(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    section = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
    program = built(section, cache)

    def missing(name: str, *_: object) -> ctypes.CDLL:
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert built(section, cache) == program
    with pytest.raises(HostError, match=r"libseccomp\.so\.2 is not installed") as caught:
        built({**section, "defaultErrnoRet": 13}, cache)
    assert "install libseccomp2" in caught.value.hint


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ({"defaultAction": "SCMP_ACT_NONE"}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ABACUS"]}, "linux.seccomp.architectures"),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP", "errnoRet": 1}],
            },
            "linux.seccomp.syscalls[0].errnoRet",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_KILL",
                "syscalls": [
                    {
                        "names": ["read"],
                        "action": "SCMP_ACT_ALLOW",
                        "args": [{"index": 0, "op": "SCMP_CMP_ABOUT", "value": 1}],
                    }
                ],
            },
            "linux.seccomp.syscalls[0].args[0].op",
        ),
    ],
)
def test_what_is_wrong_is_named(cache: str, section: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        built(section, cache)
    assert caught.value.where == where


def test_a_program_too_long_for_the_kernel_is_refused(cache: str) -> None:
    arguments = [
        {
            "names": ["ioctl"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": value << 32}],
        }
        for value in range(3000)
    ]
    with pytest.raises(Unenforceable, match="4096"):
        built({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": arguments}, cache)
