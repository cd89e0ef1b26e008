"""Keeping pods within a budget of disk space: of those that have ended, the first to end goes first."""

from __future__ import annotations

from appc.errors import PodNotFound
from appc.pods.gc import ended
from appc.pods.usage import PodUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.pods.gc import Verdict


def apply(verdicts: Sequence[Verdict], budget: int) -> None:
    """Change verdicts on pods that have ended to "remove", until those that stay take at most `budget` bytes.

    Pods that run, or wait to be run, count and stay.
    """
    sizes: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.action != "remove":
            try:
                sizes[verdict.pod.uuid] = PodUsage(verdict.pod).total
            except PodNotFound:
                continue
    total = sum(sizes.values())
    candidates = [
        verdict
        for verdict in verdicts
        if verdict.action == "keep" and verdict.pod.phase == "exited" and not verdict.pod.locked()
    ]
    for verdict in sorted(candidates, key=lambda one: ended(one.pod)):
        if total <= budget:
            return
        verdict.action = "remove"
        verdict.reason += "; but pods take more than their budget"
        total -= sizes.get(verdict.pod.uuid, 0)
