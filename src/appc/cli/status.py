"""`appc status`: everything there is to say about one pod."""

from __future__ import annotations

import time

from appc.cli.options import FORMAT, OPTIONAL, Args, Operand, Option, Verb
from appc.cli.output import json_document, out, printable
from appc.cli.values import duration
from appc.executor import control
from appc.executor.status import describe, network_words
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.cli.context import Context
    from appc.pods.layout import Pod

VERB = Verb(
    "status",
    "show how a pod fares",
    description=(
        "Shows the pod's state, its apps with their exit statuses, and which isolators are enforced, modified or "
        "ignored."
    ),
    options=(
        Option(
            "--wait", metavar="TIME", kind=OPTIONAL, parse=duration, help="wait until the pod has ended (=TIME at most)"
        ),
        Option(
            "--wait-ready",
            metavar="TIME",
            kind=OPTIONAL,
            parse=duration,
            help="wait until all apps are ready (=TIME at most)",
        ),
        Option("--check", help="ask the pod's networks whether all is as they made it; 1 when something is not"),
        FORMAT,
    ),
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"),),
)


def run(args: Args, context: Context) -> int:
    """Print the status; 1 when a time to wait was over first, and with --check, when a network is broken."""
    pod = layout.find(context.root, args.uuid)
    in_time = True
    if args.wait_ready is not None:
        in_time = control.wait_ready(pod, _limit(args.wait_ready))
    if args.wait is not None:
        in_time = control.wait(pod, _limit(args.wait)) and in_time
    document = describe(pod.refresh())
    if context.format == "json":
        json_document(document)
    else:
        _print(document)
    return 0 if in_time and (not args.check or _sound(pod, context)) else 1


def _limit(waits: float | str) -> float | None:
    """The seconds of --wait=TIME, which may be 0; None for as long as it takes, where no TIME was given."""
    return None if isinstance(waits, str) else waits


def _sound(pod: Pod, context: Context) -> bool:
    """Whether the networks of a pod, if it runs, are as they were made; what is not, is said."""
    from appc.network.setup import faults

    found = faults(pod.path, pod.uuid) if pod.locked() else []
    for fault in found:
        context.error(fault, f"pod {pod.uuid[:8]}")
    return not found


def _print(document: dict[str, Any]) -> None:
    lines = [("state", document["state"]), ("created", _time(document["created"]))]
    if document["pid"]:
        lines += [("pid", document["pid"]), ("keeper", document["keeper"])]
    lines.append(("networks", ",".join(network_words(document))))
    if document["private-users"]:
        lines.append(("private-users", document["private-users"]))
    if document["runtime"]:
        lines.append(("runtime", document["runtime"]))
    for app in document["apps"]:
        text = app["state"]
        if app["signal"] is None and app["exit-status"] is not None:
            text += f", status {app['exit-status']}"
        if app["death"]:
            text += f", {app['death']}"
        if app["health"]:
            text += f", health {app['health']}"
        if app["restarts"]:
            text += f", restarts {app['restarts']}"
        if app["state"] == "running" and not app["ready"]:
            text += ", not ready"
        if app["status-text"]:
            text += f" ({app['status-text']})"
        if app["pid"]:
            text += f", pid {app['pid']}"
        if app["started"]:
            text += f", started {_time(app['started'])}"
        if app["post-stop"]:
            text += f", post-stop {app['post-stop']}"
        lines.append((f"app-{app['name']}", text))
    if document["exit-status"] is not None:
        lines.append(("exit-status", document["exit-status"]))
    if document["failure"]:
        lines.append(("failure", document["failure"]))
    lines += [("warning", text) for text in document["warnings"]]
    for row in document["isolators"]:
        reason = f" ({row['reason']})" if row["reason"] else ""
        lines.append((f"isolator-{row['scope']}-{row['name']}", row["outcome"] + reason))
    for key, value in lines:
        out(f"{key}={printable(str(value))}\n")


def _time(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(nanoseconds / 1e9))
