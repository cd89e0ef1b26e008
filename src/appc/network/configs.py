"""Which networks there are: files of net.d in the directories of the configuration, and the built-in `default`."""

from __future__ import annotations

import os

from appc.errors import AppcError, HostError
from appc.schema import cni

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.schema.cni import Network

BUILT_IN = "default"
_ENDINGS = (".conflist", ".conf", ".json")


def find(name: str, config: Sequence[str]) -> Network | None:
    """Return the network called `name`, None for the built-in one. Raises HostError when there is none.

    A later directory's network replaces an earlier one's of the same name; one called `default` replaces the built-in.
    """
    networks = load(config)
    if name in networks:
        return networks[name]
    if name == BUILT_IN:
        return None
    known = ", ".join(sorted({BUILT_IN, "host", "none", *networks}))
    raise HostError("there is no such network", f"network {name}", f"there are {known}; a file of net.d makes another")


def load(config: Sequence[str]) -> dict[str, Network]:
    """Return the networks of the files net.d/*.conflist, *.conf and *.json, by name; of two in one directory the first.

    Raises ManifestError for a file with faults, HostError for one that cannot be read.
    """
    found: dict[str, Network] = {}
    for directory in config:
        here: dict[str, Network] = {}
        for path in _files(f"{directory}/net.d"):
            network = cni.parse(_read(path), path)
            here.setdefault(network.name, network)
        found.update(here)
    return found


def _files(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [f"{directory}/{name}" for name in sorted(names) if name.endswith(_ENDINGS) and not name.startswith(".")]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(cni.CONFIG_LIMIT + 1)
    except OSError as error:
        raise HostError(f"cannot be read: {error.strerror}", path) from None


def arguments(text: str) -> tuple[tuple[str, str], ...]:
    """Parse `KEY=VALUE;KEY=VALUE`, what `--net NAME:…` gives a network's plugins (CNI_ARGS)."""
    pairs = []
    for part in text.split(";"):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise AppcError(f"{part!r} is not KEY=VALUE", "net")
        pairs.append((key, value))
    return tuple(pairs)
