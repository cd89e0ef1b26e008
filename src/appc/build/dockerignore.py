"""Which files of a directory `.dockerignore` leaves out."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Ignore:
    """The patterns of a `.dockerignore` file; the last one that matches decides, and `!` takes back."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for line in text.splitlines():
            pattern = line.strip()
            if not pattern or pattern.startswith("#"):
                continue
            keep = pattern.startswith("!")
            pattern = pattern.removeprefix("!").strip().strip("/")
            if pattern not in ("", "."):
                self._rules.append((keep, expression(pattern)))

    def leaves_out(self, path: str) -> bool:
        """Say whether `path`, relative to the directory, stays out; a directory's rule is that of all below it."""
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        out = False
        for keep, rule in self._rules:
            if out == keep and any(rule.fullmatch(one) for one in above):
                out = not keep
        return out


def expression(pattern: str) -> re.Pattern[str]:
    """What a pattern with `*`, `?`, `[a-z]` and `**` matches, as a regular expression for the whole path.

    What stands between two stars is looked for once, where it comes first: that finds whatever there is to find, and
    no pattern takes longer than the product of its length and the path's.
    """
    segments, separators = [[[""]]], []
    for kind, text in _tokens(pattern):
        components = segments[-1]
        if kind in ("**/", "**"):
            separators.append("(?:.*?/)??" if kind == "**/" else ".*?")
            segments.append([[""]])
        elif kind == "/":
            components.append([""])
        elif kind == "*":
            components[-1].append("")
        else:
            components[-1][-1] += text
    *inner, last = segments
    whole = "".join(
        f"(?>{before}{_segment(segment, False)})" for before, segment in zip(["", *separators], inner, strict=False)
    )
    whole += (separators[-1] if separators else "") + _segment(last, True)
    try:
        return re.compile(whole, re.DOTALL)
    except re.error:
        return re.compile(re.escape(pattern))


def _segment(components: list[list[str]], ends: bool) -> str:
    """The expression for what stands between `**`: components, which are texts between stars."""
    found = []
    for index, (first, *texts) in enumerate(components):
        bound = ends or index < len(components) - 1
        inside = "".join(f"(?>[^/]*?{text})" for text in texts[:-1])
        found.append(first + inside + (f"[^/]*{'' if bound else '?'}{texts[-1]}" if texts else ""))
    return "/".join(found)


def _tokens(pattern: str) -> Iterator[tuple[str, str]]:
    """The parts of a pattern: stars and slashes, and between them expressions for one character each."""
    at, last = 0, pattern.rfind("]")
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if pattern.startswith("**", at - 1):
            at += 1
            slash = pattern.startswith("/", at)
            at += slash
            yield ("**/" if slash else "**"), ""
        elif letter in "*/":
            yield letter, ""
        elif letter == "?":
            yield "", "[^/]"
        elif letter == "[" and at < last:
            end = pattern.index("]", at + 1)
            inside = pattern[at:end].replace("\\", "\\\\").replace("[", "\\[")
            at = end + 1
            yield "", f"[{inside}]"
        elif letter == "\\" and at < len(pattern):
            at += 1
            yield "", re.escape(pattern[at - 1])
        else:
            yield "", re.escape(letter)
