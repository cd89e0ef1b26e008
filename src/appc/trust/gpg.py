"""What gpg is told by its environment, whoever calls it."""

from __future__ import annotations

import os
import sys


def environment(asks: bool) -> dict[str, str]:
    """Return the environment for gpg: it speaks English and, if it `asks` for passphrases, knows on which terminal."""
    found = dict(os.environ, LC_ALL="C.UTF-8")
    if asks and sys.stdin is not None and sys.stdin.isatty():
        try:
            found.setdefault("GPG_TTY", os.ttyname(sys.stdin.fileno()))
        except OSError:
            pass  # a terminal of another mount namespace has no name here
    return found
