"""One table per verb: what it is called, what it takes, what it says about itself.

The parser here, the help texts (`help.py`), the completions (`completion.py`) and the manual pages all read
the same tables, so they cannot disagree. Nothing is imported: the parser is on the way of every launch.

A verb's file looks like this, and `main.py` names it in its table of verbs:

    VERB = Verb(
        "image list",
        "list the images in the store",
        options=(*LISTING, Option("--sort", choices=("name", "size"), default="name", help="order of the rows")),
        operands=(Operand("pattern", count="?", help="only names that contain it"),),
    )

    def run(args: Args, context: Context) -> int: ...

`args.sort`, `args.pattern`: every option and operand is an attribute, dashes turned into underscores.
"""

from __future__ import annotations

from appc.errors import AppcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

# Kinds of options: what follows the name, and what the attribute holds.
FLAG = "flag"  # nothing (or =true, =false); bool
VALUE = "value"  # one value, the last one counts; str or whatever `parse` returns
CHOICE = "choice"  # one of `choices`; str
REPEAT = "repeat"  # one value each time; list
LIST = "list"  # comma-separated words, of `choices` if there are any, adding up; list
OPTIONAL = "optional"  # nothing or =VALUE; None when absent, "" when bare


class Option:
    """One option: names, kind and description.

    The kind follows from the rest when not given: `choices` make a choice, `metavar` a value, neither a flag.
    `parse` turns the text into the value and refuses it with ValueError or an AppcError. `complete` says what
    shells offer for the value: "file", "dir", "image", "pod" or nothing.
    """

    __slots__ = (
        "choices",
        "complete",
        "default",
        "dest",
        "help",
        "hidden",
        "kind",
        "long",
        "metavar",
        "parse",
        "short",
    )

    def __init__(
        self,
        long: str,
        short: str = "",
        *,
        metavar: str = "",
        help: str = "",
        kind: str = "",
        choices: tuple[str, ...] = (),
        default: Any = None,
        parse: Callable[[str], Any] | None = None,
        hidden: bool = False,
        complete: str = "",
    ) -> None:
        self.long = long
        self.short = short
        self.kind = kind or (CHOICE if choices else VALUE if metavar else FLAG)
        self.metavar = metavar or "|".join(choices)
        self.help = help
        self.choices = choices
        if default is None:
            default = False if self.kind == FLAG else () if self.kind in (REPEAT, LIST) else None
        self.default: Any = default
        self.parse = parse
        self.hidden = hidden
        self.complete = complete
        self.dest = long[2:].replace("-", "_")


class Operand:
    """One operand: how often it may be given, what it means.

    `count` is "1", "?" (may be missing), "*", "+", "rest" (the remaining words, dashes and all) or "--" (the words
    after `--`, which are then no other operand's).
    `choices` and `complete` are as for options.
    """

    __slots__ = ("choices", "complete", "count", "help", "metavar", "name")

    def __init__(
        self,
        name: str,
        metavar: str = "",
        *,
        count: str = "1",
        help: str = "",
        choices: tuple[str, ...] = (),
        complete: str = "",
    ) -> None:
        self.name = name
        self.metavar = metavar or "|".join(choices) or name.upper()
        self.count = count
        self.help = help
        self.choices = choices
        self.complete = complete


class Verb:
    """What one verb accepts.

    `app_options` give it rkt's grammar, `[options] IMAGE [app options] [-- ARGS...] [--- IMAGE ...]`: the
    attribute `apps` is then a list of Args, one per image, each with `image`, `args` and the app options. A name
    in both tables is the verb's before the first image and the app's after one; the last operand stands for the
    images, others come before them. `exclusive` holds groups of option names of which at most one may be given. `usage`
    replaces the generated line of operands in the help; `description` and `examples` (command, what it does) are for
    the help and the manual page.
    """

    __slots__ = (
        "app_options",
        "description",
        "examples",
        "exclusive",
        "hidden",
        "name",
        "operands",
        "options",
        "summary",
        "usage",
    )

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        description: str = "",
        usage: str = "",
        options: tuple[Option, ...] = (),
        operands: tuple[Operand, ...] = (),
        app_options: tuple[Option, ...] = (),
        exclusive: tuple[tuple[str, ...], ...] = (),
        examples: tuple[tuple[str, str], ...] = (),
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.summary = summary
        self.description = description
        self.usage = usage
        self.options = options
        self.operands = operands
        self.app_options = app_options
        self.exclusive = exclusive
        self.examples = examples
        self.hidden = hidden


class Args:
    """What was asked: one attribute per option and operand. `given` holds the long names that were used."""

    def __init__(self, options: tuple[Option, ...]) -> None:
        self.given: set[str] = set()
        self.help = False
        for option in options:
            many = option.kind in (REPEAT, LIST)
            setattr(self, option.dest, list(option.default) if many else option.default)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...


FORMAT = Option("--format", choices=("table", "json"), default="table", help="for people, or one JSON document")
LISTING = (
    FORMAT,
    Option("--no-legend", help="leave out the line of headings"),
    Option("--full", help="shorten nothing"),
)
HELP = Option("--help", "-h", help="show this help")

LEVELS = ("error", "warn", "info", "debug")

# The options before the verb. Their words end at the verb's name.
GLOBAL = Verb(
    "",
    "package, sign, distribute and run application containers",
    usage="[--root DIR] [--state DIR] [--config DIR] [--log-level LEVEL] [--log-format FORMAT] COMMAND ...",
    options=(
        Option("--root", metavar="DIR", complete="dir", help="where images and pods are (also $APPC_ROOT)"),
        Option("--state", metavar="DIR", complete="dir", help="where is what dies with a reboot (also $APPC_STATE)"),
        Option("--config", metavar="DIR", complete="dir", help="read the configuration from here alone"),
        Option("--log-level", choices=LEVELS, default="info", help="how much to say"),
        Option("--log-format", choices=("text", "json"), default="text", help="how to say it, on stderr"),
        Option("--version", help="the same as `appc version`"),
    ),
    operands=(Operand("command", count="rest"),),
)


def parse(verb: Verb, words: Sequence[str]) -> Args:
    """Read a verb's words by its table; UsageError says which word is wrong and what was perhaps meant.

    When `--help` is among the options `help` is true, and nothing else is promised.
    """
    return _Parser(verb, words).parse()


class _Parser:
    def __init__(self, verb: Verb, words: Sequence[str]) -> None:
        self.verb = verb
        self.words = words
        self.next = 0
        self.args = Args(verb.options)
        self.apps: list[Args] = []
        self.operands: list[str] = []
        self.dashed: list[str] = []
        # The operand whose words may begin with a dash, by the number of operands before it.
        self.rest_at = -1
        if verb.operands and verb.operands[-1].count == "rest":
            self.rest_at = len(verb.operands) - 1
        self.table = _by_name((*verb.options, HELP))
        self.app_table = _by_name(verb.app_options)

    def parse(self) -> Args:
        while self.next < len(self.words):
            word = self.words[self.next]
            self.next += 1
            if word == "--":
                self._after_dashes()
            elif word == "---" and self.verb.app_options:
                continue
            elif word[:1] != "-" or word == "-":
                self._operand(word)
            elif word[:2] == "--":
                name, equals, text = word.partition("=")
                self._option(name, text if equals else None)
            else:
                self._shorts(word)
            if self.args.help:
                return self.args
        self._finish()
        return self.args

    def _after_dashes(self) -> None:
        """Operands to the end of the line or, in rkt's grammar, the preceding app's arguments up to `---`."""
        remaining = list(self.words[self.next :])
        if not self.verb.app_options:
            own = self.verb.operands and self.verb.operands[-1].count == "--"
            (self.dashed if own else self.operands).extend(remaining)
            self.next = len(self.words)
            return
        if not self.apps:
            raise self._error("--", "no image comes before these arguments", "name the image first: IMAGE -- ARGS...")
        end = remaining.index("---") if "---" in remaining else len(remaining)
        self.apps[-1].args += remaining[:end]
        self.next += end + 1

    def _operand(self, word: str) -> None:
        if self.verb.app_options and len(self.operands) >= len(self.verb.operands) - 1:
            app = Args(self.verb.app_options)
            app.image = word
            app.args = []
            self.apps.append(app)
            return
        self.operands.append(word)
        if len(self.operands) > self.rest_at >= 0:
            self.operands += self.words[self.next :]
            self.next = len(self.words)

    def _shorts(self, word: str) -> None:
        for index in range(1, len(word)):
            option = self._find("-" + word[index])[0]
            if option.kind in (FLAG, OPTIONAL):
                self._option("-" + word[index], None)
                continue
            rest = word[index + 1 :]
            self._option("-" + word[index], (rest[1:] if rest[:1] == "=" else rest) if rest else None)
            return

    def _find(self, name: str) -> tuple[Option, Args]:
        """The option called `name` and where its value goes: the last app's arguments or the verb's."""
        if self.apps and name in self.app_table:
            return self.app_table[name], self.apps[-1]
        if name in self.table:
            return self.table[name], self.args
        if name in self.app_table:
            raise self._error(name, "no image comes before it", f"it is an app's option: IMAGE {name} …")
        if name in _by_name(GLOBAL.options):
            raise self._error(name, "goes before the command", f"appc {name} … {self.verb.name}")
        names = [*self.table, *(self.app_table if self.apps else ())]
        hint = did_you_mean(name, [n for n in names if n[:2] == "--" and not self._hidden(n)])
        raise self._error(name, "no such option", hint)

    def _hidden(self, name: str) -> bool:
        option = self.table.get(name) or self.app_table[name]
        return option.hidden

    def _option(self, name: str, text: str | None) -> None:
        negated = name[:5] == "--no-" and name not in self.table and name not in self.app_table
        positive = "--" + name[5:] if negated else name
        if negated and (self.table.get(positive) or self.app_table.get(positive, HELP)).kind != FLAG:
            positive, negated = name, False
        option, args = self._find(positive)
        if option is HELP:
            self.args.help = True
            return
        if args is not self.args and option.kind in (VALUE, CHOICE) and option.long in args.given:
            raise self._error(option.long, f"given twice for {args.image}", "")
        args.given.add(option.long)
        if option.kind == FLAG:
            if text not in (None, "true", "false") or (negated and text is not None):
                raise self._error(name, f"takes no value, and {text!r} was given", "")
            setattr(args, option.dest, not negated and text != "false")
        elif option.kind == OPTIONAL:
            setattr(args, option.dest, "" if text is None else self._value(option, text))
        else:
            if text is None:
                if self.next == len(self.words):
                    raise self._error(name, f"needs a value ({option.metavar})", "")
                text = self.words[self.next]
                self.next += 1
            if option.kind == REPEAT:
                getattr(args, option.dest).append(self._value(option, text))
            elif option.kind == LIST:
                getattr(args, option.dest).extend(self._value(option, part) for part in text.split(",") if part)
            else:
                setattr(args, option.dest, self._value(option, text))

    def _value(self, option: Option, text: str) -> Any:
        if option.choices:
            self._choose(option.long, text, option.choices)
        if option.parse is None:
            return text
        try:
            return option.parse(text)
        except AppcError as error:
            raise self._error(option.long, error.what, error.hint) from None
        except ValueError as error:
            raise self._error(option.long, str(error), "") from None

    def _choose(self, name: str, text: str, choices: tuple[str, ...]) -> None:
        if text not in choices:
            what = f"{text!r} is not one of {', '.join(choices)}"
            raise self._error(name, what, did_you_mean(text, choices))

    def _finish(self) -> None:
        for group in self.verb.exclusive:
            given = [name for name in group if name in self.args.given]
            if len(given) > 1:
                raise self._error(given[0], f"cannot go together with {given[1]}", "")
        if self.verb.app_options:
            self.args.apps = self.apps
        operands = self.verb.operands[:-1] if self.verb.app_options else self.verb.operands
        words = self.operands
        needed = sum(operand.count in "1+" for operand in operands)
        for operand in operands:
            needed -= operand.count in "1+"
            if operand.count in "1?":
                value = words.pop(0) if len(words) > (needed if operand.count == "?" else 0) else None
                if value is None and operand.count == "1":
                    raise self._error("", f"{operand.metavar} is missing", "")
                if value is not None and operand.choices:
                    self._choose(operand.name.upper(), value, operand.choices)
                setattr(self.args, operand.name, value)
                continue
            if operand.count == "--":
                setattr(self.args, operand.name, self.dashed)
                continue
            taken = words[: len(words) - needed] if needed else list(words)
            if not taken and operand.count == "+":
                raise self._error("", f"{operand.metavar} is missing", "")
            del words[: len(taken)]
            setattr(self.args, operand.name, taken)
        if words:
            raise self._error("", f"{words[0]!r} is one word too many", "")

    def _error(self, name: str, what: str, hint: str) -> UsageError:
        where = self.verb.name
        if name:
            where = f"{where}: {name}" if where else name
        return UsageError(what, where, hint or f"see `{' '.join(('appc help', self.verb.name)).rstrip()}`")


def _by_name(options: tuple[Option, ...]) -> dict[str, Option]:
    table = {option.long: option for option in options}
    table.update((option.short, option) for option in options if option.short)
    return table


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return "did you mean X?" for the word of `known` that is nearest to `word`, "" when none is near."""
    import difflib  # only when something is already wrong

    near = difflib.get_close_matches(word, known, 1, 0.6)
    return f"did you mean {near[0]}?" if near else ""
