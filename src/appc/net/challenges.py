"""What a server that answers 401 asks for: the challenges of `WWW-Authenticate` (RFC 9110, section 11.6.1)."""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.values import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES = 16 << 10
MAX_CHALLENGES = 16
MAX_PARAMETERS = 32

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TOKEN68 = frozenset("-._~+/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SPACE = " \t"


class Challenge:
    """One way to authenticate: `scheme` in lower case (basic, bearer), its parameters by names in lower case."""

    __slots__ = ("parameters", "scheme")

    def __init__(self, scheme: str, parameters: dict[str, str]) -> None:
        self.scheme = scheme
        self.parameters = parameters

    def get(self, name: str) -> str:
        """A parameter, "" when it is not given."""
        return self.parameters.get(name, "")


def parse(headers: Iterable[str]) -> list[Challenge]:
    """Read the values of all `WWW-Authenticate` headers of a response, in their order.

    Raises InvalidValue for what is no list of challenges, is longer than any server has reason to send, or gives one
    parameter twice, which readers would take differently.
    """
    found: list[Challenge] = []
    left = MAX_BYTES
    for header in headers:
        left -= len(header)
        if left < 0:
            raise InvalidValue(f"its challenges are longer than {MAX_BYTES} bytes")
        _Header(header, found).read()
    return found


class _Header:
    """One header's value being read, `at` the next character."""

    def __init__(self, text: str, found: list[Challenge]) -> None:
        self._text = text
        self._at = 0
        self._found = found

    def read(self) -> None:
        current: Challenge | None = None
        expect_comma = False
        while self._skip(_SPACE + ("" if expect_comma else ",")):
            if expect_comma:
                if self._peek() != ",":
                    raise self._fault()
                self._at += 1
                expect_comma = False
                continue
            word = self._word()
            gap = self._skip_spaces()
            if self._peek() == "=" and current is not None and not self._is_token68():
                self._parameter(current, word)
                expect_comma = True
                continue
            if not gap and self._peek() not in ("", ","):
                raise self._fault()
            if len(self._found) >= MAX_CHALLENGES:
                raise InvalidValue(f"it sends more than {MAX_CHALLENGES} challenges")
            current = Challenge(word.lower(), {})
            self._found.append(current)
            expect_comma = self._first(current)

    def _first(self, challenge: Challenge) -> bool:
        """What follows a scheme: nothing, a token68, or the first parameter. Returns whether a comma must be next."""
        if self._peek() in ("", ","):
            return True
        if self._is_token68():
            start = self._at
            while self._peek() and self._peek() in _TOKEN68:
                self._at += 1
            while self._peek() == "=":
                self._at += 1
            challenge.parameters[""] = self._text[start : self._at]
            return True
        word = self._word()
        self._skip_spaces()
        if self._peek() != "=":
            raise self._fault()
        self._parameter(challenge, word)
        return True

    def _is_token68(self) -> bool:
        """Whether what comes is a token68 rather than NAME=VALUE: it ends, with any `=`, at a comma or the end."""
        at = self._at
        while at < len(self._text) and self._text[at] in _TOKEN68:
            at += 1
        while at < len(self._text) and self._text[at] == "=":
            at += 1
        rest = self._text[at:].lstrip(_SPACE)
        return at > self._at and (not rest or rest[0] == ",")

    def _parameter(self, challenge: Challenge, name: str) -> None:
        self._at += 1
        self._skip_spaces()
        value = self._quoted() if self._peek() == '"' else self._word()
        if name.lower() in challenge.parameters:
            raise InvalidValue(f"its challenge has the parameter {quoted(name)} twice")
        if len(challenge.parameters) >= MAX_PARAMETERS:
            raise InvalidValue(f"its challenge has more than {MAX_PARAMETERS} parameters")
        challenge.parameters[name.lower()] = value

    def _quoted(self) -> str:
        pieces = []
        self._at += 1
        while (character := self._peek()) != '"':
            if character == "\\":
                self._at += 1
                character = self._peek()
            if not character:
                raise InvalidValue("its challenge ends within quotation marks")
            pieces.append(character)
            self._at += 1
        self._at += 1
        return "".join(pieces)

    def _word(self) -> str:
        start = self._at
        while self._peek() in _TOKEN:
            self._at += 1
        if self._at == start:
            raise self._fault()
        return self._text[start : self._at]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, characters: str) -> bool:
        while self._peek() and self._peek() in characters:
            self._at += 1
        return self._at < len(self._text)

    def _skip_spaces(self) -> bool:
        start = self._at
        self._skip(_SPACE)
        return self._at > start

    def _fault(self) -> InvalidValue:
        return InvalidValue(f"its challenge is not understood: {quoted(self._text[self._at : self._at + 60])}")
