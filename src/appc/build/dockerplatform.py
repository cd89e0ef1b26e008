"""Platforms in Dockerfiles: images are built for this host's, and commands run on it."""

from __future__ import annotations

import os

from appc.errors import InvalidValue
from appc.schema.platforms import from_go, from_machine, to_go


def arguments() -> dict[str, str]:
    """The arguments that every Dockerfile may ask for, such as TARGETARCH, in Docker's words."""
    system, arch = _own()
    try:
        names = to_go(system, arch)
    except InvalidValue:
        names = system, arch, ""
    variant = f"v{names[2]}" if names[2] else ""
    whole = "/".join(part for part in (*names[:2], variant) if part)
    parts = {"PLATFORM": whole, "OS": names[0], "ARCH": names[1], "VARIANT": variant}
    return {f"{whose}{what}": value for whose in ("TARGET", "BUILD") for what, value in parts.items()}


def check(text: str) -> None:
    """Raise InvalidValue unless the platform OS/ARCH[/VARIANT] that FROM asks for is this host's."""
    system, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    if text != arguments()["TARGETPLATFORM"] and from_go(system, architecture, variant) != _own():
        raise InvalidValue(f"--platform={text}: commands run on this host's platform alone, {'/'.join(_own())}")


def _own() -> tuple[str, str]:
    uname = os.uname()
    return uname.sysname.lower(), from_machine(uname.machine)
