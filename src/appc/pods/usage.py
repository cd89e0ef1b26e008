"""What pods take on disk beside their images."""

from __future__ import annotations

import os

from appc.errors import PodNotFound
from appc.pods import layout
from appc.store.blocks import Blocks, measure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.pods.layout import Pod


class PodUsage:
    """The bytes of blocks of one pod.

    `roots` is what its apps wrote over their images (or their private copies of these), `logs` its logs, `volumes` its
    empty volumes, `other` what describes the pod.
    """

    __slots__ = ("logs", "other", "pod", "roots", "state", "total", "volumes")

    def __init__(self, pod: Pod) -> None:
        parts = {name: measure(pod.file(name)) for name in _names(pod.path)}
        self.pod = pod
        self.state = pod.state()
        self.roots = parts.get("apps", Blocks()).total
        self.logs = parts.get("logs", Blocks()).total
        self.volumes = parts.get("volumes", Blocks()).total
        self.total = sum(part.total for part in parts.values())
        self.other = self.total - self.roots - self.logs - self.volumes


def usage(root: str) -> Sequence[PodUsage]:
    """Measure the pods below `root`, those that take the most first."""
    found = []
    for pod in layout.every(root):
        try:
            found.append(PodUsage(pod))
        except PodNotFound:
            continue
    return sorted(found, key=lambda one: (-one.total, one.pod.uuid))


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []  # it has just changed its phase, or is gone
