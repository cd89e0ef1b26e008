"""Which files of a directory `.dockerignore` leaves out."""

from __future__ import annotations

import re


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
    """What a pattern with `*`, `?`, `[a-z]` and `**` matches, as a regular expression for the whole path."""
    text, at = "", 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if pattern.startswith("**", at - 1):
            at += 1
            if pattern.startswith("/", at):
                at, text = at + 1, text + "(?:.*/)?"
            else:
                text += ".*"
        elif letter == "*":
            text += "[^/]*"
        elif letter == "?":
            text += "[^/]"
        elif letter == "[" and "]" in pattern[at + 1 :]:
            end = pattern.index("]", at + 1)
            inside = pattern[at:end].replace("\\", "\\\\").replace("[", "\\[")
            text, at = f"{text}[{inside}]", end + 1
        elif letter == "\\" and at < len(pattern):
            text, at = text + re.escape(pattern[at]), at + 1
        else:
            text += re.escape(letter)
    try:
        return re.compile(text, re.DOTALL)
    except re.error:
        return re.compile(re.escape(pattern))
