"""Writes what is generated from the option tables: manual pages, completions and docs/cli.md.

manual.py --share DIR    man/man1/*.1 and the completions of bash, zsh and fish, as they lie below /usr/share
manual.py --docs FILE    the reference of the command line, in Markdown
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "src"))

from appc.cli.completion import script  # noqa: E402
from appc.cli.help import WORDS, all_verbs, option_form, option_help, paragraphs, usage  # noqa: E402
from appc.cli.options import GLOBAL, HELP, Option, Verb  # noqa: E402
from appc.version import VERSION  # noqa: E402

COMPLETIONS = {
    "bash": "bash-completion/completions/appc",
    "zsh": "zsh/site-functions/_appc",
    "fish": "fish/vendor_completions.d/appc.fish",
}

EXIT_STATUS = (
    ("0", "done"),
    ("1", "the input or the image is invalid, or was refused"),
    ("2", "the command line is wrong"),
    ("125", "appc itself failed"),
    ("126", "the app could not be executed"),
    ("127", "the app was not found"),
    ("130", "interrupted"),
    ("others", "of `run` and `enter`: the app's own status, 128+N when signal N ended it"),
)

ENVIRONMENT = (
    ("APPC_ROOT", "where images and pods are, unless --root says it"),
    ("APPC_STATE", "where is what dies with a reboot, unless --state says it"),
    ("XDG_DATA_HOME, XDG_RUNTIME_DIR, XDG_CONFIG_HOME", "where the three directories of other users than root lie"),
    ("NO_COLOR", "if set, nothing is coloured"),
)


def main() -> None:
    """Do what the first word asks for."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("--share", "--docs"):
        sys.exit(__doc__)
    if sys.argv[1] == "--docs":
        _write(sys.argv[2], markdown(all_verbs()))
        return
    for name, text in manual_pages(all_verbs()).items():
        _write(os.path.join(sys.argv[2], "man", "man1", name), text)
    for shell, path in COMPLETIONS.items():
        _write(os.path.join(sys.argv[2], path), script(shell))


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# Manual pages


def manual_pages(verbs: list[Verb]) -> dict[str, str]:
    """Return the text of every manual page by file name."""
    pages = {"appc.1": _overview_page(verbs)}
    for verb in verbs:
        pages[f"{_page(verb)}.1"] = _verb_page(verb)
    return pages


def _page(verb: Verb) -> str:
    return "appc-" + verb.name.replace(" ", "-")


def _overview_page(verbs: list[Verb]) -> str:
    lines = [
        *_head("appc", GLOBAL.summary),
        ".SH SYNOPSIS",
        f".B appc\n{_escape(GLOBAL.usage)}",
        ".SH COMMANDS",
        *_tagged((f"{_page(verb)}(1)", verb.summary) for verb in verbs),
        ".SH OPTIONS",
        *_tagged(_rows((*GLOBAL.options, HELP))),
        ".SH IMAGES AND PODS",
        "What IMAGE and UUID stand for in every command:",
        *_tagged(WORDS),
        ".SH EXIT STATUS",
        *_tagged(EXIT_STATUS),
        ".SH ENVIRONMENT",
        *_tagged(ENVIRONMENT),
    ]
    return "\n".join(lines) + "\n"


def _verb_page(verb: Verb) -> str:
    lines = [
        *_head(_page(verb), verb.summary),
        ".SH SYNOPSIS",
        f".B appc {verb.name}\n{_escape(usage(verb).removeprefix(verb.name).strip())}".rstrip(),
    ]
    if verb.description:
        lines.append(".SH DESCRIPTION")
        for paragraph in paragraphs(verb.description):
            lines += [".PP", _escape(paragraph)]
    operands = [(operand.metavar, operand.help) for operand in verb.operands if operand.help]
    if operands:
        lines += [".SH OPERANDS", *_tagged(operands)]
    lines += [".SH OPTIONS", *_tagged(_rows((*verb.options, HELP)))]
    if verb.app_options:
        lines += [".SH OPTIONS OF AN APP", "After the image they are about:", *_tagged(_rows(verb.app_options))]
    if verb.examples:
        lines.append(".SH EXAMPLES")
        for command, meaning in verb.examples:
            lines += [".PP", _escape(meaning[:1].upper() + meaning[1:]) + ":", ".PP", ".RS", ".nf", _escape(command)]
            lines += [".fi", ".RE"]
    return "\n".join((*lines, ".SH SEE ALSO", ".BR appc (1)")) + "\n"


def _head(name: str, summary: str) -> list[str]:
    return [f'.TH {name.upper()} 1 "" "appc {VERSION}"', ".SH NAME", f"{_escape(name)} \\- {_escape(summary)}"]


def _tagged(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [line for left, right in rows for line in (".TP", f"\\fB{_escape(left)}\\fR", _escape(right))]


def _rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    return [(option_form(option), option_help(option)) for option in options if not option.hidden]


def _escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


# Markdown


def markdown(verbs: list[Verb]) -> str:
    """Return the reference of the command line as Markdown."""
    lines = [
        "# Command line",
        "",
        "This page is made from the tables the program itself reads its words by (`make man`). `appc help COMMAND` and",
        "the manual pages say the same.",
        "",
        f"    appc {GLOBAL.usage}",
        "",
        "Results go to stdout and nothing else does; messages and progress go to stderr. An error is a line",
        "`appc: WHAT: WHY` for each fault, then `hint: …` where there is a remedy.",
        "",
        *_bullets(_rows((*GLOBAL.options, HELP))),
        "",
        "What IMAGE and UUID stand for in every command:",
        "",
        *_bullets(WORDS),
        "",
        "Environment:",
        "",
        *_bullets(ENVIRONMENT),
        "",
        "Exit status:",
        "",
        *_bullets(EXIT_STATUS),
    ]
    for verb in verbs:
        lines += ["", f"## appc {verb.name}", "", f"    appc {usage(verb)}", ""]
        lines.append(verb.summary[:1].upper() + verb.summary[1:] + ".")
        for paragraph in paragraphs(verb.description):
            lines += ["", paragraph]
        operands = [(operand.metavar, operand.help) for operand in verb.operands if operand.help]
        if operands or verb.options:
            lines += ["", *_bullets((*operands, *_rows(verb.options)))]
        if verb.app_options:
            lines += ["", "After the image they are about:", "", *_bullets(_rows(verb.app_options))]
        for command, meaning in verb.examples:
            lines += ["", meaning[:1].upper() + meaning[1:] + ":", "", f"    {command}"]
    return "\n".join(lines) + "\n"


def _bullets(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"- `{left}`: {right}" for left, right in rows]


if __name__ == "__main__":
    main()
