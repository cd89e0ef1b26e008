"""What the pages say can be typed, followed and imported: commands, links and names."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import appc
from appc import errors
from appc.cli.main import find_verb, load
from appc.cli.options import GLOBAL, parse
from appc.errors import UsageError

PROJECT = Path(__file__).parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])
# What stands for something else, or for a choice, is no command line.
PLACEHOLDERS = ("…", "...", "[", "·", "<", "$(")
OPERATORS = ";|&>"


def commands(page: Path) -> Iterator[list[str]]:
    """The words of appc's commands in a page's blocks of code, without what explains them beside."""
    for block in re.findall(r"(?:^ {4}.*\n)+", page.read_text(), re.MULTILINE):
        for line in re.sub(r"\\\n *", "", block).splitlines():
            text = re.split(r" {3,}| #", line.strip())[0]
            if "appc " not in text or any(mark in text for mark in PLACEHOLDERS):
                continue
            lexer = shlex.shlex(text.removeprefix("$ "), posix=True, punctuation_chars=OPERATORS)
            lexer.whitespace_split = True
            lexer.commenters = ""
            command: list[str] = []
            for token in [*lexer, ";"]:
                if not token or token[0] not in OPERATORS:
                    command.append(token)
                    continue
                if command[:1] == ["appc"]:
                    yield command
                command = []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_they_are_shown_with(page: Path) -> None:
    wrong = []
    for command in commands(page):
        try:
            asked = parse(GLOBAL, command[1:])
            name, words = find_verb(asked.command)
            parse(load(name).VERB, words)
        except UsageError as error:
            wrong.append(f"{shlex.join(command)}: {error}")
    assert wrong == []


def test_there_are_commands_to_check() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 150


def anchors(page: Path) -> set[str]:
    """What links can name of a page: its headings, as they are turned into anchors."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_the_first_page_leads_to_all_others() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", (PROJECT / "README.md").read_text()))
    assert linked == {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"}


def test_what_the_page_about_python_names_is_there() -> None:
    text = (PROJECT / "docs/python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            if node.value.id == "appc":
                assert hasattr(appc, node.attr), node.attr
            elif node.value.id == "pod":
                assert hasattr(appc.RunningPod, node.attr), node.attr
    table = text.partition("## Errors")[2]
    named = set(re.findall(r"`([A-Z]\w+)`", table))
    known = {name for name, kind in vars(errors).items() if isinstance(kind, type)} - {"InvalidValue"}
    assert named | {"AppcError"} == known
    methods = {name for name in vars(appc.RunningPod) if not name.startswith("_")}
    assert methods <= set(re.findall(r"`(\w+)`", text)) | {"warnings"}
