"""The endpoints for logs: what the apps of the pod wrote last."""

from __future__ import annotations

from pathlib import Path

import pytest

from appc.metadata.endpoints import respond
from appc.metadata.logs import LOG_LIMIT
from appc.metadata.messages import Request, Response
from appc.metadata.pods import Pod
from pod_directory import IMAGE_ID, TOKEN, UUID, make_pod

POD = {
    "acVersion": "0.8.11",
    "acKind": "PodManifest",
    "apps": [{"name": name, "image": {"id": IMAGE_ID}} for name in ("web", "worker")],
}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = make_pod(tmp_path, pod=POD) / "logs"
    directory.mkdir()
    (directory / "web.log").write_bytes(
        b"2026-01-02T03:04:05.000000001Z stdout F one\n2026-01-02T03:04:07.000000000Z stderr F \xff three\n"
    )
    (directory / "worker.log").write_bytes(b"2026-01-02T03:04:06.000000000Z stdout F two\n")
    return directory


def ask(logs: Path, path: str, method: str = "GET") -> Response:
    return respond(Request(method, f"/{TOKEN}/acMetadata/v1/{path}"), Pod(str(logs.parents[3]), UUID))


def test_the_pods_log_is_that_of_all_apps_in_order(logs: Path) -> None:
    answer = ask(logs, "pod/log")
    assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8")
    assert answer.body.decode().splitlines() == [
        "2026-01-02T03:04:05.000000001Z web stdout one",
        "2026-01-02T03:04:06.000000000Z worker stdout two",
        "2026-01-02T03:04:07.000000000Z web stderr \N{REPLACEMENT CHARACTER} three",
    ]


def test_an_apps_log_can_be_read_on_from_where_one_was(logs: Path) -> None:
    first = ask(logs, "apps/web/log").body.decode().splitlines()
    assert first[0] == "2026-01-02T03:04:05.000000001Z stdout one"
    for written in ("2026-01-02T03:04:05.000000001Z", "2026-01-02T03%3A04%3a05.000000001Z"):
        assert ask(logs, f"apps/web/log?since={written}").body.decode().splitlines() == first[1:]


def test_an_answer_is_bounded(logs: Path) -> None:
    with (logs / "web.log").open("ab") as stream:
        stream.writelines(b"2026-01-02T03:04:08Z stdout F %d\n" % number for number in range(100_000))
    lines = ask(logs, "apps/web/log").body.splitlines()
    assert lines[-1].endswith(b" 99999")
    assert LOG_LIMIT // 40 < len(lines) < LOG_LIMIT // 20


def test_refusals(logs: Path) -> None:
    assert ask(logs, "apps/db/log").status == 404
    assert ask(logs, "pod/log/web").status == 404
    assert ask(logs, "pod/log", "POST").status == 405
    answer = ask(logs, "pod/log?since=yesterday")
    assert (answer.status, b"RFC 3339" in answer.body) == (400, True)
