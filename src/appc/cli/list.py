"""`appc list`: the pods of this host."""

from __future__ import annotations

import time

from appc.cli.options import LISTING, Args, Verb
from appc.cli.output import ago, json_document, listing
from appc.executor.status import describe_all, network_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.cli.context import Context

VERB = Verb(
    "list",
    "list the pods of this host",
    description="One line for each app. A pod's state is read from its directory and its lock; no daemon is asked.",
    options=LISTING,
)


def run(args: Args, context: Context) -> int:
    """Print the pods, newest first."""
    pods = describe_all(context.root)
    if context.format == "json":
        json_document(pods)
        return 0
    now = time.time()
    rows: list[dict[str, Any]] = []
    for pod in pods:
        apps = pod["apps"] or [{}]
        for number, app in enumerate(apps):
            first = number == 0
            rows.append(
                {
                    "uuid": (pod["uuid"] if context.full else pod["uuid"][:8]) if first else " ",
                    "app": app.get("name"),
                    "image": app.get("image"),
                    "id": app.get("image-id", "")[: None if context.full else 19],
                    "state": pod["state"] if first else " ",
                    "created": ago(now - pod["created"] / 1e9) if first else " ",
                    "started": ago(now - app["started"] / 1e9) if app.get("started") else None,
                    "networks": network_words(pod) if first else " ",
                }
            )
    columns = [("UUID", "uuid"), ("APP", "app"), ("IMAGE", "image")]
    if context.full:
        columns.append(("IMAGE ID", "id"))
    columns += [("STATE", "state"), ("CREATED", "created"), ("STARTED", "started"), ("NETWORKS", "networks")]
    listing(context, rows, columns)
    return 0
