"""The manifests that builders begin with, as the JSON object that options then change."""

from __future__ import annotations

import os

from appc.schema.common import AC_VERSION
from appc.schema.json import dumps
from appc.schema.platforms import from_machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# The app of an image that none was described for yet.
NO_APP = {"exec": [], "user": "0", "group": "0"}

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_SEPARATORS = "-._~/"


def manifest(
    name: str,
    exec_: Sequence[str] = (),
    *,
    labels: Sequence[tuple[str, str]] = (),
    annotations: Sequence[tuple[str, str]] = (),
    app: dict[str, Any] | None = None,
) -> bytes:
    """An image manifest for this host's platform; without `exec_` and `app` it has no app."""
    uname = os.uname()
    platform = (("os", uname.sysname.lower()), ("arch", from_machine(uname.machine)))
    document: dict[str, Any] = {
        "acKind": "ImageManifest",
        "acVersion": str(AC_VERSION),
        "name": name,
        "labels": [{"name": key, "value": value} for key, value in (*labels, *platform)],
    }
    if exec_ or app is not None:
        section: dict[str, Any] = {"exec": list(exec_), "user": "0", "group": "0"}
        document["app"] = {**section, **(app or {})}
    if annotations:
        document["annotations"] = [{"name": key, "value": value} for key, value in annotations]
    return dumps(document).encode()


def name_from(text: str) -> str:
    """An image name as near to `text` as may be: lower case, what names do not have replaced by dashes."""
    name = ""
    for letter in text.lower():
        if letter in _LETTERS:
            name += letter
        elif name and name[-1] in _LETTERS:
            name += letter if letter in _SEPARATORS else "-"
    return name.rstrip(_SEPARATORS) or "image"
