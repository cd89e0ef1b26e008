"""What is handed to a keeper: sealed copies nobody can change, and no descriptor too many when something fails."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from appc.errors import HostError
from appc.launch import seal, spawn
from appc.pods.layout import Pod
from capabilities import need


def content(fd: int) -> bytes:
    return os.pread(fd, 1 << 20, 0)


@pytest.fixture(autouse=True)
def _linux() -> None:
    need("linux", "native")


def test_a_sealed_plan_holds_its_bytes_and_takes_no_others() -> None:
    fd = seal.sealed_plan(b"plan")
    try:
        assert content(fd) == b"plan"
        assert not os.get_inheritable(fd)
        for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 100)):
            with pytest.raises(PermissionError):
                change()
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0)
    finally:
        os.close(fd)


def test_appc_init_is_copied_whole() -> None:
    fd = seal.sealed_init()
    try:
        assert content(fd) == Path(seal.native("appc-init")).read_bytes()
        assert os.fstat(fd).st_mode & 0o111
    finally:
        os.close(fd)


def test_a_program_that_is_not_installed() -> None:
    with pytest.raises(HostError, match="is missing from the installed package"):
        seal.native("appc-nothing")


def test_a_kernel_that_refuses_executable_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(HostError, match=r"vm\.memfd_noexec: the kernel refuses executable memory files") as caught:
        seal.sealed_init()
    assert "sysctl" in caught.value.hint


def test_an_older_kernel_that_knows_no_such_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.memfd_create

    def older(name: str, flags: int) -> int:
        if flags & ~0x3:
            raise OSError(22, "Invalid argument")
        return real(name, flags)

    monkeypatch.setattr(os, "memfd_create", older)
    for fd in (seal.sealed_init(), seal.sealed_plan(b"x")):
        os.close(fd)


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    (tmp_path / "pods/run/u").mkdir(parents=True)
    found = Pod(str(tmp_path), "run", "u")
    assert found.acquire()
    return found


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("failing", ["sealed_plan", "sealed_init", "pod", "posix_spawn"])
def test_a_spawn_that_fails_leaves_no_descriptor(pod: Pod, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    if failing == "pod":
        pod.phase = "exited"
    else:
        monkeypatch.setattr(os if failing == "posix_spawn" else spawn, failing, fail)
    before = descriptors()
    with pytest.raises(OSError, match=r"No space|No such file"):
        spawn.spawn(b"plan", pod, {})
    assert descriptors() == before


def test_too_low_a_limit_of_descriptors(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    def low(fd: int, command: int, number: int = 0) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(spawn.fcntl, "fcntl", low)
    before = descriptors()
    with pytest.raises(OSError, match="Too many open files"):
        spawn.spawn(b"plan", pod, {})
    assert descriptors() == before
