"""What a launch does is what its plan says, in that order: system calls as strace sees them."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest
from planlib import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUTS,
    MS_REC_PRIVATE,
    Keeper,
    app_ops,
    pod_plan,
    run_init,
)

from appc.plan.ops import Op
from capabilities import need

pytestmark = pytest.mark.root


def traced(path: Path) -> list[str]:
    """The calls in a trace, "name(arguments) = result" without process numbers."""
    calls = []
    for line in path.read_text().splitlines():
        call = re.sub(r"^\d+\s+", "", line)
        if re.match(r"\w+\(", call):
            calls.append(call)
    return calls


def assert_in_order(calls: list[str], expected: list[str]) -> None:
    """Each expected pattern must match a call after the one before."""
    at = 0
    for pattern in expected:
        found = next((index for index in range(at, len(calls)) if re.match(pattern, calls[index])), None)
        assert found is not None, f"{pattern} does not come after {calls[at - 1]}\n" + "\n".join(calls[at : at + 9])
        at = found + 1


def test_the_calls_of_an_app_are_those_of_its_plan(release: Path, tree: Path, sandbox: Path) -> None:
    need("strace")
    (tree / "secret").write_text("x")
    ops = [
        Op("unshare", CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET),
        Op("propagation", MS_REC_PRIVATE),
        Op("root-bind", str(tree), str(tree)),
        Op("mount", "proc", "proc", "/proc", 14, ()),
        Op("mount", "tmpfs", "dev", "/dev", 2, ("mode=755", "size=64k")),
        Op("mkdir", "/dev/pts", 0o755, 0, 0),
        Op("mknod", "/dev/null", 0o020666, 1, 3, 0, 0),
        Op("symlink", "/proc/self/fd", "/dev/fd"),
        Op("file", "/etc/hosts", 0o644, b"127.0.0.1 localhost\n"),
        Op("bind", "/etc", "/tmp", 1, 1),
        Op("mask", "/secret"),
        Op("attributes", "/", 0, 1, 0),
        Op("pivot"),
        Op("hostname", "traced"),
        Op("link-up", "lo"),
        Op("address", "lo", "169.254.169.255", 32),
        Op("sync", "start"),
        Op("rlimit", resource.RLIMIT_NOFILE, 100, 100),
        Op("umask", 0o027),
        Op("chdir", "/etc"),
        Op("bounding", 1),
        Op("ids", 7, 8, ("9",)),
        Op("death-signal", 9),
        Op("caps", 0, 0, 0, 0),
        Op("no-new-privs"),
        Op("seccomp", 0, bytes.fromhex("06000000 0000ff7f")),
        Op("exec", ("/none", "/probe"), ("probe", "exit", "0"), ("A=b",)),
    ]
    trace = sandbox / "trace"
    result = run_init(release / "appc-init", ops, prefix=("strace", "-f", "-o", str(trace)))
    assert (result.failure, result.exit_status) == (None, 0)
    place = re.escape(str(tree))
    expected = [
        r"unshare\(CLONE_NEWNS\|CLONE_NEWUTS\|CLONE_NEWIPC\|CLONE_NEWNET\) += 0",
        r'mount\(NULL, "/", NULL, MS_REC\|MS_PRIVATE, NULL\) += 0',
        rf'open_tree\(AT_FDCWD, "{place}", OPEN_TREE_CLONE\|OPEN_TREE_CLOEXEC\|AT_RECURSIVE\)',
        r"move_mount\(",
        r'fsopen\("proc"',
        r"fsconfig\(\d+, FSCONFIG_CMD_CREATE",
        r"fsmount\(",
        r'openat2\(\d+, "/proc", .*RESOLVE_NO_SYMLINKS.*RESOLVE_IN_ROOT',
        r"move_mount\(",
        r'fsopen\("tmpfs"',
        r'fsconfig\(\d+, FSCONFIG_SET_STRING, "mode", "755"',
        r"move_mount\(",
        r'mkdirat\(\d+, "pts"',
        r'mknodat\(\d+, "null", S_IFCHR\|0666, makedev\(0x1, 0x3\)\)',
        r'symlinkat\("/proc/self/fd", \d+, "fd"\)',
        r'open(at)?\(\d+, "hosts", O_WRONLY\|O_CREAT\|O_EXCL.*O_NOFOLLOW',
        r'write\(\d+, "127.0.0.1 localhost\\n"',
        r'openat2\(AT_FDCWD, "/etc"',
        r"open_tree\(.*AT_RECURSIVE",
        r"mount_setattr\(.*MOUNT_ATTR_RDONLY",
        r"move_mount\(",
        r'open(at)?\((AT_FDCWD, )?"/dev/null", .*O_PATH',
        r"move_mount\(",
        r"mount_setattr\(",
        r"fchdir\(",
        r'pivot_root\("\.", "\."\) += 0',
        r'umount2\("\.", MNT_DETACH\)',
        r'chdir\("/"\)',
        r'sethostname\("traced", 6\)',
        r"ioctl\(\d+, SIOCSIFFLAGS",
        r"sendto\(\d+, .*nlmsg_type=(0x14|RTM_NEWADDR)",
        r"sendmsg\(3, ",
        r"recvfrom\(3, ",
        r"prlimit64\(0, RLIMIT_NOFILE, \{rlim_cur=100, rlim_max=100\}",
        r"umask\(027\)",
        r'openat2\(AT_FDCWD, "/etc", .*RESOLVE_NO_MAGICLINKS',
        r"fchdir\(",
        r"prctl\(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE",
        r"setgroups\(1, \[9\]\)",
        r"setresgid\(8, 8, 8\)",
        r"setresuid\(7, 7, 7\)",
        r"prctl\(PR_SET_PDEATHSIG, SIGKILL\)",
        r"capset\(",
        r"prctl\(PR_SET_NO_NEW_PRIVS, 1",
        r"close_range\(3, 4294967295, CLOSE_RANGE_CLOEXEC\)",
        r"seccomp\(SECCOMP_SET_MODE_FILTER, 0, \{len=1",
        r'execve\("/none", \["probe", "exit", "0"\], .*\) += -1 ENOENT',
        r'execve\("/probe", \["probe", "exit", "0"\]',
    ]
    calls = traced(trace)
    assert_in_order(calls, expected)
    # Nothing comes between the filter and the program.
    last = [call.partition("(")[0] for call in calls]
    assert last[last.index("seccomp") + 1 : last.index("seccomp") + 3] == ["execve", "execve"]


def test_one_exec_follows_the_last_change_of_privilege(release: Path, pod: Path, tree: Path, sandbox: Path) -> None:
    need("strace")
    app = app_ops(tree, "exit", "0", before=[Op("ids", 7, 7, ()), Op("caps", 0, 0, 0, 0), Op("no-new-privs")])
    trace = sandbox / "trace"
    prefix = ("strace", "-f", "-e", "trace=execve,execveat,setresuid,capset,clone,clone3,fork,vfork", "-o", str(trace))
    keeper = Keeper(release, pod_plan(pod, {"web": app}), pod, prefix=prefix, detached=False)
    assert keeper.wait()[0] == 0
    names = [call.partition("(")[0] for call in traced(trace)]
    after = names[len(names) - names[::-1].index("capset") :]
    assert after == ["execve"]
    assert names.count("execveat") == 2


def test_a_failed_op_leaves_the_rest_undone(release: Path, tree: Path, sandbox: Path) -> None:
    need("strace")
    trace = sandbox / "trace"
    ops = [Op("unshare", CLONE_NEWNS), Op("chdir", "/absent"), Op("hostname", "never")]
    run_init(release / "appc-init", ops, prefix=("strace", "-f", "-o", str(trace)))
    calls = traced(trace)
    assert_in_order(
        calls, [r"unshare\(", r'openat2\(AT_FDCWD, "/absent".* -1 ENOENT', r"sendmsg\(3, ", r"exit_group\(127\)"]
    )
    assert not any(call.startswith("sethostname") for call in calls)
