"""Where credentials for registries are found, and that helpers get no secret to see and give none away."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path

import pytest

from appc.errors import AppcError, ManifestError
from appc.net.credentials import Credentials
from appc.net.logins import Login, Logins


def encoded(text: str) -> dict[str, str]:
    return {"auth": b64encode(text.encode()).decode()}


class Home:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = {
            "HOME": str(path),
            "XDG_RUNTIME_DIR": str(path / "run"),
            "PATH": f"{path}/bin:{os.environ['PATH']}",
        }

    def write(self, name: str, document: object) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(document if isinstance(document, str) else json.dumps(document))
        file.chmod(0o600)

    def helper(self, name: str, script: str) -> None:
        self.write(f"bin/docker-credential-{name}", f"#!/bin/sh\n{script}")
        (self.path / f"bin/docker-credential-{name}").chmod(0o755)

    def find(self, registry: str, repository: str = "a/b") -> tuple[str, str, str] | None:
        logins = Logins(Credentials([str(self.path / "etc")]), self.environment)
        found = logins.find(registry, repository)
        return shown(found)


def shown(login: Login | None) -> tuple[str, str, str] | None:
    return None if login is None else (login.user, login.password, login.identity_token)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_none_anywhere(home: Home) -> None:
    assert home.find("r.io") is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("r.io", "r.io"),
        ("r.io:5000", "r.io:5000"),
        ("https://r.io/v1/", "r.io"),
        ("https://r.io", "r.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_how_registries_are_called(home: Home, key: str, registry: str) -> None:
    home.write(".docker/config.json", {"auths": {"other.io": encoded("x:y"), key: encoded("me:se:cret")}})
    assert home.find(registry) == ("me", "se:cret", "")
    assert home.find("r.io.evil.com") is None


def test_the_longest_beginning_of_a_repository_counts(home: Home) -> None:
    auths = {"r.io": encoded("r:1"), "r.io/a": encoded("a:2"), "r.io/a/b": encoded("b:3")}
    home.write("run/containers/auth.json", {"auths": auths})
    assert home.find("r.io", "a/b/c") == ("b", "3", "")
    assert home.find("r.io", "a/bc") == ("a", "2", "")
    assert home.find("r.io", "x") == ("r", "1", "")


def test_which_file_goes_first(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {"r.io": encoded("docker:1")}})
    assert home.find("r.io") == ("docker", "1", "")
    home.write("elsewhere/config.json", {"auths": {"r.io": encoded("elsewhere:1")}})
    home.environment["DOCKER_CONFIG"] = str(home.path / "elsewhere")
    assert home.find("r.io") == ("elsewhere", "1", "")
    home.write("run/containers/auth.json", {"auths": {"r.io": encoded("podman:1")}})
    assert home.find("r.io") == ("podman", "1", "")
    home.write("named.json", {"auths": {"r.io": encoded("named:1")}})
    home.environment["REGISTRY_AUTH_FILE"] = str(home.path / "named.json")
    assert home.find("r.io") == ("named", "1", "")
    document = {
        "rktKind": "dockerAuth",
        "rktVersion": "v1",
        "registries": ["r.io"],
        "credentials": {"user": "rkt", "password": "1"},
    }
    home.write("etc/auth.d/docker.json", document)
    assert home.find("r.io") == ("rkt", "1", "")
    home.write("etc/auth.d/docker.json", {**document, "registries": ["index.docker.io"]})
    assert home.find("docker.io") == ("rkt", "1", "")


def test_an_identity_token(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {"r.io": {**encoded("me:"), "identitytoken": "tok"}}})
    assert home.find("r.io") == ("me", "", "tok")


def test_a_helper_is_asked_by_pipe(home: Home) -> None:
    home.write(".docker/config.json", {"credHelpers": {"r.io": "test"}, "auths": {"r.io": {}}})
    home.helper("test", f'read s; echo "$# $1 $s" >{home.path}/asked; echo \'{{"Username":"me","Secret":"pw"}}\'')
    assert home.find("r.io") == ("me", "pw", "")
    assert (home.path / "asked").read_text() == "1 get r.io\n"


def test_a_store_for_everything_and_its_token(home: Home) -> None:
    home.write(".docker/config.json", {"credsStore": "test", "auths": {"https://index.docker.io/v1/": {}}})
    home.helper("test", f'read s; echo "$s" >{home.path}/asked; echo \'{{"Username":"<token>","Secret":"pw"}}\'')
    assert home.find("docker.io") == ("", "", "pw")
    assert (home.path / "asked").read_text() == "https://index.docker.io/v1/\n"


def test_a_helper_that_knows_nothing(home: Home) -> None:
    home.write(".docker/config.json", {"credsStore": "test"})
    home.helper("test", "echo credentials not found in native keychain; exit 1")
    assert home.find("r.io") is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo locked >&2; exit 1", "failed: locked"),
        ("exit 1", "failed: it gave no reason"),
        ("echo '{}'", "did not answer"),
        ("echo nonsense", "did not answer"),
        ('echo \'{"Username": 1, "Secret": 2}\'', "did not answer"),
    ],
)
def test_helpers_that_fail(home: Home, script: str, reason: str) -> None:
    home.write(".docker/config.json", {"credsStore": "test"})
    home.helper("test", script)
    with pytest.raises(AppcError, match=reason):
        home.find("r.io")


def test_a_helper_that_is_not_there(home: Home) -> None:
    home.write(".docker/config.json", {"credsStore": "test"})
    with pytest.raises(AppcError, match="docker-credential-test: is not installed"):
        home.find("r.io")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "line 1"),
        ("[]", "is not a JSON object"),
        ({"auths": []}, None),
        ({"auths": [1]}, "auths: is not an object"),
        ({"auths": {"r.io": 1}}, "is not an object"),
        ({"auths": {"r.io": {"auth": "%%"}}}, "is not base64"),
        ({"auths": {"r.io": encoded("nocolon")}}, "is not base64 of USER:PASSWORD"),
        ({"auths": {"r.io": {"username": 1}}}, "holds what is no text"),
        ({"credsStore": "../evil"}, "no name of a credential helper"),
    ],
)
def test_files_that_are_not_understood(home: Home, document: object, reason: str | None) -> None:
    home.write(".docker/config.json", document)
    if reason is None:
        assert home.find("r.io") is None
        return
    with pytest.raises(ManifestError, match=reason) as caught:
        home.find("r.io")
    assert "config.json" in str(caught.value)
