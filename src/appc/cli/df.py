"""`appc df`: what pods and images take on disk."""

from __future__ import annotations

from appc.cli.options import LISTING, Args, Verb
from appc.cli.output import amounts, free_space, json_document, listing, out, size
from appc.pods.usage import usage as pod_usage
from appc.store.images import ImageStore
from appc.store.usage import usage as store_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appc.cli.context import Context
    from appc.cli.output import Column

VERB = Verb(
    "df",
    "show what pods and images take on disk",
    description=(
        "Real blocks, not lengths. ROOTS is what a pod's apps wrote over their images, LOGS what they said, VOLUMES "
        "what lies in the pod's empty volumes; volumes of the host are not the pod's. `appc image df` shows the images "
        "one by one, `appc gc` removes pods that have ended, `appc image gc` what no pod needs."
    ),
    options=LISTING,
)


def run(args: Args, context: Context) -> int:
    """Print the pods, those that take the most first, and the sums."""
    pods: list[dict[str, Any]] = [
        {
            "uuid": one.pod.uuid,
            "state": one.state,
            "size": one.total,
            "roots": one.roots,
            "logs": one.logs,
            "volumes": one.volumes,
            "other": one.other,
        }
        for one in pod_usage(context.root)
    ]
    total = sum(pod["size"] for pod in pods)
    images = store_usage(ImageStore(context.root)).total
    disk = free_space(context.root)
    if context.format == "json":
        json_document({"pods": pods, "podsTotal": total, "imagesTotal": images, "total": total + images, **disk})
        return 0
    columns: list[Column] = [
        ("UUID", lambda pod: pod["uuid"] if context.full else pod["uuid"][:8]),
        ("STATE", "state"),
        *amounts(context, "size", "roots", "logs", "volumes", "other"),
    ]
    listing(context, pods, columns)
    if context.legend:
        shown: Callable[[int], str] = str if context.full else size
        out(f"\npods: {shown(total)}, images: {shown(images)}, {shown(disk['available'])} available\n")
    return 0
