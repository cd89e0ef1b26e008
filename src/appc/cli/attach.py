"""`appc attach`: be the streams of an app that runs."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty

from appc.cli.options import LIST, Args, Operand, Option, Verb
from appc.errors import UsageError
from appc.executor import control
from appc.executor.attach import STREAMS, Attachment
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

_CHUNK = 4000


def keys(text: str) -> bytes:
    """Parse a sequence of keys such as ctrl-p,ctrl-q or ctrl-],x."""
    found = bytearray()
    for word in text.split(","):
        letter = word.removeprefix("ctrl-")
        if len(letter) != 1 or not letter.isascii() or (letter != word and not "@" <= letter.upper() <= "_"):
            raise ValueError(f"{text!r} is not a sequence of keys such as ctrl-p,ctrl-q")
        found.append(ord(letter.upper()) & 0x1F if letter != word else ord(letter))
    return bytes(found)


VERB = Verb(
    "attach",
    "read and write the streams of an app that runs",
    description=(
        "Shows what the app writes from now on, and gives it what is typed, where it has --stdin stream or a terminal. "
        "On a terminal, ctrl-p ctrl-q detaches; else Ctrl-C does. The app goes on."
    ),
    options=(
        Option("--app", metavar="NAME", help="which app (needed when there are several)"),
        Option("--streams", metavar="NAME,...", kind=LIST, help="only these of stdin, stdout, stderr"),
        Option("--detach-keys", metavar="KEYS", parse=keys, default=b"\x10\x11", help="instead of ctrl-p,ctrl-q"),
    ),
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"),),
)


def run(args: Args, context: Context) -> int:
    """Copy streams until the app ends or somebody detaches."""
    pod = layout.find(context.root, args.uuid)
    names = control.chosen_apps(pod, (args.app,) if args.app else ())
    if len(names) > 1:
        raise UsageError("there are several apps", "attach", f"name one of {', '.join(names)} with --app")
    for stream in args.streams:
        if stream not in STREAMS:
            raise UsageError(f"{stream} is not stdin, stdout or stderr", "attach: --streams")
    streams = args.streams or STREAMS
    with Attachment(pod, names[0], streams) as attachment:
        if not (attachment.tty and "stdin" in streams and os.isatty(0)):
            _copy(attachment, "stdin" in streams, b"")
            return 0
        saved = termios.tcgetattr(0)
        try:
            tty.setraw(0, termios.TCSADRAIN)
            signal.signal(signal.SIGWINCH, lambda *_: _resize(attachment))
            # A change of size has the app draw what it shows anew.
            _resize(attachment, 1)
            _resize(attachment)
            _copy(attachment, True, args.detach_keys)
        finally:
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
    return 0


def _resize(attachment: Attachment, more: int = 0) -> None:
    try:
        size = os.get_terminal_size(0)
        attachment.resize(size.lines + more, size.columns)
    except OSError:
        pass  # the app, or the terminal, has just ended; who copies the streams notices


def _copy(attachment: Attachment, reads: bool, detach: bytes) -> None:
    sources: list[int | Attachment] = [attachment, *([0] if reads else [])]
    typed = b""
    while True:
        ready = select.select(sources, [], [])[0]
        if attachment in ready:
            output = attachment.receive()
            if output is None:
                return
            stream = sys.stdout if output[0] == "stdout" else sys.stderr
            stream.buffer.write(output[1])
            stream.flush()
        if 0 in ready:
            data = os.read(0, _CHUNK)
            if not data:
                sources.remove(0)
                attachment.end()
                continue
            typed += data
            # The beginning of the sequence waits for its end.
            held = next((n for n in range(len(detach), 0, -1) if typed.endswith(detach[:n])), 0)
            if detach and (held == len(detach) or detach in typed):
                return
            try:
                attachment.send(typed[: len(typed) - held])
            except (BrokenPipeError, ConnectionResetError):
                sources.remove(0)
            typed = typed[len(typed) - held :]
