"""What is made from the option tables: help, manual pages, completions, docs/cli.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import manual
from appc.cli.completion import SHELLS, script
from appc.cli.help import all_verbs, option_form, option_help, usage, verb_help
from appc.cli.main import FAST, VERBS, load
from appc.cli.options import LIST, OPTIONAL, Option, Verb
from capabilities import need
from starter import command, run

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_describes_itself(name: str) -> None:
    verb = load(name).VERB
    assert verb.name == name
    assert verb.summary
    assert verb.summary[0].islower(), "a summary is the end of a sentence"
    assert not verb.summary.endswith(".")
    for option in (*verb.options, *verb.app_options):
        assert option.help, f"{name} {option.long}"
        assert option.long not in ("--help", "--no-help")
    names = [option.long for option in verb.options] + [option.short for option in verb.options if option.short]
    assert len(names) == len(set(names)), "an option occurs twice"
    assert "-h" not in names
    for group in verb.exclusive:
        assert set(group) <= {option.long for option in verb.options}
    assert callable(load(name).run)


@pytest.mark.parametrize("name", VERBS)
def test_defaults_are_told_once_and_in_words_that_can_be_typed(name: str) -> None:
    verb = load(name).VERB
    for option in (*verb.options, *verb.app_options):
        told = option_help(option)
        assert told.count("(default") <= 1, told
        assert "default b'" not in told
        assert not re.search(r"default \d{12}", told)
    assert "......" not in usage(verb)


def test_fast_verbs_are_verbs() -> None:
    assert set(FAST) <= set(VERBS)
    assert len(VERBS) == len(set(VERBS))


def test_help_of_a_verb_is_the_same_however_it_is_asked_for() -> None:
    asked = run("help", "version").stdout
    assert asked.startswith("usage: appc version [options]\n")
    assert run("version", "--help").stdout == asked
    assert run("version", "-h").stdout == asked


def test_help_of_groups_and_of_all() -> None:
    overview = run("help").stdout
    assert run("--help").stdout == overview
    for verb in all_verbs():
        assert f"  {verb.name} " in overview
    group = run("help", "image").stdout
    assert "  image list " in group
    assert run("image", "--help").stdout == group


def test_help_of_a_verb_that_others_go_on_from_names_them() -> None:
    told = run("help", "image", "build").stdout
    assert told.startswith("usage: appc image build [options]")
    assert "  image build from-binary " in told
    assert run("image", "build", "--help").stdout == told
    assert run("help", "image", "build", "from-binary").stdout.startswith("usage: appc image build from-binary")


def test_help_of_nothing_known_is_an_error() -> None:
    result = run("help", "versoin")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "hint: did you mean version?"


def test_help_shows_defaults_choices_and_app_options_but_nothing_hidden() -> None:
    verb = Verb(
        "run",
        "run it",
        options=(
            Option("--grace", metavar="TIME", default="10s", help="how long"),
            Option("--log", help="keep it", default=True),
            Option("--internal", hidden=True, help="not for you"),
        ),
        app_options=(Option("--memory", "-m", metavar="SIZE", help="limit"),),
        examples=(("appc run x", "run x"),),
    )
    text = verb_help(verb)
    assert "how long (default 10s)" in text
    assert "--no-log turns it off" in text
    assert "-m, --memory SIZE" in text
    assert "usage: appc run [options] IMAGE [app options] [-- ARGS...] [--- IMAGE ...]" in text
    assert "internal" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_forms_of_options() -> None:
    assert option_form(Option("--wait", metavar="TIME", kind=OPTIONAL)) == "--wait[=TIME]"
    assert option_form(Option("--insecure", kind=LIST, choices=("a", "b"))) == "--insecure a|b,..."
    assert option_form(Option("--caps", metavar="CAP,...", kind=LIST)) == "--caps CAP,..."


def test_the_page_in_docs_is_what_the_tables_say() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert page == manual.markdown(all_verbs()), "run `make man`"


def test_manual_pages_are_clean_troff(tmp_path: Path) -> None:
    need("man")
    subprocess.run([sys.executable, ROOT / "tools" / "manual.py", "--share", tmp_path], check=True)
    pages = sorted((tmp_path / "man" / "man1").iterdir())
    assert len(pages) == len(all_verbs()) + 1
    for page in pages:
        result = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", page], capture_output=True, text=True, check=False
        )
        assert result.stderr == "", page
        assert "NAME" in result.stdout


# Completion: asked of the shells themselves


@pytest.fixture(scope="module")
def appc_on_path(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which `appc` is this appc."""
    directory = tmp_path_factory.mktemp("bin")
    program = directory / "appc"
    words = " ".join(f"'{word}'" if i < 4 else '"$APPC_CODE"' for i, word in enumerate(command()))
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "APPC_CODE": command()[4]}


CASES = [
    (["li"], {"list"}),
    (["list", "--f"], {"--format", "--full"}),
    (["list", "--format", ""], {"table", "json"}),
    (["--root", "/x", "list", "--fu"], {"--full"}),
    (["completion", "z"], {"zsh"}),
    (["image", "bu"], {"build"}),
    (["image", "build", "from-bi"], {"from-binary"}),
    (["image", "build", "from-binary", "--hel"], {"--help"}),
    (["image", "build", "--overw"], {"--overwrite"}),
    (["--log-level", "de"], {"debug"}),
]


@pytest.mark.parametrize(("words", "offered"), CASES, ids=lambda value: " ".join(value))
def test_bash_completes(words: list[str], offered: set[str], appc_on_path: dict[str, str], tmp_path: Path) -> None:
    need("bash")
    line = " ".join(f"'{word}'" for word in ["appc", *words])
    test = (
        f'compopt() {{ :; }}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _appc; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    result = subprocess.run(
        ["bash", "-u", "-c", script("bash") + test], env=appc_on_path, capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    assert set(result.stdout.split()) == offered


@pytest.mark.parametrize(("words", "offered"), CASES, ids=lambda value: " ".join(value))
def test_fish_completes(words: list[str], offered: set[str], appc_on_path: dict[str, str], tmp_path: Path) -> None:
    need("fish")
    asked = " ".join(["appc", *words])
    env = {**appc_on_path, "HOME": str(tmp_path)}
    result = subprocess.run(
        ["fish", "-N", "-c", script("fish") + f"complete -C {asked!r}"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split("\t")[0] for line in result.stdout.splitlines()} == offered


def test_zsh_reads_the_script(tmp_path: Path) -> None:
    need("zsh")
    path = tmp_path / "_appc"
    path.write_text(script("zsh"))
    subprocess.run(["zsh", "-n", path], check=True)
    load = f"autoload -Uz compinit; compinit -u -D; source {path}; whence _appc _appc_list _appc_image_list >/dev/null"
    subprocess.run(["zsh", "-f", "-c", load], check=True, env={**os.environ, "HOME": str(tmp_path)})


def test_the_verb_prints_each_script() -> None:
    for shell in SHELLS:
        assert run("completion", shell).stdout == script(shell)


def test_pods_are_offered_from_disk(tmp_path: Path) -> None:
    uuid = "0a1b2c3d-0000-4000-8000-000000000001"
    (tmp_path / "pods" / "exited" / uuid).mkdir(parents=True)
    assert run("--root", str(tmp_path), "completion-values", "pod").stdout == uuid + "\n"
