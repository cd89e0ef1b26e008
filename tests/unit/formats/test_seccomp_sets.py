"""Seccomp isolators as sections (ace.md, os/linux/seccomp-…-set)."""

from __future__ import annotations

from typing import Any

import pytest

from appc.formats.enforce import DEFAULT_CAPABILITIES
from appc.formats.seccomp import default_filter, remove_filter, retain_filter
from appc.formats.seccomp_calls import SETS

KILL, ERRNO, ALLOW = "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"


def calls(section: dict[str, Any] | None, action: str) -> set[str]:
    """The calls of the rules with that action, whatever their arguments."""
    assert section is not None
    return {name for rule in section["syscalls"] if rule["action"] == action for name in rule["names"]}


class TestRetain:
    def test_what_is_not_retained_kills(self) -> None:
        section, notes = retain_filter(["read", "write"], "", "amd64")
        assert section == {
            "defaultAction": KILL,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [{"names": ["read", "write"], "action": ALLOW}],
        }
        assert notes == []

    def test_or_returns_the_error_named(self) -> None:
        section, _ = retain_filter(["read"], "ENOTSUP", "amd64")
        assert section is not None
        assert (section["defaultAction"], section["defaultErrnoRet"]) == (ERRNO, 95)

    def test_all_masks_everything_else(self) -> None:
        assert retain_filter(["read", "@appc.io/all", "@nobody/knows"], "", "amd64") == (None, [])

    def test_empty_adds_nothing(self) -> None:
        section, notes = retain_filter(["read", "@appc.io/empty"], "", "amd64")
        assert calls(section, ALLOW) == {"read"}
        assert notes == []

    def test_an_errno_linux_lacks_becomes_another_and_is_told(self) -> None:
        section, notes = retain_filter(["read"], "EFOO", "amd64")
        assert section is not None
        assert section["defaultErrnoRet"] == 1
        assert "EFOO" in notes[0]

    def test_misspelt_names_are_told(self) -> None:
        _, notes = retain_filter(["read", "wriet", "@systemd/clocks"], "", "amd64")
        assert any("wriet" in note for note in notes)
        assert any("@systemd/clocks" in note for note in notes)


class TestRemove:
    def test_what_is_removed_kills_or_fails(self) -> None:
        section, _ = remove_filter(["clock_adjtime"], "", (), "amd64")
        assert section["defaultAction"] == ALLOW
        assert "clock_adjtime" in calls(section, KILL)
        section, _ = remove_filter(["clock_adjtime"], "EPERM", (), "amd64")
        assert section["syscalls"][0]["errnoRet"] == 1
        assert "clock_adjtime" in calls(section, ERRNO)

    def test_what_no_app_can_use_is_removed_as_well(self) -> None:
        section, _ = remove_filter(["sync"], "", (), "amd64")
        assert {"reboot", "kexec_load", "init_module"} <= calls(section, KILL)

    def test_empty_masks_everything_else_and_means_the_default_filter(self) -> None:
        section, notes = remove_filter(["read", "@appc.io/empty"], "", DEFAULT_CAPABILITIES, "amd64")
        assert section == default_filter(DEFAULT_CAPABILITIES, "amd64")
        assert notes == []
        section, _ = remove_filter(["@appc.io/empty"], "EACCES", (), "amd64")
        assert section["defaultErrnoRet"] == 13


class TestSets:
    @pytest.mark.parametrize("name", [*SETS, "docker/default-whitelist", "rkt/default-whitelist"])
    def test_every_named_set_has_calls_and_no_unknown_ones(self, name: str) -> None:
        section, notes = retain_filter([f"@{name}"], "", "amd64")
        assert calls(section, ALLOW)
        assert notes == []

    def test_sets_may_hold_sets(self) -> None:
        section, _ = retain_filter(["@systemd/privileged"], "", "amd64")
        assert {"chown", "settimeofday", "init_module", "reboot"} <= calls(section, ALLOW)


class TestDefault:
    def test_ordinary_programs_are_not_hindered(self) -> None:
        section = default_filter(DEFAULT_CAPABILITIES, "amd64")
        ordinary = {"read", "execve", "clone", "socket", "mmap", "futex", "epoll_wait", "chroot", "arch_prctl"}
        assert ordinary <= calls(section, ALLOW)

    def test_privileged_calls_fail_with_eperm_and_unknown_ones_with_enosys(self) -> None:
        section = default_filter(DEFAULT_CAPABILITIES, "amd64")
        assert {"mount", "reboot", "bpf", "keyctl", "io_uring_setup"} <= calls(section, ERRNO)
        assert section["defaultErrnoRet"] == 38
        assert section["syscalls"][1]["errnoRet"] == 1

    @pytest.mark.parametrize(
        ("capability", "call"),
        [
            ("CAP_SYS_ADMIN", "mount"),
            ("CAP_SYS_BOOT", "reboot"),
            ("CAP_SYS_MODULE", "init_module"),
            ("CAP_SYS_TIME", "settimeofday"),
            ("CAP_SYSLOG", "syslog"),
        ],
    )
    def test_a_capability_brings_its_calls(self, capability: str, call: str) -> None:
        section = default_filter({capability}, "amd64")
        assert call in calls(section, ALLOW)
        assert call not in calls(section, ERRNO)

    def test_new_namespaces_need_cap_sys_admin(self) -> None:
        rules = default_filter((), "amd64")["syscalls"]
        clone = next(rule for rule in rules if rule["names"] == ["clone"])
        assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
        assert "clone3" in calls(default_filter({"CAP_SYS_ADMIN"}, "amd64"), ALLOW)

    def test_no_call_is_both_allowed_and_refused(self) -> None:
        for granted in ((), DEFAULT_CAPABILITIES, {"CAP_BPF"}, {"CAP_SYS_ADMIN"}):
            first, second = default_filter(granted, "amd64")["syscalls"][:2]
            assert not set(first["names"]) & set(second["names"])
            assert len(first["names"]) == len(set(first["names"]))

    def test_architectures(self) -> None:
        assert default_filter((), "aarch64")["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
        assert "architectures" not in default_filter((), "unheard-of")
        assert "cacheflush" in calls(default_filter((), "aarch64"), ALLOW)
