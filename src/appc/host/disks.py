"""The whole disks of this host, which limits of block devices apply to (ace.md, block-bandwidth)."""

from __future__ import annotations

import os

_PLACE = "/sys/block"
# Memory and files in disguise: what they cost is counted where their data lies.
_VIRTUAL = ("loop", "ram", "zram")


def whole_disks() -> tuple[tuple[int, int], ...]:
    """Return (major, minor) of every whole disk, in the order of their names; partitions are not told apart."""
    found = []
    try:
        names = sorted(os.listdir(_PLACE))
    except FileNotFoundError:
        return ()
    for name in names:
        if name.startswith(_VIRTUAL):
            continue
        try:
            with open(f"{_PLACE}/{name}/dev", encoding="ascii") as stream:
                major, _, minor = stream.read().strip().partition(":")
        except FileNotFoundError:
            # It went meanwhile.
            continue
        found.append((int(major), int(minor)))
    return tuple(found)
