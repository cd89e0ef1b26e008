"""Images of programs: which libraries come along, from where, and what is said when one does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from appc.build.closure import Closure
from appc.build.elf import read_elf
from appc.build.tree import Tree
from appc.cli.main import main
from appc.errors import ArchiveError
from capabilities import need


def _cc(*words: str | Path) -> None:
    need("gcc")
    subprocess.run(["gcc", *map(str, words)], check=True)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program with a library of its own beside it, which needs another."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "b.c").write_text("int b(void) { return 7; }")
    (tmp_path / "a.c").write_text("int b(void); int a(void) { return b(); }")
    (tmp_path / "main.c").write_text("int a(void); int main(void) { return a(); }")
    b, a = tmp_path / "lib/libb.so.1", tmp_path / "lib/liba.so"
    _cc("-shared", "-fPIC", "-Wl,-soname,libb.so.1", tmp_path / "b.c", "-o", b)
    _cc("-shared", "-fPIC", "-Wl,-soname,liba.so,--enable-new-dtags,-rpath,$ORIGIN", tmp_path / "a.c", b, "-o", a)
    out = tmp_path / "seven"
    _cc(
        "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib",
        f"-Wl,-rpath-link,{tmp_path}/lib",
        tmp_path / "main.c",
        a,
        "-o",
        out,
    )
    return out


def _build(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    status = main(["image", "build", "from-binary", *map(str, words)])
    said = capsys.readouterr()
    assert status == 0, said.err
    return said.out.strip()


def _names(aci: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(aci) as archive:
        return {member.name.removeprefix("rootfs/"): member for member in archive}


def _manifest(aci: Path) -> dict[str, object]:
    with tarfile.open(aci) as archive:
        file = archive.extractfile("manifest")
        assert file is not None
        return dict(json.load(file))


def test_libraries_come_along_and_stay_beside_the_program(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _build(capsys, program, tmp_path / "out.aci")
    names = _names(tmp_path / "out.aci")
    assert {"usr/bin/seven", "usr/bin/lib/liba.so", "usr/bin/lib/libb.so.1"} <= set(names)
    assert any("ld-linux" in name for name in names)
    assert all(member.uid == member.gid == member.mtime == 0 for member in names.values())


@pytest.mark.parametrize("name", ["/bin/sh", "/usr/bin/python3", "/usr/bin/apt-get", "/usr/bin/gcc"])
def test_the_closure_is_what_the_dynamic_linker_says(name: str, tmp_path: Path) -> None:
    if not Path(name).exists():
        pytest.skip(f"no {name} here")
    tree = Tree(str(tmp_path))
    real = str(Path(name).resolve())
    assert Closure(tree).add(real, real)
    said = subprocess.run(["ldd", real], capture_output=True, text=True, check=True).stdout
    wanted = {Path(word).resolve() for word in said.split() if word.startswith("/")}
    found = {Path("/") / path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.resolve() for path in found} == wanted


def test_the_same_program_gives_the_same_image(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _build(capsys, program, tmp_path / "one.aci")
    program.touch()
    umask = os.umask(0o077)
    try:
        assert _build(capsys, program, tmp_path / "two.aci") == first
    finally:
        os.umask(umask)
    assert (tmp_path / "one.aci").read_bytes() == (tmp_path / "two.aci").read_bytes()


def test_options_make_the_manifest(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asset = tmp_path / "pages"
    asset.mkdir()
    (asset / "index.html").write_text("hello")
    out = tmp_path / "out.aci"
    words = ("--as", "/app", "--asset", f"{asset}:/srv", "--name", "example.com/seven", "--label", "version=1.0.0")
    _build(capsys, *words, "--user", "7", "--mtime", "99", program, out, "--", "--all", "x y")
    manifest = _manifest(out)
    assert manifest["name"] == "example.com/seven"
    assert {"name": "version", "value": "1.0.0"} in manifest["labels"]  # type: ignore[operator]
    assert manifest["app"] == {"exec": ["/app", "--all", "x y"], "user": "7", "group": "0"}
    names = _names(out)
    assert {"app", "srv/index.html"} <= set(names)
    assert names["app"].mtime == 99


def test_a_script_brings_its_interpreter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "hello"
    script.write_text("#!/usr/bin/env sh\necho hello\n")
    script.chmod(0o755)
    _build(capsys, script, tmp_path / "out.aci")
    names = set(_names(tmp_path / "out.aci"))
    assert {"usr/bin/env", "usr/bin/hello"} <= names
    assert {"usr/bin/sh", "bin/sh"} & names


def test_a_missing_library_is_named_with_who_needs_it(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lib/libb.so.1").unlink()
    assert main(["image", "build", "from-binary", str(program), str(tmp_path / "out.aci")]) == 1
    said = capsys.readouterr().err
    assert "/usr/bin/lib/liba.so (which /usr/bin/seven needs): the shared library libb.so.1 is not found" in said
    assert "hint: looked in" in said
    assert not (tmp_path / "out.aci").exists()


def test_a_library_found_by_configuration_is_found_in_the_image(tmp_path: Path) -> None:
    """The image has no cache of ld.so, so the library gets a link where the linker looks without one."""
    (tmp_path / "b.c").write_text("int b(void) { return 7; }")
    (tmp_path / "main.c").write_text("int b(void); int main(void) { return b(); }")
    source = tmp_path / "source"
    (source / "etc").mkdir(parents=True)
    (source / "opt/seven").mkdir(parents=True)
    (source / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n/opt/seven # there\n")
    library = source / "opt/seven/libseven-b.so"
    _cc("-shared", "-fPIC", tmp_path / "b.c", "-o", library)
    _cc(tmp_path / "main.c", f"-L{library.parent}", "-lseven-b", "-o", tmp_path / "main")
    root = tmp_path / "root"
    root.mkdir()
    assert Closure(Tree(str(root), [str(source)])).add(str(tmp_path / "main"), "/main")
    links = [path for path in root.rglob("*.so") if path.is_symlink()]
    assert len(links) == 1
    assert str(links[0].readlink()) == "/opt/seven/libseven-b.so"


def test_what_is_no_program_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    for path, reason in ((text, "is neither an ELF program nor a script"), (tmp_path / "none", "no such file")):
        assert main(["image", "build", "from-binary", str(path), str(tmp_path / "out.aci")]) == 1
        said = capsys.readouterr().err
        assert f"{path}: {reason}" in said
        assert len(said.splitlines()) == 1
    assert not (tmp_path / "out.aci").exists()


def test_an_existing_image_is_not_replaced_unasked(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.aci"
    out.write_text("mine")
    assert main(["image", "build", "from-binary", str(program), str(out)]) == 2
    assert "hint: --overwrite replaces it" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_damaged_elf_files_are_refused_and_never_crash(program: Path, tmp_path: Path) -> None:
    whole = program.read_bytes()
    damaged = tmp_path / "damaged"
    refused = 0
    for size in (*range(4, 1200, 7), *range(1200, len(whole), 997)):
        damaged.write_bytes(whole[:size])
        try:
            read_elf(str(damaged))
        except ArchiveError as error:
            assert error.what == "is a damaged ELF file"
            refused += 1
    assert refused > 100
    for at in range(16, 1200, 3):
        damaged.write_bytes(whole[:at] + b"\xff" * 4 + whole[at + 4 :])
        try:
            read_elf(str(damaged))
        except ArchiveError:
            pass


def test_links_that_lead_in_circles_are_no_library(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").symlink_to("b")
    (source / "b").symlink_to("a")
    root = tmp_path / "root"
    root.mkdir()
    tree = Tree(str(root), [str(source)])
    assert tree.resolve("/a") == ""
    with pytest.raises(ArchiveError, match="leads nowhere"):
        tree.add("/a")


def test_a_tree_is_never_left_through_its_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    tree = Tree(str(root))
    tree.link("/out", "../../..")
    tree.write("/out/file", b"x")
    tree.link("/abs", str(tmp_path))
    tree.write("/abs/file", b"x")
    assert (root / "file").read_bytes() == b"x"
    assert not (tmp_path / "file").exists()


def test_the_interpreter_of_this_test_has_one() -> None:
    elf = read_elf(str(Path(sys.executable).resolve()))
    assert elf is not None
    assert elf.interpreter.startswith("/")
    assert any(name.startswith("libc.") for name in elf.needed)


def test_what_is_unpacked_goes_before_what_is_installed(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unpacked = tmp_path / "unpacked"
    (unpacked / "usr/bin").mkdir(parents=True)
    program.rename(unpacked / "usr/bin/seven")
    (tmp_path / "lib").rename(unpacked / "usr/bin/lib")
    _build(capsys, "--unpacked", unpacked, "/usr/bin/seven", tmp_path / "out.aci")
    assert {"usr/bin/seven", "usr/bin/lib/liba.so", "usr/bin/lib/libb.so.1"} <= set(_names(tmp_path / "out.aci"))
