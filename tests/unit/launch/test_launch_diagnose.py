"""Why a program could not be executed, found out from the image."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.errors import AppcError, LaunchError, NotExecutable, ProgramNotFound
from appc.launch import diagnose
from appc.launch.diagnose import Program, RootView, elf_interpreter, explain_exec

X86, RISCV, AARCH64 = 0x3E, 0xF3, 0xB7


def elf(machine: int = X86, interpreter: bytes = b"", wide: bool = True, order: str = "<", at: int = 0) -> bytes:
    """The beginning of an ELF program with one program header; the interpreter's name is at offset `at`."""
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    table = 64 if wide else 52
    name = interpreter + b"\0" if interpreter else b""
    start = at or table + 56
    kind = 3 if interpreter else 1
    if wide:
        head = struct.pack(f"{order}HHIQQQIHHHHHH", 2, machine, 1, 0, table, 0, 0, 64, 56, 1, 0, 0, 0)
        entry = struct.pack(f"{order}IIQQQQQQ", kind, 4, start, 0, 0, len(name), len(name), 1)
    else:
        head = struct.pack(f"{order}HHIIIIIHHHHHH", 2, machine, 1, 0, table, 0, 0, 52, 32, 1, 0, 0, 0)
        entry = struct.pack(f"{order}IIIIIIII", kind, start, 0, 0, len(name), len(name), 4, 1)
    return (ident + head + entry).ljust(start, b"\0") + name


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "_own_head", lambda: elf(X86)[:20])


class Root:
    """A root with files, and the errors of executing them."""

    def __init__(self, base: Path) -> None:
        self.base = base / "root"
        self.base.mkdir()
        self.mounts: dict[str, str] = {}

    def add(self, path: str, content: bytes = b"", mode: int = 0o755) -> None:
        place = self.base / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(mode)

    def explain(self, *files: str, error: int = errno.ENOENT, name: str = "", **program: object) -> AppcError:
        view = RootView((str(self.base),), self.mounts)
        return explain_exec(view, Program(files, name or files[0], **program), error, "app web")  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def check(error: AppcError, kind: type[AppcError], text: str) -> None:
    assert type(error) is kind
    assert str(error) == f"app web: {text}"


def test_a_program_that_is_not_there(root: Root) -> None:
    check(root.explain("/bin/x"), ProgramNotFound, "/bin/x: no such file in the image")
    error = root.explain("/usr/bin/x", "/bin/x", name="x")
    check(error, ProgramNotFound, "x: not found in the app's PATH (/usr/bin:/bin)")
    assert error.exit_status == 127
    assert "appc image extract" in error.hint


def test_relative_names_begin_in_the_working_directory(root: Root) -> None:
    root.add("/work/run", b"x")
    error = root.explain("./run", error=errno.ENOEXEC, cwd="/work/")
    check(error, NotExecutable, "/work/./run: is neither an ELF program nor a script with a #! line")
    check(root.explain("./run", cwd="/"), ProgramNotFound, "./run: no such file in the image")


def test_the_first_candidate_that_exists_is_explained(root: Root) -> None:
    root.add("/bin/x", b"", 0o644)
    error = root.explain("/usr/bin/x", "/bin/x", name="x", error=errno.EACCES)
    check(error, NotExecutable, "/bin/x: is not executable (mode 0644)")
    assert error.exit_status == 126


def test_what_is_no_program(root: Root) -> None:
    (root.base / "dir").mkdir()
    os.mkfifo(root.base / "fifo", 0o777)
    check(root.explain("/dir", error=errno.EACCES), NotExecutable, "/dir: is a directory")
    check(root.explain("/fifo", error=errno.EACCES), NotExecutable, "/fifo: is not a regular file")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"echo hello\n", "is neither an ELF program nor a script with a #! line"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "is neither an ELF program nor a script with a #! line"),
        (b"#!\n", "its #! line names no interpreter"),
        (b"#!  \t \n", "its #! line names no interpreter"),
        (b"#!\r\n", "its #! line names no interpreter"),
        (elf(RISCV), "is built for riscv64, this host is amd64"),
        (elf(AARCH64, wide=False, order=">"), "is built for aarch64, this host is amd64"),
        (elf(0x9999), "is built for an unknown machine (ELF number 39321), this host is amd64"),
        (elf(X86)[:30], "is a damaged ELF program"),
        (b"\x7fELF", "is built for an unknown machine (ELF number 0), this host is amd64"),
    ],
)
def test_content_the_kernel_does_not_take(root: Root, content: bytes, text: str) -> None:
    root.add("/x", content)
    check(root.explain("/x", error=errno.ENOEXEC), NotExecutable, f"/x: {text}")


@pytest.mark.parametrize(
    ("line", "interpreter"),
    [
        (b"#!/opt/python\n", "/opt/python"),
        (b"#! /opt/python -u \n", "/opt/python"),
        (b"#!\t/opt/python\targument\n", "/opt/python"),
        (b"#!/opt/python", "/opt/python"),
    ],
)
def test_an_interpreter_that_is_not_there(root: Root, line: bytes, interpreter: str) -> None:
    root.add("/x", line)
    text = f"/x: its interpreter {interpreter} (from the #! line) is not in the image"
    check(root.explain("/x"), ProgramNotFound, text)


def test_lines_of_another_system(root: Root) -> None:
    root.add("/bin/sh", elf())
    root.add("/x", b"#!/bin/sh\r\necho hello\r\n")
    error = root.explain("/x")
    check(error, NotExecutable, "/x: its #! line ends in CR LF")
    assert "sed" in error.hint


def test_an_interpreter_that_is_itself_at_fault(root: Root) -> None:
    root.add("/x", b"#!/bin/sh\n")
    root.add("/bin/sh", elf(), 0o644)
    check(root.explain("/x", error=errno.EACCES), NotExecutable, "/x: /bin/sh: is not executable (mode 0644)")
    root.add("/bin/sh", elf(RISCV))
    error = root.explain("/x", error=errno.ENOEXEC)
    check(error, NotExecutable, "/x: /bin/sh: is built for riscv64, this host is amd64")


def test_scripts_without_end(root: Root) -> None:
    root.add("/x", b"#!/x\n")
    error = root.explain("/x", error=errno.ELOOP)
    assert str(error).endswith("/x: its #! lines lead from script to script")


def test_an_interpreter_below_the_working_directory(root: Root) -> None:
    root.add("/work/x", b"#!tool\n")
    root.add("/work/tool", b"", 0o600)
    error = root.explain("/work/x", error=errno.EACCES, cwd="/work")
    check(error, NotExecutable, "/work/x: /work/tool: is not executable (mode 0600)")


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("at", [0, 5000, 100_000])
def test_the_elf_interpreter(wide: bool, order: str, at: int) -> None:
    data = elf(X86, b"/lib/ld.so.1", wide, order, at)
    assert elf_interpreter(lambda count: data[:count]) == "/lib/ld.so.1"
    static = elf(X86, b"", wide, order)
    assert elf_interpreter(lambda count: static[:count]) == ""


def test_an_elf_interpreter_that_is_not_there(root: Root) -> None:
    root.add("/x", elf(X86, b"/lib/ld.so"))
    error = root.explain("/x")
    check(error, ProgramNotFound, "/x: its ELF interpreter /lib/ld.so is not in the image")
    assert "statically" in error.hint
    # A program for another machine lacks it as well, when the kernel knows how to run such programs.
    root.add("/y", elf(RISCV, b"/lib/ld.so"))
    check(root.explain("/y"), ProgramNotFound, "/y: its ELF interpreter /lib/ld.so is not in the image")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_program(data: bytes) -> None:
    head = b"\x7fELF" + data
    assert isinstance(elf_interpreter(lambda count: head[:count]), str)


def test_a_link_that_says_it_is_enormous() -> None:
    data = bytearray(elf(X86, b"/lib/ld.so"))
    struct.pack_into("<Q", data, 64 + 8, 1 << 60)
    assert elf_interpreter(lambda count: bytes(data[:count])) == ""


@pytest.mark.parametrize(
    ("mode", "identity", "closed"),
    [
        (0o700, (1, 1, ()), True),
        (0o710, (1, 1, ()), True),
        (0o701, (1, 1, ()), False),
        (0o700, None, False),
    ],
)
def test_a_directory_closed_to_the_user(
    root: Root, mode: int, identity: tuple[int, int, tuple[int, ...]] | None, closed: bool
) -> None:
    root.add("/closed/x", elf())
    (root.base / "closed").chmod(mode)
    root.base.chmod(0o755)
    error = root.explain("/closed/x", error=errno.EACCES, identity=identity)
    owner = f"{os.getuid()}:{os.getgid()}"
    if closed:
        check(
            error,
            NotExecutable,
            f"/closed/x: the directory /closed (mode {mode:04o}, owner {owner}) is closed to user 1",
        )
    else:
        check(error, NotExecutable, "/closed/x: permission denied")


def test_the_class_of_a_user_decides(root: Root) -> None:
    root.base.chmod(0o755)
    uid, gid = os.getuid(), os.getgid()
    root.add("/x", elf(), 0o077)
    owner = root.explain("/x", error=errno.EACCES, identity=(uid, gid, ()))
    assert "it (mode 0077" in str(owner)
    root.add("/y", elf(), 0o707)
    group = root.explain("/y", error=errno.EACCES, identity=(uid + 1, 1 << 20, (gid,)))
    assert "it (mode 0707" in str(group)


def test_what_is_in_a_volume(root: Root, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "script").write_bytes(b"#!/opt/missing\n")
    (volume / "script").chmod(0o755)
    root.add("/data/hidden", elf())
    (root.base / "link").symlink_to("/data")
    root.mounts["/data"] = str(volume)
    check(root.explain("/data/hidden"), ProgramNotFound, "/data/hidden: no such file in the volume at /data")
    text = "its interpreter /opt/missing (from the #! line) is not in the image"
    check(root.explain("/data/script"), ProgramNotFound, f"/data/script: {text}")
    root.mounts["/one"] = str(volume / "script")
    check(root.explain("/one"), ProgramNotFound, f"/one: {text}")


def test_a_volume_without_exec(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/x").write_bytes(elf())
    (tmp_path / "volume/x").chmod(0o755)
    root.mounts["/v"] = str(tmp_path / "volume")

    class Flags:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(os, "statvfs", lambda path: Flags)
    error = root.explain("/v/x", error=errno.EACCES)
    check(error, NotExecutable, "/v/x: its file system is mounted noexec")


@pytest.mark.parametrize(
    ("error", "words"),
    [(errno.E2BIG, "argument list too long"), (errno.ETXTBSY, "text file busy"), (errno.EPERM, "operation not")],
)
def test_other_errors_are_told_in_the_kernels_words(root: Root, error: int, words: str) -> None:
    root.add("/x", elf())
    assert str(root.explain("/x", error=error)).startswith(f"app web: /x: {words}")


def test_an_image_that_cannot_be_read(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root.add("/x", elf())

    def broken(self: RootView, path: str, count: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(RootView, "read", broken)
    error = root.explain("/x")
    assert type(error) is LaunchError
    assert str(error) == "app web: /x: Input/output error"


def test_several_trees_are_one_root(tmp_path: Path) -> None:
    for name in ("upper", "lower"):
        (tmp_path / name / "bin").mkdir(parents=True)
    (tmp_path / "lower/bin/x").write_bytes(b"text")
    (tmp_path / "lower/bin/x").chmod(0o755)
    view = RootView((str(tmp_path / "upper"), str(tmp_path / "lower")))
    error = explain_exec(view, Program(("/bin/x",), "/bin/x"), errno.ENOEXEC, "app web")
    assert "neither an ELF program" in str(error)
