"""The endpoints for logs: an app can ask what the apps of its pod wrote. Users of the specification wanted that."""

from __future__ import annotations

from appc.errors import AppcError
from appc.metadata.messages import UNICODE_TEXT, Refusal, Response
from appc.pods import layout, logs

LOG_LIMIT = 256 * 1024
"""How many bytes of each app's log are looked at, from its end: the service answers one request at a time."""


def answer(root: str, uuid: str, apps: list[str], query: str, *, named: bool) -> Response:
    """Return the last entries of the logs of `apps`, in order of time, one per line.

    A line is `TIME STREAM TEXT`, with the app's name after the time where `named`. `query` may hold `since=TIME` (RFC
    3339, UTC), after which entries count. Raises Refusal, FileNotFoundError.
    """
    after = _since(query)
    lines = []
    for line in logs.last(layout.Pod(root, "run", uuid), apps, LOG_LIMIT):
        if line.time_ns <= after:
            continue
        words = [logs.format_time(line.time_ns), line.stream]
        if named:
            words.insert(1, line.app)
        lines.append(f"{' '.join(words)} ".encode() + line.text + b"\n")
    # An app may write anything.
    return Response(200, UNICODE_TEXT, b"".join(lines).decode("utf-8", "replace").encode())


def _since(query: str) -> int:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name != "since":
            continue
        try:
            return logs.parse_time(value.replace("%3A", ":").replace("%3a", ":"))
        except AppcError as error:
            raise Refusal(400, f"since {error.what}") from None
    return -1
