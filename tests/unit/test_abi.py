"""Names the kernel's interface gives numbers to."""

from __future__ import annotations

import signal

import pytest

from appc.abi import signal_number


def test_signals_by_name_and_number() -> None:
    for known in signal.Signals:
        assert signal_number(known.name) == known.value
        assert signal_number(known.name.removeprefix("SIG").lower()) == known.value
    assert signal_number("64") == 64
    assert signal_number("RTMIN+3") == signal.SIGRTMIN + 3
    assert signal_number("SIGRTMAX-3") == signal.SIGRTMAX - 3


@pytest.mark.parametrize(
    "text", ["", "-", "0", "65", "-1", "NOSUCH", "SIG", "RTMIN+31", "RTMAX-31", "RTMIN-1", "\u0661"]
)
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(ValueError, match="is not a signal"):
        signal_number(text)
