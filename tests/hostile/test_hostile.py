"""Every hostile image is refused in one clear line, or accepted without doing harm; nothing outside is touched."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appc.cli.main import main
from appc.errors import AppcError, ArchiveError
from appc.formats import compress
from appc.formats.aci import read_aci
from appc.formats.extract import Extractor
from appc.formats.tar import HARDLINK, Reader
from hostile.corpus import Case, cases

CASES = cases()
ROOT = os.geteuid() == 0


def test_the_corpus_is_large_enough() -> None:
    assert sum(1 for case in CASES if case.refusal) >= 100


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory `root` to extract into, among files that must stay as they are."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"untouched")
    before = _outside(tmp_path)
    (tmp_path / "root").mkdir()
    escaped = {name for name in os.listdir("/tmp") if name.startswith("evil")}
    yield tmp_path
    assert _outside(tmp_path) == before
    assert {name for name in os.listdir("/tmp") if name.startswith("evil")} == escaped


def _outside(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in sorted(directory.iterdir()):
        if path.name != "root":
            status = path.lstat()
            found[path.name] = (status.st_mode, status.st_mtime_ns, path.read_bytes())
    return found


def _extract(case: Case, root: Path) -> None:
    fd = os.open(root, os.O_RDONLY)
    try:
        with Extractor(fd, prefix="rootfs", owners=ROOT, where="x.aci") as extractor:
            read_aci(io.BytesIO(case.data), extractor, case.limits, where="x.aci")
            extractor.finish()
    finally:
        os.close(fd)


@pytest.mark.parametrize("case", [case for case in CASES if case.refusal], ids=lambda case: case.name)
def test_refused_in_one_line_that_says_why(case: Case, place: Path) -> None:
    with pytest.raises(ArchiveError) as caught:
        _extract(case, place / "root")
    message = str(caught.value)
    assert case.refusal in message
    assert message.startswith("x.aci")
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize("case", [case for case in CASES if not case.refusal], ids=lambda case: case.name)
def test_accepted_and_contained(case: Case, place: Path) -> None:
    _extract(case, place / "root")
    for name, expected in (case.tree or {}).items():
        path = os.fsencode(place / "root") + b"/" + name.encode("utf-8", "surrogateescape")
        if isinstance(expected, str):
            assert os.readlink(path) == os.fsencode(expected)
        else:
            assert Path(os.fsdecode(path)).read_bytes() == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_extractor_alone_stays_inside(case: Case, place: Path) -> None:
    """As if the names and links had never been checked."""
    fd = os.open(place / "root", os.O_RDONLY)
    try:
        with Extractor(fd, owners=ROOT) as extractor:
            for entry in Reader(compress.reader(io.BytesIO(case.data), case.limits), case.limits):
                entry.path = entry.name.rstrip("/")
                entry.link_path = entry.linkname if entry.type == HARDLINK else ""
                if entry.size < 1 << 24:
                    extractor.entry(entry)
            extractor.finish()
    except AppcError as error:
        assert str(error).isprintable()
    finally:
        os.close(fd)


@pytest.mark.parametrize("case", [case for case in CASES if case.usual], ids=lambda case: case.name)
def test_the_command_line_says_so_and_leaves_nothing(
    case: Case, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "root" / "x.aci").write_bytes(case.data)
    monkeypatch.chdir(place / "root")
    expected = 1 if case.refusal else 0
    assert main(["image", "validate", "x.aci"]) == expected
    assert main(["image", "extract", "x.aci", "out"]) == expected
    assert sorted(os.listdir(".")) == (["x.aci"] if expected else ["out", "x.aci"])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    for line in said.splitlines():
        assert line.isprintable()
        assert line.startswith(("appc: x.aci", "appc: warning: ", "hint: "))
    assert not expected or case.refusal in said
