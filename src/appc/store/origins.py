"""What was had under a reference to elsewhere: the image it became, and what tells whether it is still the same there.

A record is a hint. It may be missing, old or name an image that is gone, and says nothing of whether to trust it.
"""

from __future__ import annotations

import hashlib
import os

from appc.errors import AppcError
from appc.schema.json import dumps, loads
from appc.store.durable import write_file
from appc.store.layout import make_directory, store_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT = 64 << 10


def remember(root: str, reference: str, facts: Mapping[str, str]) -> None:
    """Keep `facts` for `reference`, in the place of what was kept before. A read-only store is left as it is."""
    try:
        make_directory(store_path(root, "origins"))
        write_file(_path(root, reference), dumps({**facts, "reference": reference}).encode())
    except OSError:
        pass


def recall(root: str, reference: str) -> dict[str, str]:
    """What was kept for `reference`; nothing if nothing was."""
    try:
        with open(_path(root, reference), "rb") as stream:
            found = loads(stream.read(_LIMIT))
    except (OSError, AppcError):
        return {}
    if not isinstance(found, dict) or found.get("reference") != reference:
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def sweep(root: str, present: set[str]) -> None:
    """Forget what became images that are not `present` (IDs) any more."""
    directory = store_path(root, "origins")
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        try:
            with open(f"{directory}/{name}", "rb") as stream:
                if loads(stream.read(_LIMIT)).get("image") in present:
                    continue
        except (OSError, AppcError, AttributeError):
            pass
        os.unlink(f"{directory}/{name}")


def _path(root: str, reference: str) -> str:
    return store_path(root, "origins", hashlib.sha256(reference.encode()).hexdigest())
