"""Seccomp programs decide as the OCI section says: run by a small BPF interpreter, call by call."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appc.errors import HostError, InvalidValue, Unenforceable
from appc.formats.seccomp import default_filter
from appc.host import seccomp, seccomp_build
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
    return seccomp.filter_bytes(section, cache, "x86_64")


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


@settings(max_examples=150)
@given(conditions, st.lists(values, min_size=6, max_size=6))
def test_conditions_compare_all_64_bits(cache: str, listed: list[dict[str, Any]], arguments: list[int]) -> None:
    """All conditions must hold; where two are about one argument, one of them suffices (as runc reads profiles)."""
    rules = [{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": listed}]
    program = built({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}, cache)
    outcomes = [holds(condition, arguments[condition["index"]]) for condition in listed]
    distinct = len({condition["index"] for condition in listed}) == len(listed)
    expected = all(outcomes) if distinct else any(outcomes)
    assert (decide(program, NUMBERS["ioctl"], tuple(arguments)) == ALLOW) == expected


verdicts = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_ERRNO": errno(1), "SCMP_ACT_LOG": LOG}
several_rules = st.lists(
    st.fixed_dictionaries(
        {
            "names": st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=2),
            "action": st.sampled_from(sorted(verdicts)),
            "args": st.one_of(st.just([]), conditions),
        }
    ),
    max_size=6,
)


@settings(max_examples=150)
@given(several_rules, st.sampled_from(sorted(NUMBERS)), st.lists(values, min_size=6, max_size=6))
def test_the_first_rule_that_holds_decides(
    cache: str, rules: list[dict[str, Any]], name: str, arguments: list[int]
) -> None:
    program = built({"defaultAction": "SCMP_ACT_TRAP", "syscalls": rules}, cache)
    expected = TRAP
    for rule in rules:
        outcomes = [holds(condition, arguments[condition["index"]]) for condition in rule["args"]]
        distinct = len({condition["index"] for condition in rule["args"]}) == len(outcomes)
        if name in rule["names"] and (all(outcomes) if distinct else any(outcomes)):
            expected = verdicts[rule["action"]]
            break
    assert decide(program, NUMBERS[name], tuple(arguments)) == expected


def test_numbers_between_and_beyond_the_rules_get_the_default(cache: str) -> None:
    """Intervals begin and end where they should, for every call number there is."""
    listed = {"read": 0, "close": 3, "poll": 7, "lseek": 8, "mmap": 9}
    rules = [{"names": sorted(listed), "action": "SCMP_ACT_ALLOW"}]
    program = built({"defaultAction": "SCMP_ACT_TRAP", "syscalls": rules}, cache)
    for number in (*range(600), 0x3FFFFFFF, -1):
        assert decide(program, number) == (ALLOW if number in listed.values() else TRAP), number
    for number in (0x40000000, 0x40000003, 0x7FFFFFFF, -2, -(2**31)):
        assert decide(program, number) == KILL_PROCESS, number


SOCKET, SOCKET_I386, SOCKETCALL, IPC = 41, 359, 102, 117


def on_i386(rules: list[dict[str, Any]], default: str, cache: str) -> bytes:
    return built({"defaultAction": default, "architectures": ["SCMP_ARCH_X86"], "syscalls": rules}, cache)


def test_socketcall_is_no_way_round_a_refusal(cache: str) -> None:
    """On i386 socketcall(1, ...) is socket(2) and ipc(24, ...) is shmctl(2), whatever version the latter carries."""
    refused = [{"names": ["socket", "shmctl"], "action": "SCMP_ACT_ERRNO"}]
    program = on_i386(refused, "SCMP_ACT_ALLOW", cache)
    assert decide(program, SOCKET) == errno(1)
    assert decide(program, SOCKET_I386, arch=I386) == errno(1)
    assert decide(program, SOCKETCALL, (1,), arch=I386) == errno(1)
    assert decide(program, SOCKETCALL, (2,), arch=I386) == ALLOW
    assert decide(program, IPC, (24,), arch=I386) == errno(1)
    assert decide(program, IPC, (0x10018,), arch=I386) == errno(1)
    assert decide(program, IPC, (23,), arch=I386) == ALLOW


def test_socketcall_follows_the_calls_it_stands_for(cache: str) -> None:
    """Allowed with the call; not where that depends on arguments, which are out of sight; its own rule wins."""
    unix = {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]}
    program = on_i386([unix, {"names": ["bind"], "action": "SCMP_ACT_ALLOW"}], "SCMP_ACT_ERRNO", cache)
    assert decide(program, SOCKET_I386, (1,), arch=I386) == ALLOW
    assert decide(program, SOCKET_I386, (2,), arch=I386) == errno(1)
    assert decide(program, SOCKETCALL, (1,), arch=I386) == errno(1)
    assert decide(program, SOCKETCALL, (2,), arch=I386) == ALLOW
    program = on_i386([unix, {"names": ["socketcall"], "action": "SCMP_ACT_ALLOW"}], "SCMP_ACT_ERRNO", cache)
    assert decide(program, SOCKETCALL, (1,), arch=I386) == ALLOW


def test_x32_can_be_had_where_it_is_asked_for(cache: str) -> None:
    section = {"defaultAction": "SCMP_ACT_TRAP", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
    program = built({**section, "architectures": ["SCMP_ARCH_X32"]}, cache)
    assert decide(program, 0x40000000) == ALLOW
    assert decide(program, 0x40000001) == TRAP
    assert decide(program, 0) == ALLOW


@pytest.mark.parametrize(("family", "allowed"), [(1, True), (16, True), (38, False), (40, False), (44, True)])
def test_families_of_sockets_the_default_filter_refuses(cache: str, family: int, allowed: bool) -> None:
    program = built(default_filter(set(), "amd64"), cache)
    assert (decide(program, NUMBERS["socket"], (family,)) == ALLOW) is allowed
    # The kernel reads 32 bits of the family: what it ignores must not be a way round.
    assert decide(program, NUMBERS["socket"], (family + 2**32,)) != ALLOW


def libseccomps(section: dict[str, Any]) -> bytes:
    """The program that libseccomp itself generates."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32

    class Comparison(ctypes.Structure):
        _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))

    operators = ("", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
    codes = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_ERRNO": 0x50000, "SCMP_ACT_KILL_PROCESS": KILL_PROCESS}
    context = ctypes.c_void_p(library.seccomp_init(codes[section["defaultAction"]] | section.get("defaultErrnoRet", 0)))
    library.seccomp_attr_set(context, 2, ctypes.c_uint32(KILL_PROCESS))
    for name in section["architectures"]:
        token = library.seccomp_arch_resolve_name(name[10:].lower().encode())
        library.seccomp_arch_add(context, ctypes.c_uint32(token))
    for rule in section["syscalls"]:
        arguments = [
            Comparison(item["index"], operators.index(item["op"][9:]), item["value"], item.get("valueTwo", 0))
            for item in rule.get("args", ())
        ]
        array = (Comparison * len(arguments))(*arguments)
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            action = ctypes.c_uint32(codes[rule["action"]] | rule.get("errnoRet", 0))
            library.seccomp_rule_add_array(context, action, number, len(arguments), array)
    fd = os.memfd_create("filter")
    library.seccomp_export_bpf(context, fd)
    library.seccomp_release(context)
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


@pytest.mark.parametrize("capabilities", [["CAP_CHOWN"], ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]])
def test_the_default_filter_decides_as_libseccomps_program_does(cache: str, capabilities: list[str]) -> None:
    """Another generator as the oracle, call by call on both architectures; ours is shorter."""
    section = default_filter(capabilities, "amd64")
    ours, theirs = built(section, cache), libseccomps(section)
    assert len(ours) < len(theirs)
    for arch, ask in ((X86_64, (0, 1, 38, 40, 0x7E020000, 2**33 + 1)), (I386, (0, 1, 38, 40))):
        for number in (*range(480), 0x40000000, -1):
            for argument in ask:
                data = (argument, 1, 1, 1)
                assert decide(ours, number, data, arch) == decide(theirs, number, data, arch), (arch, number, argument)


def test_a_built_program_is_read_from_the_cache(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    section = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP"}]}
    program = built(section, cache)

    def fail(_: object) -> bytes:
        raise AssertionError("built again")

    monkeypatch.setattr(seccomp_build, "build", fail)
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
    assert decide(seccomp.filter_bytes(section, "/proc/no/such", "x86_64"), 0) == ALLOW


def test_without_libseccomp_a_cached_program_still_works(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
