"""What reaches stdout: tables, documents, and nothing a terminal would obey."""

from __future__ import annotations

import io
import json

import pytest

from appc.cli.context import Context, printable
from appc.cli.output import Progress, ago, listing, record, size

RECORDS = [
    {"name": "example.com/app", "size": 1536, "labels": ["a", "b"], "extra": {"x": 1}},
    {"name": "b", "size": None, "labels": [], "extra": None},
]
COLUMNS = [("NAME", "name"), ("SIZE", "size"), ("UPPER", lambda r: r["name"].upper()), ("LABELS", "labels")]


def context(**changes: object) -> Context:
    made = Context()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_table_is_aligned_and_has_headings(capsys: pytest.CaptureFixture[str]) -> None:
    listing(context(), RECORDS, COLUMNS)
    assert capsys.readouterr().out.splitlines() == [
        "NAME              SIZE   UPPER             LABELS",
        "example.com/app   1536   EXAMPLE.COM/APP   a,b",
        "b                 -      B                 -",
    ]


def test_headings_may_be_left_out_and_an_empty_table_still_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    listing(context(legend=False), RECORDS[:1], COLUMNS[:1])
    assert capsys.readouterr().out == "example.com/app\n"
    listing(context(), [], COLUMNS[:2])
    assert capsys.readouterr().out == "NAME   SIZE\n"
    listing(context(legend=False), [], COLUMNS)
    assert capsys.readouterr().out == ""


def test_json_has_everything_a_record_has(capsys: pytest.CaptureFixture[str]) -> None:
    listing(context(format="json"), RECORDS, COLUMNS)
    assert json.loads(capsys.readouterr().out) == RECORDS


def test_a_record_is_lines_or_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    record(context(), {"state": "running", "pid": 7, "ok": True, "none": None})
    assert capsys.readouterr().out == "state=running\npid=7\nok=true\nnone=\n"
    record(context(format="json"), {"state": "running"})
    assert json.loads(capsys.readouterr().out) == {"state": "running"}


def test_control_characters_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    listing(context(legend=False), [{"name": "a\x1b[2Jb\nc\u202e"}], [("NAME", "name")])
    assert capsys.readouterr().out == "a\\x1b[2Jb\\nc\\u202e\n"
    assert printable("über – ok") == "über – ok"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (15 * 1024, "15 KiB"),
        (3 << 30, "3.0 GiB"),
        (1 << 60, "1048576 TiB"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 seconds ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (7300, "2 hours ago"),
        (2e5, "2 days ago"),
    ],
)
def test_ages_for_people(seconds: float, text: str) -> None:
    assert ago(seconds) == text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals_only_and_only_for_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(Progress, "PATIENCE", 0.0)
    with Progress("importing", 100) as progress:
        progress.advance(50)
    assert stream.getvalue() == ""

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("importing", 100) as progress:
        progress.advance(50)
    assert "importing" in terminal.getvalue()

    measured = Terminal()
    monkeypatch.setattr("sys.stderr", measured)
    with Progress("building", lambda: 2_000_000) as progress:
        progress.advance(1_000_000)
    assert "1.0/2.0 MB" in measured.getvalue()

    quick = Terminal()
    monkeypatch.setattr("sys.stderr", quick)
    monkeypatch.setattr(Progress, "PATIENCE", 60.0)
    with Progress("importing", 100) as progress:
        progress.advance(100)
    assert quick.getvalue() == ""
