"""What a verb knows besides its own words: where things are, what is configured, and how to speak."""

from __future__ import annotations

import sys

from appc.cli.options import LEVELS
from appc.config import Directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Context(Directories):
    """The invocation: directories and settings, and what the user said about messages and results.

    `words` are the verb's own, as they were given. `format`, `legend` and `full` are what --format, --no-legend and
    --full say, for verbs that have them.
    """

    def __init__(
        self,
        root: str = "",
        state: str = "",
        config: Sequence[str] = (),
        log_level: str = "info",
        log_format: str = "text",
    ) -> None:
        super().__init__(root, state, config)
        self.log_level = log_level
        self.log_format = log_format
        self.words: Sequence[str] = ()
        self.format = "table"
        self.legend = True
        self.full = False

    def error(self, what: str, where: str = "", hint: str = "") -> None:
        """Say what failed on stderr; for verbs that go on with the next operand."""
        self._say("error", what, where, hint)

    def warn(self, what: str, where: str = "", hint: str = "") -> None:
        """Say on stderr what the user should know although it works."""
        self._say("warn", what, where, hint)

    def info(self, what: str, where: str = "") -> None:
        """Say on stderr what is going on."""
        self._say("info", what, where, "")

    def debug(self, what: str, where: str = "") -> None:
        """Say on stderr what only someone looking for a fault wants to know."""
        self._say("debug", what, where, "")

    def _say(self, level: str, what: str, where: str, hint: str) -> None:
        if LEVELS.index(level) > LEVELS.index(self.log_level) or sys.stderr is None:
            return
        sys.stderr.write(message(self.log_format, level, what, where, hint))


def message(log_format: str, level: str, what: str, where: str, hint: str) -> str:
    """Return a message as it goes to stderr: one line for each line of `what`, then the hint.

    Control characters are escaped: names and reasons may come from foreign bytes.
    """
    lines = what.split("\n")
    if log_format == "json":
        from appc.schema.json import dumps

        records = [{"level": level, "where": where, "what": line, "hint": hint} for line in lines]
        return "".join(printable_json(dumps({k: v for k, v in record.items() if v})) + "\n" for record in records)
    prefix = "appc: warning: " if level == "warn" else "appc: "
    if where:
        prefix += printable(where) + ": "
    text = "".join(f"{prefix}{printable(line)}\n" for line in lines)
    return text + "".join(f"hint: {printable(line)}\n" for line in hint.split("\n") if line)


def printable(text: str) -> str:
    """Return `text` with every character a terminal might obey escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def printable_json(text: str) -> str:
    """Return the JSON `text`, unchanged in meaning, with every character a terminal might obey escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
