"""A small coverage-guided fuzzer: no dependency, the same run for the same seed.

Inputs are mutated copies of others; one that reaches a line nobody reached before joins them. A target gets
bytes and may raise only what it is documented to; everything else, and taking too long, is a finding.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Collection
from types import CodeType, FrameType
from typing import Any

PATIENCE = 2.0  # seconds of the processor that one execution may take: others may keep it busy
_INTERESTING = (0, 1, 7, 8, 31, 32, 63, 64, 127, 128, 255)
_SEPARATORS = (b"/", b"=", b'"', b":", b" ", b"\n")
_MONITOR = 4  # a tool number of sys.monitoring that debuggers and coverage.py leave alone


class TooSlow(BaseException):
    """One execution took longer than PATIENCE; no `except Exception` of the target catches it."""


class Target:
    """What is fuzzed: `run(data)`, the exceptions it may raise, inputs to begin with, words that it knows.

    `repair` makes a mutated input pass checks that chance would never pass, such as checksums.
    """

    def __init__(
        self,
        run: Callable[[bytes], object],
        allowed: tuple[type[BaseException], ...],
        seeds: Collection[bytes],
        *,
        words: Collection[bytes] = (),
        repair: Callable[[bytearray], None] | None = None,
        unit: int = 1,
        most: int = 16_384,
    ) -> None:
        self.run = run
        self.allowed = allowed
        self.seeds = [seed for seed in seeds if len(seed) <= most]
        self.words = list(words)
        self.repair = repair
        self.unit = unit
        self.most = most


class Report:
    """How far a run came. `findings` are (input, what happened)."""

    def __init__(self) -> None:
        self.executions = 0
        self.corpus = 0
        self.lines = 0
        self.seconds = 0.0
        self.findings: list[tuple[bytes, str]] = []

    def __str__(self) -> str:
        rate = self.executions / self.seconds if self.seconds else 0
        return (
            f"{self.executions} executions in {self.seconds:.0f} s ({rate:.0f}/s), "
            f"{self.lines} lines covered, {self.corpus} inputs kept, {len(self.findings)} findings"
        )


def fuzz(
    target: Target,
    *,
    seconds: float,
    executions: int | None = None,
    seed: int = 0,
    package: str = "/appc/",
    stop_at_first: bool = False,
) -> Report:
    """Fuzz until `seconds` are over or `executions` are done; `package` is part of the paths whose lines count."""
    rng = random.Random(seed)
    report = Report()
    begin = time.monotonic()
    old = signal.signal(signal.SIGPROF, _ring)
    with _Coverage(package) as coverage:
        try:
            corpus: list[bytes] = []
            todo = list(target.seeds)
            while time.monotonic() - begin < seconds and (executions is None or report.executions < executions):
                data = todo.pop() if todo else _mutate(rng, corpus, target)
                report.executions += 1
                problem = _execute(target, data, coverage)
                if problem:
                    report.findings.append((data, problem))
                    if stop_at_first:
                        break
                elif coverage.new():
                    corpus.append(data)
                if not corpus:
                    corpus.append(data)
        finally:
            signal.signal(signal.SIGPROF, old)
    report.corpus = len(corpus)
    report.lines = coverage.count
    report.seconds = time.monotonic() - begin
    return report


def _ring(_: int, __: FrameType | None) -> None:
    raise TooSlow


def _execute(target: Target, data: bytes, coverage: _Coverage) -> str:
    """What went wrong, "" when nothing did."""
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        with coverage.watching():
            target.run(data)
    except target.allowed:
        pass
    except TooSlow:
        return f"took more than {PATIENCE:.0f} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def _mutate(rng: random.Random, corpus: list[bytes], target: Target) -> bytes:
    # The inputs found last have been tried least.
    data = bytearray(rng.choice(corpus if rng.random() < 0.5 else corpus[-20:]))
    for _ in range(1 << min(rng.randrange(4), rng.randrange(4))):
        _mutate_once(rng, data, corpus, target)
    del data[target.most :]
    if target.repair is not None and rng.random() < 0.9:
        target.repair(data)
    return bytes(data)


def _mutate_once(rng: random.Random, data: bytearray, corpus: list[bytes], target: Target) -> None:
    at = _place(rng, data)
    kind = rng.randrange(11)
    if kind == 0 and data:
        data[at % len(data)] ^= 1 << rng.randrange(8)
    elif kind == 1 and data:
        data[at % len(data)] = rng.choice(_INTERESTING)
    elif kind == 2:
        _replace(data, at, rng.randrange(1, 9), b"", target.unit)
    elif kind == 3:
        _replace(data, at, 0, rng.randbytes(rng.randrange(1, 9)), target.unit)
    elif kind == 4:
        digits = b"%d" % rng.choice((0, 1, 2, 9, 10, 99, 255, 512, 65536, 1 << 31, 1 << 32, 1 << 63, 1 << 64))
        _replace(data, at, len(digits), digits, target.unit)
    elif kind < 8 and target.words:
        word = rng.choice(target.words)
        _replace(data, at, rng.choice((0, len(word))), word, target.unit)
    else:
        _move_units(rng, data, rng.choice(corpus), target.unit, kind)


def _replace(data: bytearray, at: int, length: int, new: bytes, unit: int) -> None:
    """Put `new` in the place of `length` bytes; in formats of units the zeros that follow take up the difference."""
    length = min(length, len(data) - at)
    data[at : at + length] = new
    zeros = data.find(0, at + len(new))
    if unit > 1 and zeros >= 0:
        grown = len(new) - length
        if grown > 0:
            del data[zeros : zeros + grown]
        else:
            data[zeros:zeros] = bytes(-grown)


def _place(rng: random.Random, data: bytearray) -> int:
    """Where to change something: often where a part of a text begins, rarely within zeros, which mean nothing."""
    for _ in range(8):
        at = rng.randrange(len(data) + 1)
        if at and data[at - 1]:
            break
    if rng.random() < 0.4:
        begins = data.find(rng.choice(_SEPARATORS), at)
        at = begins + 1 if begins >= 0 else at
    return at


def _move_units(rng: random.Random, data: bytearray, other: bytes, unit: int, kind: int) -> None:
    """Cut, repeat or borrow whole units: blocks of an archive, say."""
    at = rng.randrange(len(data) // unit + 1) * unit
    length = rng.randrange(1, 5) * unit * (1 if unit > 1 else rng.randrange(1, 16))
    if kind == 8:
        del data[at : at + length]
    elif kind == 9:
        data[at:at] = data[at : at + length]
    else:
        start = rng.randrange(len(other) // unit + 1) * unit
        data[at : at + (length if rng.random() < 0.5 else 0)] = other[start : start + length]


class _Coverage:
    """Which lines of the package have been reached: by sys.monitoring where there is that, else by tracing."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._seen: set[tuple[CodeType, int]] = set()
        self._known = 0
        self._monitoring: Any = getattr(sys, "monitoring", None)

    @property
    def count(self) -> int:
        return len(self._seen)

    def new(self) -> bool:
        """Whether lines were reached for the first time since this was asked last."""
        before, self._known = self._known, len(self._seen)
        return self._known > before

    def __enter__(self) -> _Coverage:
        if self._monitoring is not None:
            self._monitoring.use_tool_id(_MONITOR, "fuzz")
            self._monitoring.register_callback(_MONITOR, self._monitoring.events.LINE, self._line)
            self._monitoring.set_events(_MONITOR, self._monitoring.events.LINE)
        return self

    def __exit__(self, *_: object) -> None:
        if self._monitoring is not None:
            self._monitoring.set_events(_MONITOR, 0)
            self._monitoring.free_tool_id(_MONITOR)

    def watching(self) -> _Watch:
        return _Watch(None if self._monitoring is not None else self._call)

    def _line(self, code: CodeType, line: int) -> Any:
        if self._package in code.co_filename:
            self._seen.add((code, line))
        return self._monitoring.DISABLE

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._trace if self._package in frame.f_code.co_filename else None

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self._seen.add((frame.f_code, frame.f_lineno))
        return self._trace


class _Watch:
    def __init__(self, trace: Any) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        if self._trace is not None:
            self._before = sys.gettrace()
            sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        if self._trace is not None:
            sys.settrace(self._before)
