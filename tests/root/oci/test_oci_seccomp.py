"""`linux.seccomp` of a container, as its process meets it."""

from __future__ import annotations

import platform
from typing import Any

import pytest

from capabilities import need
from conftest import Runtime, configuration

# Once is enough: what the front does by itself has no part in it.
pytestmark = pytest.mark.parametrize("runtime", ["front"], indirect=True)

NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64", "riscv64": "SCMP_ARCH_RISCV64"}


def filtered(runtime: Runtime, section: dict[str, Any], script: str) -> tuple[str, str]:
    """Run a shell under this filter; return what it prints, and its errors."""
    config = configuration("/bin/sh", "-c", script)
    config["linux"]["seccomp"] = section
    runtime.configure(config)
    done = runtime("run", "--bundle", str(runtime.bundle), "one")
    return done.stdout, done.stderr


def rule(errno: int, *args: dict[str, Any], names: tuple[str, ...] = ("kill",)) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": list(args)}


def test_calls_fail_by_their_names_and_arguments(runtime: Runtime) -> None:
    """EROFS for SIGWINCH, ENOSPC for what is SIGCONT in its lowest five bits, all else as ever."""
    need("seccomp", "libseccomp")
    section = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        "syscalls": [
            rule(30, {"index": 1, "value": 28, "op": "SCMP_CMP_EQ"}),
            rule(28, {"index": 1, "value": 31, "valueTwo": 18, "op": "SCMP_CMP_MASKED_EQ"}),
            rule(38, names=("mkdir", "mkdirat")),
        ],
    }
    (runtime.bundle / "rootfs/bin/mkdir").symlink_to("busybox")
    script = (
        "cat /proc/self/status; kill -WINCH $$; kill -CONT $$; kill -URG $$ && echo sent; mkdir /made || echo unmade"
    )
    out, errors = filtered(runtime, section, script)
    assert "Seccomp:\t2\n" in out
    assert out.endswith("sent\nunmade\n")
    assert [words for words in ("Read-only", "No space", "not implemented") if words in errors] == [
        "Read-only",
        "No space",
        "not implemented",
    ]


def test_what_no_rule_names_has_the_default(runtime: Runtime) -> None:
    need("seccomp", "libseccomp")
    # With the numbers of all calls but those of directories: what a whitelist that forgot them does.
    section: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 30,
        "syscalls": [{"names": WHITELIST.split(), "action": "SCMP_ACT_ALLOW"}],
    }
    (runtime.bundle / "rootfs/bin/mkdir").symlink_to("busybox")
    out, errors = filtered(runtime, section, "echo ran; mkdir /made || echo unmade")
    assert (out, "Read-only" in errors) == ("ran\nunmade\n", True)
    section["defaultErrnoRet"] = 28
    assert "No space" in filtered(runtime, section, "mkdir /made || true; echo")[1]


def test_architectures_are_those_named(runtime: Runtime) -> None:
    need("seccomp", "libseccomp")
    section: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(30)]}
    own = NATIVE.get(platform.machine())
    if own is None:
        pytest.skip("needs an architecture this test knows")
    section["architectures"] = [own]
    assert "Read-only" in filtered(runtime, section, "kill -URG $$ || true")[1]
    # The process's own is always one of them, and none is made up.
    section["architectures"] = ["SCMP_ARCH_M68K"]
    config = configuration("/bin/sh", "-c", "kill -URG $$")
    config["linux"]["seccomp"] = section
    runtime.configure(config)
    done = runtime("run", "--bundle", str(runtime.bundle), "one", fails=None)
    assert done.returncode != 0
    assert "Read-only" in done.stderr or "linux.seccomp.architectures" in done.stderr


WHITELIST = (
    "access arch_prctl brk capget capset chdir clock_gettime clone close close_range dup dup2 dup3 execve "
    "execveat exit exit_group faccessat fchdir fcntl fork fstat fstatfs futex getcwd getdents64 getegid geteuid "
    "getgid getpgrp getpid getppid getrandom getrlimit getuid ioctl lseek lstat madvise mmap mprotect mremap "
    "munmap newfstatat open openat openat2 pipe pipe2 poll ppoll prctl pread64 prlimit64 read readlink readlinkat "
    "readv recvmsg rseq rt_sigaction rt_sigprocmask rt_sigreturn seccomp sendmsg sendto set_robust_list "
    "set_tid_address setgid setgroups setresgid setresuid setuid sigaltstack stat statfs statx umask uname vfork "
    "wait4 write writev"
)
