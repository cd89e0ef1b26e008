"""Plans as text, failures as sentences, and the room a filter leaves for the launch."""

from __future__ import annotations

from typing import Any

import pytest

from appc.errors import Unenforceable
from appc.formats.seccomp import default_filter, remove_filter, retain_filter
from appc.plan.compile_seccomp import seccomp_for_launch
from appc.plan.explain import explain
from appc.plan.ops import TABLE, Op, Plan, Track
from appc.plan.show import show
from appc.plan.words import arguments, quoted
from golden.examples import demo, facts

ENOENT, EACCES, ECHILD, EINVAL, ELOOP = 2, 13, 10, 22, 40
EXAMPLES: dict[str, Any] = {"n": 1, "s": "x", "l": ("a", "b"), "b": b"12345678"}


def example(name: str) -> Op:
    """An op of that name with arguments of the right kinds."""
    signature = next(signature for row, signature, _ in TABLE if row == name)
    return Op(name, *[EXAMPLES[kind] for _, kind in signature], source="process.args")


@pytest.mark.parametrize("name", [row[0] for row in TABLE])
def test_every_op_can_be_shown_and_explained(name: str) -> None:
    plan = Plan([Track("t", [example(name)])])
    assert name in show(plan)
    assert name in show(plan, short=True)
    sentence = explain(plan, "t", 0, EACCES)
    assert sentence.startswith("t: cannot ")
    assert "(process.args)" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("op", "shown"),
    [
        (Op("unshare", 0x20000 | 0x2000000), "cgroup,mnt"),
        (Op("propagation", 0x4000 | 1 << 18), "rprivate"),
        (Op("mount", "tmpfs", "t", "/x", 0x2F, ("size=1",)), "tmpfs t /x ro,nosuid,nodev,noexec,strictatime size=1"),
        (Op("bind", "/a b", "/x", 3, 1), '"/a b" /x recursive,no-symlinks ro'),
        (Op("attributes", "/x", 1, 1, 0x70), "/x recursive +ro -atime"),
        (Op("mknod", "/dev/sda", 0o60640, 8, 0, 0, 6), "/dev/sda b 0640 8 0 uid=0 gid=6"),
        (Op("rlimit", 7, 1024, 2**64 - 1), "RLIMIT_NOFILE 1024 unlimited"),
        (Op("caps", 1, 1 << 40, 0, 0), "effective=chown permitted=checkpoint_restore"),
        (Op("seccomp", 2, bytes(16)), "SECCOMP_FILTER_FLAG_LOG (2 instructions)"),
        (Op("scheduler", 1, 2**64 - 5, 0, 0, 0, 0, 7), "policy=1 nice=-5 period=7"),
        (Op("io-priority", 2, 6), "class=2 level=6"),
        (Op("mount-propagation", "/x", 1 << 20), "/x shared"),
        (Op("file", "/etc/hosts", 0o644, b"12"), "/etc/hosts 0644 (2 bytes)"),
        (Op("exec", ("/a/x", "/b/x"), ("x", "a b", ""), ("A=1",)), 'try=/a/x,/b/x argv=[x "a b" ""] env=[A=1]'),
        (
            Op("handler", "web", "pre-start web", "logs/web.log", 500, ""),
            'web "pre-start web" log=logs/web.log timeout=500ms',
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Op) else "",
)
def test_arguments_are_words(op: Op, shown: str) -> None:
    assert " ".join(arguments(op)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("a b", '"a b"'),
        ('a"b\\', '"a\\"b\\\\"'),
        ("a\nb", '"a\\nb"'),
        ("caf\udce9", '"caf\\xe9"'),
        ("\x1b[31m", '"\\u001b[31m"'),
    ],
)
def test_no_text_can_act_on_a_terminal_or_hide_its_ends(text: str, shown: str) -> None:
    assert quoted(text) == shown


def sentence(op: Op, errno: int) -> str:
    return explain(Plan([Track("app web", [op])]), "app web", 0, errno)


@pytest.mark.parametrize(
    ("op", "errno", "words"),
    [
        (
            Op("bind", "/srv/x", "/data", 2, 0, source="mounts[8]"),
            ELOOP,
            "app web: cannot mount /srv/x on /data: the source has a symbolic link in its path (mounts[8])",
        ),
        (
            Op("chdir", "/work", source="process.cwd"),
            ENOENT,
            "app web: cannot change to the working directory /work: it does not exist in the app's root (process.cwd)",
        ),
        (
            Op("sysctl", "net.x", "1", source="linux.sysctl"),
            EINVAL,
            "app web: cannot set the kernel parameter net.x to 1: the kernel does not take this value (linux.sysctl)",
        ),
        (
            Op("rlimit", 7, 10, 2**64 - 1, source="process.rlimits[0]"),
            1,
            "app web: cannot set RLIMIT_NOFILE to 10 (hard limit unlimited): "
            "the host's own hard limit is lower (process.rlimits[0])",
        ),
        (Op("pivot", source="appc"), EACCES, "app web: cannot move into the root: Permission denied"),
        (
            Op("handler", "web", "t", "", 0, "", source="apps[0]"),
            ECHILD,
            "app web: cannot run the pre-start handler of web: it failed; its output is in the app's log (apps[0])",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Op) else "",
)
def test_a_failure_is_one_sentence_with_the_field(op: Op, errno: int, words: str) -> None:
    assert sentence(op, errno) == words


@pytest.mark.parametrize(("track", "index"), [("app web", 1), ("app web", 2**32 - 1), ("app gone", 0)])
def test_a_failure_before_the_first_op_is_explained_too(track: str, index: int) -> None:
    plan = Plan([Track("app web", [Op("pivot")])])
    assert "could not be read or performed" in explain(plan, track, index, EINVAL)


def test_the_header_quotes_the_facts() -> None:
    assert show(demo(facts("v1"))).startswith("# kernel: 6.1\n")
    assert "# cgroup: v1\n" in show(demo(facts("v1")))


class TestRoomForTheLaunch:
    def test_a_whitelist_gets_what_is_missing_in_an_entry_of_its_own(self) -> None:
        section, _ = retain_filter(["read", "execve"], "", "amd64")
        assert section is not None
        made = seccomp_for_launch(section, no_new_privs=False)
        assert made["syscalls"][:-1] == section["syscalls"]
        assert made["syscalls"][-1] == {
            "names": ["exit_group", "sendmsg", "capset", "prctl"],
            "action": "SCMP_ACT_ALLOW",
        }

    def test_with_no_new_privs_less_is_needed(self) -> None:
        section, _ = retain_filter(["read"], "", "amd64")
        assert section is not None
        made = seccomp_for_launch(section, no_new_privs=True)
        assert made["syscalls"][-1]["names"] == ["execve", "exit_group", "sendmsg"]

    def test_the_default_filter_needs_nothing(self) -> None:
        section = default_filter((), "amd64")
        assert seccomp_for_launch(section, no_new_privs=False) == section

    def test_a_blacklist_needs_nothing_unless_it_names_the_very_calls(self) -> None:
        section, _ = remove_filter(["ptrace"], "", (), "amd64")
        assert seccomp_for_launch(section, no_new_privs=False) == section
        section, _ = remove_filter(["capset"], "", (), "amd64")
        assert seccomp_for_launch(section, no_new_privs=True) == section
        with pytest.raises(Unenforceable, match="capset") as caught:
            seccomp_for_launch(section, no_new_privs=False)
        assert caught.value.where == "linux.seccomp.syscalls[0]"
        assert "no-new-privileges" in caught.value.hint

    def test_an_argument_filter_on_a_needed_call_is_not_enough(self) -> None:
        rule = {"names": ["prctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
        made = seccomp_for_launch({"defaultAction": "SCMP_ACT_KILL", "syscalls": [rule]}, no_new_privs=False)
        assert "prctl" in made["syscalls"][-1]["names"]
