"""Policies of apps: the one-line forms, and faults with their paths."""

from __future__ import annotations

import pytest

from appc.errors import InvalidValue, ManifestError
from appc.schema.image import Port
from appc.schema.pod import PodManifest
from appc.schema.policies import ALWAYS, ON_FAILURE, Health, Policies, Restart, check, milliseconds


@pytest.mark.parametrize(
    ("text", "when", "most"),
    [("on-failure", ON_FAILURE, 0), ("on-failure:3", ON_FAILURE, 3), ("always", ALWAYS, 0), ("always:1", ALWAYS, 1)],
)
def test_restart(text: str, when: int, most: int) -> None:
    wanted = Restart.parse(text)
    assert wanted is not None
    assert (wanted.when, wanted.most) == (when, most)


def test_no_restart() -> None:
    assert Restart.parse("no") is None


@pytest.mark.parametrize("text", ["", "yes", "no:1", "always:", "always:0", "always:-1", "always:1.5", "always:\u0661"])
def test_what_is_no_restart_policy(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"is not no, on-failure\[:N\] or always\[:N\]"):
        Restart.parse(text)


def test_health() -> None:
    health = Health.parse("interval=0.5,timeout=2s,failures=1,start=60,exec=/bin/check -a interval=1, tcp=2")
    assert (health.interval, health.timeout, health.most, health.start) == (500, 2000, 0, 60_000)
    assert health.command == ("/bin/check", "-a", "interval=1,", "tcp=2")
    health = Health.parse("http=web/a/b?c=d")
    assert (health.interval, health.timeout, health.most, health.start) == (30_000, 5_000, 2, 0)
    assert (health.port, health.path) == ("web", "/a/b?c=d")
    assert (Health.parse("tcp=80").port, Health.parse("tcp=80").path) == ("80", "")


@pytest.mark.parametrize("port", ["http", "8080"])
def test_a_port_by_name_or_number(port: str) -> None:
    declared = (Port(name="http", protocol="tcp", port=8080),)
    assert Health.parse(f"tcp={port}").port_number(declared) == 8080


@pytest.mark.parametrize("port", ["web", "0", "65536", "\u0661"])
def test_a_port_that_there_is_not(port: str) -> None:
    with pytest.raises(InvalidValue, match="is neither a port nor the name of one"):
        Health.parse(f"tcp={port}").port_number(())


@pytest.mark.parametrize("text", ["", "-1", "1m", "1e3", "x", "86401", "1.2.3", "\u0661"])
def test_what_is_no_number_of_seconds(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a number of seconds"):
        milliseconds(text)


def test_all_faults_are_told_with_their_paths() -> None:
    annotations = [
        {"name": "appc.io/restart", "value": "sometimes"},
        {"name": "appc.io/health", "value": "tcp=web"},
        {"name": "appc.io/handler-timeout", "value": "long"},
        {"name": "example.com/restart", "value": "sometimes"},
    ]
    image = {"id": "sha512-" + "0" * 128}
    app = {"name": "web", "image": image, "annotations": annotations}
    manifest = PodManifest.parse({"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [app]})
    with pytest.raises(ManifestError) as caught:
        check(manifest)
    assert [path for path, _ in caught.value.faults] == [f"apps[0].annotations[{at}].value" for at in range(3)]
    assert Policies(()).restart is None
