"""The verbs of `appc build`, acbuild's way of building: they are short and many, so they share files.

acbuild's options before a command's name go after it here, and its other names of commands are known.
"""

from __future__ import annotations

from appc.cli import build_context, build_edits, build_enter, build_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

VERBS: dict[str, Any] = {
    one.VERB.name: one for one in (*build_context.VERBS, *build_edits.VERBS, build_enter, build_script)
}

_OTHER_NAMES = {
    "env": "environment",
    "dep": "dependency",
    "volume": "mount",
    "set-wd": "set-working-directory",
    "set-eh": "set-event-handler",
}
_VALUE = "--work-path"


def arranged(words: Sequence[str]) -> list[str]:
    """The words after `build` with the command's name first."""
    left, moved = list(words), []
    while left and left[0].startswith("--") and left[0] != "--help":
        moved.append(left.pop(0))
        if moved[-1] == _VALUE and left:
            moved.append(left.pop(0))
    if left:
        left[0] = _OTHER_NAMES.get(left[0], left[0])
    return [*left[:1], *moved, *left[1:]]
