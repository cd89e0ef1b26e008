"""Hostile Dockerfiles, build files and contexts: a clear error or no harm, nothing written outside, nothing left."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appc.cli.main import main
from appc.store.deletion import delete_tree
from capabilities import need

Make = Callable[[Path], None]
SCRATCH = "FROM scratch\n"


class Case:
    """What is made in a context, the options, and what the refusal says ("" when it is built without harm)."""

    def __init__(self, name: str, refusal: str, make: Make, *options: str, file: str = "Dockerfile") -> None:
        self.name = name
        self.refusal = refusal
        self.make = make
        self.options = options
        self.file = file


def dockerfile(name: str, refusal: str, text: str | bytes, *more: Make) -> Case:
    """A Dockerfile of this text, with what `more` makes beside it."""

    def make(context: Path) -> None:
        (context / "Dockerfile").write_bytes(text if isinstance(text, bytes) else text.encode())
        for one in more:
            one(context)

    return Case(name, refusal, make)


def appfile(name: str, refusal: str, text: str, *more: Make, kind: str = "toml") -> Case:
    """A build file of this text, with what `more` makes beside it."""

    def make(context: Path) -> None:
        (context / f"Appfile.{kind}").write_text(text)
        for one in more:
            one(context)

    return Case(name, refusal, make, file=f"Appfile.{kind}")


def only(name: str, refusal: str, make: Make, file: str = "Dockerfile") -> Case:
    """A context that `make` fills."""
    return Case(name, refusal, make, file=file)


def fifo(path: str) -> Make:
    return lambda context: os.mkfifo(context / path)


def link(path: str, target: str) -> Make:
    return lambda context: (context / path).symlink_to(target)


def file(path: str, content: str | bytes = "x") -> Make:
    return lambda context: (context / path).write_bytes(content if isinstance(content, bytes) else content.encode())


def huge(path: str) -> Make:
    """A file of six gigabytes that takes no room."""

    def make(context: Path) -> None:
        with open(context / path, "wb") as stream:
            stream.truncate(6 << 30)

    return make


def deep(count: int) -> Make:
    """Directories in each other, deeper than a path can say."""

    def make(context: Path) -> None:
        top = os.open(context, os.O_RDONLY)
        for _ in range(count):
            os.mkdir("a", dir_fd=top)
            below = os.open("a", os.O_RDONLY, dir_fd=top)
            os.close(top)
            top = below
        os.close(top)

    return make


def archive(path: str, *entries: tuple[str, bytes, str]) -> Make:
    """A tar archive of (name, type, target of a link)."""

    def make(context: Path) -> None:
        with tarfile.open(context / path, "w") as out:
            for name, kind, target in entries:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, target
                out.addfile(info, io.BytesIO())

    return make


def bomb(path: str) -> Make:
    """Little that would be a gigabyte and more."""

    def make(context: Path) -> None:
        info = tarfile.TarInfo("zeros")
        info.size = 1200 << 20
        (context / path).write_bytes(gzip.compress(info.tobuf()) + 75 * gzip.compress(bytes(16 << 20)))

    return make


def steps(*texts: str) -> str:
    """A build file of these steps."""
    return "".join(f"[[steps]]\n{text}\n" for text in texts)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from in_dockerfiles()
    yield from in_appfiles()
    yield from in_contexts()


def in_dockerfiles() -> Iterator[Case]:
    """Texts that ask for too much, or for what cannot be."""
    yield dockerfile("env-that-doubles", "come to more than", f"{SCRATCH}ENV A={'x' * 16}\n" + "ENV A=$A$A\n" * 40)
    yield dockerfile("arg-that-doubles", "come to more than", f"{SCRATCH}ARG A={'x' * 16}\n" + "ARG A=$A$A\n" * 40)
    yield dockerfile("first-arg-that-doubles", "come to more than", "ARG A=xxxx\n" + "ARG A=$A$A\n" * 40 + SCRATCH)
    yield dockerfile(
        "label-that-doubles", "comes to more than", f"{SCRATCH}ENV A={'x' * 300000}\nLABEL a=$A b=$A c=$A d=$A"
    )
    yield dockerfile("copy-of-variables", "comes to more", f"{SCRATCH}ENV A={'x' * 300000}\nCOPY {'$A' * 200000} /x\n")
    yield dockerfile("braces", "more than 100 braces", f"{SCRATCH}ENV A={'${A:-' * 3000}{'}' * 3000}\n")
    yield dockerfile("braces-not-closed", "is no variable", SCRATCH + "ENV A=${A:-${A\n")
    yield dockerfile("instructions", "more than 2000 instructions", SCRATCH * 3000)
    yield dockerfile("too-long", "is longer than", SCRATCH + "# x\n" * 300_000)
    yield dockerfile("nul", "holds a NUL", SCRATCH + "ENV A=a\0b\n")
    yield dockerfile("nul-in-a-list", "holds a NUL", SCRATCH + 'COPY ["a\\u0000b", "/"]\n')
    yield dockerfile("not-utf-8", "is not UTF-8", b"FROM scratch\nENV A=\xff\n")
    yield dockerfile("terminal", "unknown instruction", SCRATCH + "FOO\x1b]0;evil\x07 x\n")
    yield dockerfile("terminal-in-a-path", "is not in the context", SCRATCH + "COPY x\x1b]0;evil\x07 /x\n")
    yield dockerfile("list-deep", "nothing in the context", SCRATCH + f"COPY {'[' * 100_000} /x\n")
    yield dockerfile("directory-deep", "directories deep", SCRATCH + f"WORKDIR /{'a/' * 3000}\n")
    yield dockerfile("directory-long", "too long", SCRATCH + f"WORKDIR /{'a' * 300}\n")
    yield dockerfile("from-itself", "is not in the store", "FROM one AS one\n")
    yield dockerfile("from-the-next", "is not in the store", "FROM two AS one\nFROM scratch AS two\n")
    yield dockerfile("copy-from-itself", "is not in the store", "FROM scratch AS one\nCOPY --from=one / /x\n")
    yield dockerfile("copy-from-a-path", "is not signed", SCRATCH + "COPY --from=/etc/passwd / /x\n")
    yield dockerfile("from-a-directory", "is a directory", "FROM /etc\n")
    yield dockerfile("platform-elsewhere", "no os and arch labels", "FROM --platform=../../etc scratch\n")


def in_appfiles() -> Iterator[Case]:
    """Build files that ask for too much, or for what cannot be."""
    x = "x" * 100_000
    yield appfile("arguments", "is longer than", f'args.A = "{x}"\n{steps(*["""mkdir = "/${args.A}" """] * 100)}')
    yield appfile("arrays-deep", "is not TOML", "a = " + "[" * 20_000)
    yield appfile("dots", "too many dots", "a." * 20_000 + "b = 1\n")
    laugh = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    laugh += "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12))
    yield appfile("aliases", "more than 100000 values", laugh, kind="yaml")
    yield appfile("python-objects", "is not YAML", 'a: !!python/object/apply:os.system ["touch evil"]\n', kind="yaml")
    yield appfile("json-deep", "Appfile.json: values are nested", '{"steps":' * 50_000, kind="json")
    yield appfile("steps", "at most 200", steps(*["""mkdir = "/a" """] * 300))
    yield appfile("nul-in-a-path", "is not a text", steps('mkdir = "/a\\u0000b"'))
    yield appfile("directory-very-deep", "directories deep", steps(f'mkdir = "/{"a/" * 3000}"'))
    yield appfile("root-removed", "cannot be removed", steps('remove = "/"'))
    yield appfile("root-removed-by-dots", "cannot be removed", steps('remove = "/../.."'))
    yield appfile("root-replaced", "steps[0].symlink", steps('symlink = { path = "/", to = "/etc" }'))
    yield appfile("network-namespace", "is not none", steps('run = { command = "x", network = "host,none" }'))
    yield appfile("base-outside", "is a directory", 'base = "/etc"\n')
    loop = ('symlink = { path = "/a", to = "b" }', 'symlink = { path = "/b", to = "a" }')
    yield appfile("link-loop", "steps[2].write", steps(*loop, 'write = { path = "/a/x", text = "" }'))
    # What leads out of the root leads to its top.
    up = "../" * 20
    yield appfile("written-above", "", steps(f'write = {{ path = "/{up}tmp/evil", text = "x" }}'))
    yield appfile("link-above", "", steps(
        'mkdir = "/tmp"', f'symlink = {{ path = "/up", to = "{up}tmp" }}', 'write = { path = "/up/evil", text = "x" }'
    ))  # fmt: skip
    yield appfile("link-to-the-host-removed", "", steps(
        'mkdir = "/keep"', 'symlink = { path = "/keep/x", to = "/etc" }', 'remove = "/keep"'
    ))  # fmt: skip


def in_contexts() -> Iterator[Case]:
    """Files beside the text."""
    copy = SCRATCH + "COPY . /x/\n"
    yield only("dockerfile-is-a-fifo", "is not a regular file", fifo("Dockerfile"))
    yield only("dockerfile-is-a-directory", "Is a directory", lambda context: (context / "Dockerfile").mkdir())
    yield only("dockerfile-outside", "No such file", link("Dockerfile", "/etc/passwd"))
    yield only("dockerfile-above", "No such file", link("Dockerfile", "../secret"))
    yield only("dockerfile-without-end", "No such file", link("Dockerfile", "/dev/zero"))
    yield only("dockerfile-links-in-a-circle", "cannot be read", link("Dockerfile", "Dockerfile"))
    yield only("dockerfile-huge", "is longer than", huge("Dockerfile"))
    yield only("appfile-is-a-fifo", "is not a regular file", fifo("Appfile.toml"), "Appfile.toml")
    yield only("appfile-huge", "is longer than", huge("Appfile.toml"), "Appfile.toml")
    yield dockerfile("ignore-is-a-fifo", "is not a regular file", copy, fifo(".dockerignore"))
    yield dockerfile("ignore-huge", "is longer than", copy, huge(".dockerignore"))
    yield dockerfile("ignore-outside", "No such file", copy, link(".dockerignore", "/etc/passwd"))
    yield dockerfile("stars", "", copy, file(".dockerignore", "*a" * 25 + "b\n"), file("a" * 200))
    yield dockerfile("stars-in-a-path", "nothing in the context", f"{SCRATCH}COPY {'*a' * 25}b /x/\n", file("a" * 200))
    removed = steps(f'write = {{ path = "/{"a" * 200}", text = "x" }}', f'remove = "/{"*a" * 25}b"')
    yield appfile("stars-to-remove", "is not there", removed)
    yield dockerfile("context-deep", "directories deep", copy, deep(2500))
    yield dockerfile("fifo", "is neither a file", SCRATCH + "COPY f /x\n", fifo("f"))
    yield dockerfile("copy-outside-by-link", "is not in the context", SCRATCH + "COPY l /x\n", link("l", "/etc/passwd"))
    yield dockerfile("copy-above", "is not in the context", SCRATCH + "COPY ../secret /x\n")
    yield dockerfile("copy-above-by-link", "is not in the context", SCRATCH + "COPY l/secret /x\n", link("l", ".."))
    up = archive("t.tar", ("../../../../evil", tarfile.REGTYPE, ""))
    yield dockerfile("add-above", 'name contains ".."', SCRATCH + "ADD t.tar /x/\n", up)
    way = archive("t.tar", ("way", tarfile.SYMTYPE, "/tmp"), ("way/evil", tarfile.REGTYPE, ""))
    yield dockerfile("add-through-a-link", "cannot be unpacked", SCRATCH + "ADD t.tar /x/\n", way)
    hard = archive("t.tar", ("hard", tarfile.LNKTYPE, "../../../../etc/passwd"))
    yield dockerfile("add-a-hard-link", "cannot be unpacked", SCRATCH + "ADD t.tar /x/\n", hard)
    yield dockerfile("add-a-bomb", "expands to more than", SCRATCH + "ADD b.tar.gz /x/\n", bomb("b.tar.gz"))


CASES = list(cases())


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    need("root", "overlay-tmp")
    (tmp_path / "context").mkdir()
    (tmp_path / "secret").write_text("root:x:0:0\n")
    (tmp_path / "config").mkdir()
    yield tmp_path
    # Deeper than pytest could.
    delete_tree(str(tmp_path / "context"))
    assert (tmp_path / "secret").read_text() == "root:x:0:0\n"
    assert set(os.listdir(tmp_path)) - {"root"} == {"config", "said", "secret"}
    assert not any(name.startswith("evil") for name in os.listdir("/tmp"))


def _perform(place: Path, *words: str) -> int:
    """The status of a command, in a process of its own: builds make a mount namespace and stay in it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 99
    try:
        with open(place / "said", "w", encoding="utf-8") as sys.stderr:
            places = ("--root", f"{place}/root", "--state", f"{place}/state", "--config", f"{place}/config")
            status = main([*places, *words])
    finally:
        os._exit(status)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_or_harmless_and_nothing_is_left(case: Case, place: Path) -> None:
    case.make(place / "context")
    builder = ["from-dockerfile"] if case.file == "Dockerfile" else ["--file", f"{place}/context/{case.file}"]
    directory = [f"{place}/context"] if case.file == "Dockerfile" else []
    out = place / "out.aci"
    status = _perform(place, "image", "build", *builder, "--offline", *case.options, *directory, str(out))
    said = (place / "said").read_text()
    assert "internal error" not in said
    assert all(line.isprintable() and line.startswith(("appc: ", "hint: ")) for line in said.splitlines())
    assert "root:x" not in said
    if case.refusal:
        assert status in (1, 2)
        assert any(case.refusal in line for line in said.splitlines()), said
        assert all(len(line) < 900 for line in said.splitlines())
        assert not out.exists()
    else:
        assert status == 0, said
        with tarfile.open(out) as made:
            assert all(name.split("/")[0] in ("manifest", "rootfs") for name in made.getnames())
        out.unlink()
    staging = place / "root/store/staging"
    assert not staging.exists() or os.listdir(staging) == []
