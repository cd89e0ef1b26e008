"""The grammar engines write command lines in."""

from __future__ import annotations

import json

import pytest

from appc.errors import AppcError, UsageError
from appc.oci.container import check_id
from appc.oci.execute import _user
from appc.oci.main import main
from appc.oci.options import GLOBAL, SHORT_GLOBAL, VERBS, Args, parse


def parsed(verb: str, *words: str) -> Args:
    options, short, *_ = VERBS[verb]
    return parse(words, options, short, verb)


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle", "/b", "--pid-file", "/p", "one"],
        ["--bundle=/b", "--pid-file=/p", "one"],
        ["-bundle", "/b", "-pid-file=/p", "one"],
        ["-b", "/b", "--pid-file", "/p", "--", "one"],
    ],
)
def test_one_dash_or_two_and_values_beside_or_behind(words: list[str]) -> None:
    args = parsed("create", *words)
    assert (args.option("bundle"), args.option("pid-file"), args.words) == ("/b", "/p", ["one"])


def test_options_behind_the_id_are_the_commands() -> None:
    args = parsed("exec", "-t", "-e", "A=1", "--env", "B=2", "one", "ls", "-l", "--env", "C=3")
    assert args.flag("tty")
    assert args.options("env") == ["A=1", "B=2"]
    assert args.words == ["one", "ls", "-l", "--env", "C=3"]


def test_flags_take_a_truth_and_short_ones_go_together() -> None:
    assert not parsed("run", "--no-subreaper=false", "one").flag("no-subreaper")
    assert parsed("run", "-no-subreaper", "one").flag("no-subreaper")
    assert parsed("run", "--no-subreaper=T", "one").flag("no-subreaper")
    args = parsed("exec", "-dt", "one")
    assert args.flag("detach")
    assert args.flag("tty")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--nosuch"], "flag provided but not defined: -nosuch"),
        (["--bundle"], "flag needs an argument: -bundle"),
        (["--no-pivot=perhaps", "one"], "invalid boolean value"),
    ],
)
def test_refusals_in_the_words_engines_know(words: list[str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        parsed("create", *words)


def test_global_options_end_at_the_verb() -> None:
    args = parse(["--root", "/r", "--log-format=json", "create", "--bundle", "/b", "x"], GLOBAL, SHORT_GLOBAL)
    assert args.option("root") == "/r"
    assert args.words == ["create", "--bundle", "/b", "x"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\n", "\u00e9", "x" * 256])
def test_an_id_is_a_plain_name(name: str) -> None:
    with pytest.raises(AppcError, match="invalid container id"):
        check_id(name)
    assert check_id("A_z-0.9+1") == "A_z-0.9+1"


@pytest.mark.parametrize("text", ["root", "0:", ":0", "+1", "1:x", "4294967295", "-1", "\u0661"])
def test_a_user_that_is_not_understood_is_never_root(text: str) -> None:
    with pytest.raises(AppcError, match="not the number"):
        _user(text)
    assert _user("5:6") == {"uid": 5, "gid": 6}
    assert _user("5") == {"uid": 5}


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main(["create", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--console-socket" in text
    assert all(verb in text for verb in VERBS)
    assert main(["--version"]) == 0
    assert "\nspec: 1.3" in capsys.readouterr().out


def test_rootless_is_a_truth_or_auto(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("true", "false", "auto"):
        assert main([f"--rootless={text}", "--version"]) == 0
    assert main(["--rootless=perhaps", "list"]) == 1
    assert "--rootless" in capsys.readouterr().err


def test_a_command_without_a_container(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exec"]) == 255
    assert "container id cannot be empty" in capsys.readouterr().err


def test_features_tell_what_engines_ask_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "rro" in told["mountOptions"]
    assert told["ociVersionMax"] == "1.3.0"
    assert "user" in told["linux"]["namespaces"]
    assert told["linux"]["mountExtensions"]["idmap"] == {"enabled": True}
