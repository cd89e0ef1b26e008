"""Reading Dockerfiles: instructions with their lines, flags and words, and the substitution of variables.

The text is what is read here; what an instruction does is `build.dockerbuild`'s.
"""

from __future__ import annotations

import re

from appc.errors import InvalidValue, ManifestError
from appc.schema.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What may follow each instruction's name: flags that it takes.
FLAGS: dict[str, tuple[str, ...]] = {
    "ADD": ("chown", "chmod"),
    "ARG": (),
    "CMD": (),
    "COPY": ("from", "chown", "chmod"),
    "ENTRYPOINT": (),
    "ENV": (),
    "EXPOSE": (),
    "FROM": ("platform",),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
    "LABEL": (),
    "MAINTAINER": (),
    "RUN": (),
    "SHELL": (),
    "STOPSIGNAL": (),
    "USER": (),
    "VOLUME": (),
    "WORKDIR": (),
}
_LISTS = ("ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_SIZE = 1 << 20
_MAX_BRACES = 100
_MOST_INSTRUCTIONS = 2000


class Instruction:
    """One instruction: where it begins, its name, its flags, and what follows – `items` if that is a JSON list."""

    __slots__ = ("flags", "items", "line", "name", "text")

    def __init__(self, line: int, name: str, flags: dict[str, str], text: str, items: tuple[str, ...] | None) -> None:
        self.line = line
        self.name = name
        self.flags = flags
        self.text = text
        self.items = items


class Dockerfile:
    """The instructions of a file and its escape character."""

    __slots__ = ("escape", "instructions")

    def __init__(self, instructions: list[Instruction], escape: str) -> None:
        self.instructions = instructions
        self.escape = escape


def parse(data: bytes, where: str) -> Dockerfile:
    """Read a Dockerfile. Raises ManifestError with every fault and its line."""
    faults: list[tuple[str, str]] = []
    if len(data) > MAX_SIZE:
        raise ManifestError([("", f"is longer than {MAX_SIZE} bytes")], where)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ManifestError([(f"byte {error.start}", "is not UTF-8")], where) from None
    faults += [(f"line {number}", "holds a NUL character") for number, line in enumerate(lines, 1) if "\0" in line]
    escape = _directive(lines, faults)
    found: list[Instruction] = []
    for number, text in _logical_lines(lines, escape):
        try:
            found.append(_instruction(number, text))
        except InvalidValue as error:
            faults.append((f"line {number}", error.what))
    if len(found) > _MOST_INSTRUCTIONS:
        faults.append(("", f"has more than {_MOST_INSTRUCTIONS} instructions"))
    if not faults:
        _check_order(found, faults)
    if faults:
        raise ManifestError(faults, where)
    return Dockerfile(found, escape)


def _directive(lines: list[str], faults: list[tuple[str, str]]) -> str:
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"#\s*([a-zA-Z]+)\s*=\s*(\S*)\s*", line)
        if match is None:
            break
        if match[1].lower() == "escape":
            if match[2] not in ("\\", "`"):
                faults.append((f"line {number}", "escape must be \\ or `"))
                break
            return match[2]
    return "\\"


def _logical_lines(lines: list[str], escape: str) -> list[tuple[int, str]]:
    """Lines joined where they are continued; comments and empty lines go, also between continued ones."""
    found: list[tuple[int, str]] = []
    begun, text = 0, ""
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if stripped.startswith("#") or not stripped:
            continue
        if not begun:
            begun, line = number, line.lstrip()
        bare = line.rstrip()
        if bare.endswith(escape):
            text += bare[:-1]
            continue
        found.append((begun, (text + line).strip()))
        begun, text = 0, ""
    if begun:
        found.append((begun, text.strip()))
    return found


def _instruction(number: int, text: str) -> Instruction:
    word, _, rest = text.partition(" ") if "\t" not in text.partition(" ")[0] else text.partition("\t")
    name = word.upper()
    rest = rest.strip()
    if name == "ONBUILD":
        raise InvalidValue("ONBUILD is not supported: images here have no instructions of their own")
    if name not in FLAGS:
        raise InvalidValue(f"unknown instruction {word[:40]!r}")
    flags: dict[str, str] = {}
    while rest.startswith("--") and name not in ("CMD", "ENTRYPOINT", "ENV", "LABEL", "ARG"):
        flag, _, rest = rest.partition(" ")
        rest = rest.strip()
        key, _, value = flag[2:].partition("=")
        if name in ("COPY", "ADD") and key == "link":
            continue  # it asks for a way of storing layers; the files are the same
        if key not in FLAGS[name]:
            raise InvalidValue(f"{name} does not support --{key}")
        if not value:
            raise InvalidValue(f"--{key} needs a value")
        flags[key] = value
    if not rest:
        raise InvalidValue(f"{name} needs an argument")
    if name in ("RUN", "COPY", "ADD") and re.search(r"(^|\s)<<-?[\"']?\w+", rest):
        raise InvalidValue("here-documents are not supported: put the text into a file")
    items = _items(rest) if name in _LISTS else None
    if name == "SHELL" and not items:
        raise InvalidValue('SHELL needs a list such as ["/bin/sh", "-c"]')
    return Instruction(number, name, flags, rest, items)


def _items(text: str) -> tuple[str, ...] | None:
    """The words of a JSON list; what only looks like one is taken as it stands, as ever."""
    if not text.startswith("["):
        return None
    try:
        value = loads(text)
    except (InvalidValue, ManifestError, ValueError):
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    if any("\0" in item for item in value):
        raise InvalidValue("holds a NUL character")
    return tuple(value)


def _check_order(found: list[Instruction], faults: list[tuple[str, str]]) -> None:
    if not any(one.name == "FROM" for one in found):
        faults.append(("", "has no FROM"))
    for one in found:
        if one.name == "FROM":
            return
        if one.name != "ARG":
            faults.append((f"line {one.line}", f"{one.name} stands before the first FROM"))


def words(text: str, variables: Mapping[str, str], escape: str) -> list[str]:
    """Split text at blanks, quotes and variables resolved. Raises InvalidValue."""
    found: list[str] = []
    word: list[str] = []
    quote, begun, at, left = "", False, 0, MAX_SIZE
    while at < len(text):
        letter = text[at]
        at += 1
        if letter == escape and quote != "'" and at < len(text):
            if quote and text[at] not in (quote, "$", escape):
                word.append(letter)
            word.append(text[at])
            begun, at = True, at + 1
        elif letter in "\"'" and quote in ("", letter):
            quote, begun = ("" if quote else letter), True
        elif letter == "$" and quote != "'":
            value, at = _variable(text, at, variables, escape)
            word.append(value)
            begun = True
            left -= len(value)
            if left < 0:
                raise InvalidValue(f"comes to more than {MAX_SIZE} characters")
        elif letter in " \t" and not quote:
            if begun:
                found.append("".join(word))
            word, begun = [], False
        else:
            word.append(letter)
            begun = True
    if quote:
        raise InvalidValue(f"a quote {quote} is not closed")
    if begun:
        found.append("".join(word))
    return found


def one_word(text: str, variables: Mapping[str, str], escape: str) -> str:
    """All of `text` as one word, quotes and variables resolved."""
    return " ".join(words(text, variables, escape))


def _variable(text: str, at: int, variables: Mapping[str, str], escape: str) -> tuple[str, int]:
    """The value of the variable whose name begins at `at`, and where the text goes on."""
    if text[at : at + 1] != "{":
        match = _NAME.match(text, at)
        return ("$", at) if match is None else (variables.get(match[0], ""), match.end())
    if text.count("{", at) > _MAX_BRACES:
        raise InvalidValue(f"has more than {_MAX_BRACES} braces")
    end, depth = at + 1, 1
    while end < len(text) and depth:
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
    inside = text[at + 1 : end - 1]
    match = _NAME.match(inside)
    if depth or match is None:
        raise InvalidValue(f"${text[at:][:40]} is no variable")
    value, rest = variables.get(match[0], ""), inside[match.end() :]
    if not rest:
        return value, end
    sign, other = rest[:2], rest[2:]
    if sign == ":-":
        return value or one_word(other, variables, escape), end
    if sign == ":+":
        return one_word(other, variables, escape) if value else "", end
    raise InvalidValue(f"${text[at:end]} has no meaning: there are ${{NAME}}, ${{NAME:-word}} and ${{NAME:+word}}")


def pairs(text: str, variables: Mapping[str, str], escape: str) -> list[tuple[str, str]]:
    """The NAME=VALUE pairs of ENV and LABEL, or the one pair of the old form `NAME VALUE`."""
    first, _, rest = text.partition(" ")
    if "=" not in first:
        if not rest.strip():
            raise InvalidValue(f"{first} has no value")
        return [(one_word(first, variables, escape), one_word(rest.strip(), variables, escape))]
    found = []
    for word in words(text, variables, escape):
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise InvalidValue(f"{word!r} is not NAME=VALUE")
        found.append((name, value))
    return found
