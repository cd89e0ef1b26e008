"""Reading Dockerfiles: continuation, flags, lists, variables, and every fault with its line."""

from __future__ import annotations

import pytest

from appc.build.dockerfile import pairs, parse, words
from appc.build.dockerignore import Ignore, expression
from appc.build.stage import Config
from appc.errors import InvalidValue, ManifestError
from appc.schema.image import ImageManifest


def _read(text: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.name, one.text) for one in parse(text.encode(), "Dockerfile").instructions]


def test_lines_are_joined_and_comments_left_out() -> None:
    text = "# first\n\nFROM a\nRUN one \\\n  # between\n\n  two \\\n  three\ncmd x # not a comment\n"
    assert _read(text) == [(3, "FROM", "a"), (4, "RUN", "one   two   three"), (9, "CMD", "x # not a comment")]


def test_the_escape_character_can_be_a_backtick() -> None:
    text = "# escape=`\nFROM a\nRUN dir c:\\ `\n && x\n"
    assert _read(text) == [(2, "FROM", "a"), (3, "RUN", "dir c:\\  && x")]


def test_flags_and_lists_are_told_from_words() -> None:
    found = parse(b'FROM a\nCOPY --from=b --chown=1:2 --link ["a b", "c"]\nCMD ["x", 1]\nCMD ["y"]\n', "").instructions
    assert found[1].flags == {"from": "b", "chown": "1:2"}
    assert found[1].items == ("a b", "c")
    assert found[2].items is None
    assert found[3].items == ("y",)


def test_all_faults_come_together_with_their_lines() -> None:
    text = "FROM a\nFETCH x\nCOPY --parents a b\nRUN\nADD <<EOF /x\nONBUILD RUN x\nSHELL sh\nRUN --mount=type=cache x\n"
    with pytest.raises(ManifestError) as caught:
        parse(text.encode(), "Dockerfile")
    assert [path for path, _ in caught.value.faults] == [f"line {number}" for number in range(2, 9)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has no FROM"),
        (b"RUN x\nFROM a\n", "RUN stands before the first FROM"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"# escape=x\nFROM a", "escape must be"),
        (b"x" * (2 << 20), "is longer than"),
        (b"FROM a\nCOPY --from= a b", "needs a value"),
    ],
)
def test_what_is_no_dockerfile_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        parse(data, "Dockerfile")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a $X b", ["a", "1 2", "b"]),
        ("'a $X' \"b $X\"", ["a $X", "b 1 2"]),
        ("${X}y ${none}z", ["1 2y", "z"]),
        ("${none:-d e} ${X:+set} ${none:+set}", ["d e", "set", ""]),
        ("${none:-${X}}", ["1 2"]),
        (r"\$X a\ b", ["$X", "a b"]),
        ("$ 5$", ["$", "5$"]),
        ('""', [""]),
    ],
)
def test_variables_and_quotes_are_resolved(text: str, expected: list[str]) -> None:
    assert words(text, {"X": "1 2"}, "\\") == expected


@pytest.mark.parametrize("text", ["'open", '"open', "${X", "${}", "${X%y}", "${1X}"])
def test_broken_words_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        words(text, {"X": ""}, "\\")


def test_pairs_have_two_forms() -> None:
    assert pairs('A=1 B="x y"', {}, "\\") == [("A", "1"), ("B", "x y")]
    assert pairs("A some words", {}, "\\") == [("A", "some words")]
    for text in ("A=1 B", "A"):
        with pytest.raises(InvalidValue):
            pairs(text, {}, "\\")


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("a.log", True),
        ("keep.log", False),
        ("sub/a.log", False),
        ("node_modules/x/y", True),
        ("deep/er/secret", True),
        ("secret", True),
        ("tmp1/x", True),
        ("tmpx/x", False),
        ("b[c", False),
    ],
)
def test_ignored_files_are_left_out(path: str, out: bool) -> None:
    rules = Ignore("# comment\n*.log\n!keep.log\n/node_modules/\n**/secret\ntmp[0-9]\n[\n[z-a]\n")
    assert rules.leaves_out(path) is out


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("a*b*c", "axbxbxc", True),
        ("a*b*c", "axc", False),
        ("a*b*c", "ab/c", False),
        ("*.tar.?z", "x.tar.tar.gz", True),
        ("**/b/**/d", "a/b/b/c/d", True),
        ("**/b/**/d", "b/d", True),
        ("**/b/**/d", "ab/d", False),
        ("**/x*y/z", "a/xxy/q/xy/z", True),
        ("**b*c**d", "ab/bxc/xd", True),
        ("**b*c**d", "b/cd", False),
        ("a/**", "a/b/c", True),
        ("*/c", "a/b/c", False),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        # As many ways to divide this among the stars as no machine can try.
        ("*a" * 40 + "b", "a" * 250, False),
        ("**/a" * 40 + "b", "a/" * 250 + "a", False),
        ("**a" * 40 + "b", "a/" * 250 + "a", False),
    ],
)
def test_patterns_match_whole_paths(pattern: str, path: str, found: bool) -> None:
    assert (expression(pattern).fullmatch(path) is not None) is found


def test_volumes_whose_paths_make_one_name_get_different_ones() -> None:
    config = Config()
    config.command, config.volumes = ("/x",), ["/a_b", "/a-b", "/a b"]
    app = ImageManifest.parse(config.manifest("example.com/app")).app
    assert app is not None
    assert {point.path: point.name for point in app.mount_points} == {
        "/a_b": "volume-a-b",
        "/a-b": "volume-a-b-1",
        "/a b": "volume-a-b-2",
    }
