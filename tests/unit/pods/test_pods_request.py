"""What is asked of a pod: refused early when it makes no sense, kept for later runs, sorted into stream modes."""

from __future__ import annotations

import pytest
from pod_fixtures import IMAGE_ID

from appc.errors import UsageError
from appc.executor.prepare import stream_modes
from appc.pods.request import AppRequest, PodRequest
from appc.schema.json import dumps, loads
from appc.schema.pod import PodManifest

APP = AppRequest("example.com/web")


@pytest.mark.parametrize("hostname", ["", "a", "web-1.example.com", "UPPER", "under_score", "x" * 64])
def test_what_makes_sense(hostname: str) -> None:
    PodRequest((APP,), hostname=hostname, net="host", grace=0).check()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (PodRequest(()), "pod: no image is named"),
        (PodRequest((APP,), net="a,none"), "net: 'a,none' is not none, host, or a list of networks"),
        (PodRequest((APP,), net="a,a"), "net: a is named twice"),
        (PodRequest((APP,), hostname="x" * 65), "hostname: "),
        (PodRequest((APP,), hostname="two words"), "hostname: 'two words' is not a host name"),
        (PodRequest((APP,), hostname="line\nbreak"), "hostname: "),
        (PodRequest((APP,), hostname=".example"), "hostname: "),
        (PodRequest((APP,), hostname="ä.example"), "hostname: "),
        (PodRequest((APP,), grace=-1), "grace: -1 s is not between 0 and 86400"),
        (PodRequest((APP,), grace=float("nan")), "grace: "),
        (PodRequest((APP,), grace=1e9), "grace: "),
    ],
)
def test_what_does_not(request_: PodRequest, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        request_.check()
    assert str(caught.value).startswith(message)


def test_what_is_kept_for_a_later_run() -> None:
    manifest = PodManifest.parse(
        {
            "acKind": "PodManifest",
            "acVersion": "0.8.11",
            "apps": [{"name": name, "image": {"id": IMAGE_ID}} for name in ("a", "b")],
        }
    )
    request = PodRequest(
        (AppRequest("x", stdin="null", stdout="log"), AppRequest("y", stderr="stream")),
        net="host",
        hostname="h",
        remove=True,
        strict=True,
        grace=1.5,
    )
    saved = loads(dumps(request.to_json([IMAGE_ID])))
    assert saved["images"] == [IMAGE_ID]
    again = PodRequest.from_json(saved, manifest)
    assert [(app.name, app.stdin, app.stdout, app.stderr) for app in again.apps] == [
        ("a", "null", "log", ""),
        ("b", "", "", "stream"),
    ]
    assert (again.net, again.hostname, again.remove, again.strict, again.grace) == ("host", "h", True, True, 1.5)
    assert again.to_json([IMAGE_ID]) == saved


def modes(kind: str = "foreground", interactive: bool = False, **streams: str) -> tuple[str, str, str]:
    return stream_modes(PodRequest((AppRequest("x", **streams),), interactive=interactive), 0, kind)


@pytest.mark.parametrize(
    ("kind", "streams", "expected"),
    [
        ("foreground", {}, ("null", "both", "both")),
        ("detached", {}, ("null", "log", "log")),
        ("foreground", {"stdout": "log"}, ("null", "both", "both")),
        ("detached", {"stdout": "null", "stderr": "log"}, ("null", "null", "log")),
        ("foreground", {"stdin": "stream", "stdout": "stream"}, ("inherit", "inherit", "both")),
        ("foreground", {"stdout": "tty"}, ("tty", "tty", "tty")),
        ("detached", {"stdin": "tty"}, ("tty", "tty", "tty")),
    ],
)
def test_stream_modes(kind: str, streams: dict[str, str], expected: tuple[str, str, str]) -> None:
    assert modes(kind, **streams) == expected


def test_an_interactive_app() -> None:
    assert modes(interactive=True) == ("tty", "tty", "tty")
    with pytest.raises(UsageError, match="is interactive, so it needs a terminal"):
        modes("detached", interactive=True)


@pytest.mark.parametrize(
    ("kind", "streams", "message"),
    [
        ("foreground", {"stdin": "tty", "stdout": "log"}, "app x: log cannot go together with a terminal"),
        ("foreground", {"stdin": "null", "stderr": "tty"}, "app x: null cannot go together with a terminal"),
    ],
)
def test_modes_that_cannot_be(kind: str, streams: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        modes(kind, **streams)
    assert str(caught.value) == message


def test_apps_of_a_given_manifest_have_the_defaults() -> None:
    request = PodRequest((), manifest=PodManifest(ac_version="0.8.11", ac_kind="PodManifest", apps=()))
    assert stream_modes(request, 3, "foreground") == ("null", "both", "both")
