"""The parser: what it accepts, what it makes of it, and what it says when it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.cli.options import (
    LIST,
    LISTING,
    OPTIONAL,
    REPEAT,
    Args,
    Operand,
    Option,
    Verb,
    parse,
)
from appc.cli.values import duration, integer
from appc.errors import InvalidValue, UsageError


def _refuse(text: str) -> str:
    raise InvalidValue("is not good", text, "take another")


VERB = Verb(
    "image list",
    "list",
    options=(
        *LISTING,
        Option("--verbose", "-v", help="say more"),
        Option("--colour", help="paint it", default=True),
        Option("--name", "-n", metavar="NAME", help="a name"),
        Option("--level", metavar="N", parse=integer(1, 9), default=6),
        Option("--env", "-e", metavar="N=V", kind=REPEAT),
        Option("--insecure", kind=LIST, choices=("image", "tls")),
        Option("--wait", metavar="TIME", kind=OPTIONAL, parse=duration),
        Option("--strange", metavar="X", parse=_refuse),
        Option("--secret", hidden=True),
    ),
    operands=(Operand("first"), Operand("more", count="*")),
    exclusive=(("--verbose", "--name"),),
)

RUN = Verb(
    "run",
    "run a pod",
    options=(
        Option("--rm"),
        Option("--net", metavar="NET"),
        Option("--mount", metavar="M", kind=REPEAT),
        Option("--interactive", "-i"),
    ),
    app_options=(
        Option("--memory", "-m", metavar="SIZE"),
        Option("--mount", metavar="M", kind=REPEAT),
        Option("--readonly-rootfs"),
    ),
)


def fault(*words: str, verb: Verb = VERB) -> tuple[str, str]:
    """The error's line and its hint."""
    with pytest.raises(UsageError) as caught:
        parse(verb, words)
    assert caught.value.exit_status == 2
    return str(caught.value), caught.value.hint


def test_defaults() -> None:
    args = parse(VERB, ["a"])
    assert (args.format, args.no_legend, args.verbose, args.colour) == ("table", False, False, True)
    assert (args.name, args.level, args.env, args.insecure, args.wait) == (None, 6, [], [], None)
    assert (args.first, args.more, args.given) == ("a", [], set())


@pytest.mark.parametrize(
    "words", [["--name=x"], ["--name", "x"], ["-n", "x"], ["-nx"], ["-n=x"], ["-n", "y", "-n", "x"]]
)
def test_a_value_may_be_written_in_any_usual_way_and_the_last_one_counts(words: list[str]) -> None:
    assert parse(VERB, [*words, "a"]).name == "x"
    assert parse(VERB, ["a", *words]).name == "x"


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--colour"], True),
        (["--no-colour"], False),
        (["--colour=false"], False),
        (["--colour=true"], True),
        (["--no-colour", "--colour"], True),
    ],
)
def test_a_flag_may_be_negated(words: list[str], value: bool) -> None:
    assert parse(VERB, [*words, "a"]).colour is value


def test_a_flag_whose_name_begins_with_no_is_itself() -> None:
    assert parse(VERB, ["--no-legend", "a"]).no_legend is True


def test_shorts_may_be_bundled_and_the_last_may_take_a_value() -> None:
    verb = Verb("x", "x", options=(Option("--all", "-a"), Option("--deep", "-d"), Option("--file", "-f", metavar="F")))
    args = parse(verb, ["-adf", "path"])
    assert (args.all, args.deep, args.file) == (True, True, "path")
    assert parse(verb, ["-adfpath"]).file == "path"


def test_lists_add_up() -> None:
    assert parse(VERB, ["--insecure", "image,tls", "--insecure=image", "a"]).insecure == ["image", "tls", "image"]
    assert parse(VERB, ["-e", "A=1", "--env=B=2", "a"]).env == ["A=1", "B=2"]


def test_defaults_of_lists_are_not_shared_between_calls() -> None:
    parse(VERB, ["-e", "A=1", "a"])
    assert parse(VERB, ["a"]).env == []


def test_an_optional_value_needs_its_equals_sign() -> None:
    assert parse(VERB, ["--wait", "a"]).wait == ""
    assert parse(VERB, ["--wait=1m", "a"]).wait == 60
    assert parse(VERB, ["--wait", "5"]).first == "5"


def test_words_after_two_dashes_are_operands() -> None:
    args = parse(VERB, ["a", "--", "--name", "-"])
    assert (args.first, args.more) == ("a", ["--name", "-"])


def test_a_single_dash_is_an_operand() -> None:
    assert parse(VERB, ["-"]).first == "-"


def test_operands_before_and_after_many() -> None:
    verb = Verb("x", "x", operands=(Operand("sources", count="+"), Operand("target")))
    args = parse(verb, ["a", "b", "c"])
    assert (args.sources, args.target) == (["a", "b"], "c")
    assert fault("a", verb=verb)[0] == "x: SOURCES is missing"
    optional = Verb("x", "x", operands=(Operand("name", count="?"), Operand("target")))
    assert parse(optional, ["t"]).name is None
    assert parse(optional, ["n", "t"]).name == "n"


def test_the_rest_is_left_alone() -> None:
    verb = Verb(
        "enter", "x", options=(Option("--app", metavar="A"),), operands=(Operand("uuid"), Operand("cmd", count="rest"))
    )
    args = parse(verb, ["abc", "--app", "web", "ls", "-l", "--app", "--", "x"])
    assert (args.uuid, args.app, args.cmd) == ("abc", "web", ["ls", "-l", "--app", "--", "x"])
    assert parse(verb, ["abc"]).cmd == []
    assert parse(verb, ["abc", "--", "-x"]).cmd == ["-x"]


@pytest.mark.parametrize(
    ("words", "line", "hint"),
    [
        (["--fromat", "json", "a"], "image list: --fromat: no such option", "did you mean --format?"),
        (["--zzz", "a"], "image list: --zzz: no such option", "see `appc help image list`"),
        (["-z", "a"], "image list: -z: no such option", "see `appc help image list`"),
        (["--format", "jsno", "a"], "image list: --format: 'jsno' is not one of table, json", "did you mean json?"),
        (["--name"], "image list: --name: needs a value (NAME)", "see `appc help image list`"),
        (["--verbose=yes", "a"], "image list: --verbose: takes no value, and 'yes' was given", None),
        (["--level", "ten", "a"], "image list: --level: 'ten' is not a whole number", None),
        (["--level", "10", "a"], "image list: --level: 10 is more than 9", None),
        (["--strange", "1", "a"], "image list: --strange: is not good", "take another"),
        (["--insecure", "image,ssl", "a"], "image list: --insecure: 'ssl' is not one of image, tls", None),
        (["-v", "-n", "x", "a"], "image list: --verbose: cannot go together with --name", None),
        ([], "image list: FIRST is missing", None),
        (["--root", "/x", "a"], "image list: --root: goes before the command", "appc --root … image list"),
    ],
)
def test_what_is_wrong_and_what_was_perhaps_meant(words: list[str], line: str, hint: str | None) -> None:
    told, remedy = fault(*words)
    assert told == line
    assert hint is None or remedy == hint


def test_hidden_options_are_accepted_but_not_suggested() -> None:
    assert parse(VERB, ["--secret", "a"]).secret is True
    assert "secret" not in fault("--secre", "a")[1]


def test_too_many_operands() -> None:
    assert fault("a", "b", verb=Verb("x", "x", operands=(Operand("one"),)))[0] == "x: 'b' is one word too many"


def test_operands_may_be_limited_to_choices() -> None:
    verb = Verb("x", "x", operands=(Operand("shell", choices=("bash", "zsh")),))
    assert parse(verb, ["zsh"]).shell == "zsh"
    assert fault("bas", verb=verb) == ("x: SHELL: 'bas' is not one of bash, zsh", "did you mean bash?")


def test_help_is_asked_for_whatever_else_is_missing() -> None:
    assert parse(VERB, ["--help"]).help
    assert parse(VERB, ["-h"]).help
    assert parse(RUN, ["image", "--help"]).help


# rkt's grammar


def test_app_options_belong_to_the_image_before_them() -> None:
    args = parse(RUN, ["--rm", "one", "--memory", "1Mi", "--net=host", "two", "--readonly-rootfs"])
    assert (args.rm, args.net) == (True, "host")
    one, two = args.apps
    assert (one.image, one.memory, one.readonly_rootfs, one.args) == ("one", "1Mi", False, [])
    assert (two.image, two.memory, two.readonly_rootfs, two.args) == ("two", None, True, [])


def test_arguments_of_an_app_end_at_three_dashes() -> None:
    args = parse(RUN, ["one", "--", "-x", "--memory", "--", "---", "two", "-m", "5", "--", "y"])
    assert [app.args for app in args.apps] == [["-x", "--memory", "--"], ["y"]]
    assert [app.memory for app in args.apps] == [None, "5"]


def test_three_dashes_may_also_just_separate_images() -> None:
    assert [app.image for app in parse(RUN, ["one", "---", "two", "---"]).apps] == ["one", "two"]


def test_an_option_of_pod_and_app_is_the_pods_before_the_first_image() -> None:
    args = parse(RUN, ["--mount", "all", "one", "--mount", "mine"])
    assert args.mount == ["all"]
    assert args.apps[0].mount == ["mine"]


def test_pod_options_may_follow_images() -> None:
    assert parse(RUN, ["one", "-i", "--", "x", "---", "--rm"]).rm


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--memory", "1Mi", "one"], "run: --memory: no image comes before it"),
        (["--", "x"], "run: --: no image comes before these arguments"),
        (["one", "--memory", "1", "--memory", "2"], "run: --memory: given twice for one"),
        (["one", "--memroy", "1"], "run: --memroy: no such option"),
    ],
)
def test_faults_of_the_grammar(words: list[str], line: str) -> None:
    assert fault(*words, verb=RUN)[0] == line


def test_no_image_at_all_is_for_the_verb_to_judge() -> None:
    assert parse(RUN, ["--rm"]).apps == []


# Properties

_TEXT = st.text(max_size=12)


@given(
    st.lists(st.one_of(_TEXT, st.sampled_from(["--name", "-n", "-e", "--", "---", "--no-colour", "-vn", "--env=A"])))
)
def test_any_words_are_understood_or_refused_with_one_line(words: list[str]) -> None:
    for verb in (VERB, RUN):
        try:
            assert isinstance(parse(verb, words), Args)
        except UsageError as error:
            assert error.where.startswith(verb.name)
            assert error.what


@given(st.lists(st.tuples(st.text("abc", min_size=1), st.lists(st.text(max_size=5).filter(lambda w: w != "---")))))
def test_groups_come_back_as_they_were_given(groups: list[tuple[str, list[str]]]) -> None:
    words = [word for image, args in groups for word in (image, "--", *args, "---")]
    assert [(app.image, app.args) for app in parse(RUN, words).apps] == groups


@given(_TEXT)
def test_a_value_is_taken_as_it_is(text: str) -> None:
    assert parse(VERB, ["--name", text, "a"]).name == text
    assert parse(VERB, [f"--name={text}", "a"]).name == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("30m", 1800),
        ("1h30m", 5400),
        ("2d", 172800),
        ("0", 0),
        ("1m0.5s", 60.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5x", "1h30", "1..5s", ".", "-1", "1 s", "5s5", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


@pytest.mark.parametrize("text", ["36526d", "9" * 400, "9" * 400 + "s", "1h" + "9" * 20 + "d"])
def test_no_duration_is_longer_than_clocks_can_wait(text: str) -> None:
    with pytest.raises(ValueError, match="is longer than a hundred years"):
        duration(text)
    assert duration("36525d") == 36525 * 86400
