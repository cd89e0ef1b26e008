"""Who we are to a registry: what docker, podman and skopeo keep, and what `auth.d` says (credentials.py).

    auth.d of the configuration                    appc's own and rkt's files, which go first
    $REGISTRY_AUTH_FILE                            podman's and skopeo's, instead of the next
    $XDG_RUNTIME_DIR/containers/auth.json
    $DOCKER_CONFIG/config.json                     by default ~/.docker/config.json

In such a file `credHelpers` and `credsStore` name programs, docker-credential-NAME, which are asked by pipe; `auths`
holds the credentials themselves. Keys may be a registry or, in podman's file, one with the beginning of a repository;
the longest that fits counts. Nothing is read before a registry asks who we are.
"""

from __future__ import annotations

import binascii
import os
import subprocess
from base64 import b64decode

from appc.errors import AppcError, ManifestError
from appc.schema.json import loads
from appc.schema.registry import DEFAULT_REGISTRY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from appc.net.credentials import Credentials

# What docker calls its own registry in these files.
_DOCKER_KEY = "https://index.docker.io/v1/"
_DOCKER_HOSTS = ("index.docker.io", "registry-1.docker.io")
_LIMIT = 1 << 20
_HELPER = "docker-credential-"
_PATIENCE = 60.0  # seconds; a helper may ask its user
# Helpers give this as the user where the secret is a token to get tokens with.
_TOKEN_USER = "<token>"


class Login:
    """User and password, or (`identity_token`) a token that the registry's token service takes instead of them."""

    __slots__ = ("identity_token", "password", "user")

    def __init__(self, user: str, password: str, identity_token: str = "") -> None:
        self.user = user
        self.password = password
        self.identity_token = identity_token


class Logins:
    """Finds logins; `environment` is that of the process unless given."""

    def __init__(self, credentials: Credentials, environment: Mapping[str, str] | None = None) -> None:
        self._credentials = credentials
        self._environment = os.environ if environment is None else environment

    def find(self, registry: str, repository: str) -> Login | None:
        """The login for a repository, None if there is none: then it is tried without.

        Raises ManifestError for a file that is not understood, AppcError when a helper fails.
        """
        for name in (registry, *(_DOCKER_HOSTS if registry == DEFAULT_REGISTRY else ())):
            own = self._credentials.for_registry(name)
            if own is not None:
                return Login(*own)
        for path in self._files():
            document = _document(path)
            found = self._in(document, path, registry, repository) if document is not None else None
            if found is not None:
                return found
        return None

    def _files(self) -> Iterator[str]:
        environment = self._environment
        home = environment.get("HOME") or os.path.expanduser("~")
        if named := environment.get("REGISTRY_AUTH_FILE"):
            yield named
        elif runtime := environment.get("XDG_RUNTIME_DIR"):
            yield f"{runtime}/containers/auth.json"
        yield f"{environment.get('DOCKER_CONFIG') or home + '/.docker'}/config.json"

    def _in(self, document: dict[str, Any], path: str, registry: str, repository: str) -> Login | None:
        auths = _object(document, "auths", path)
        keys = {_normal(key): key for key in reversed(auths)}
        helpers = _object(document, "credHelpers", path)
        store = document.get("credsStore")
        for name in _prefixes(registry, repository):
            if name in helpers:
                return self._ask(helpers[name], _server(name), path)
            if name in keys and (found := _login(auths[keys[name]], f"{path}: auths.{keys[name]}")):
                return found
        return self._ask(store, _server(registry), path) if store else None

    def _ask(self, helper: object, server: str, path: str) -> Login | None:
        """Ask a helper for the login at `server`; None when it knows none."""
        if not isinstance(helper, str) or not helper or "/" in helper or not helper.isprintable():
            raise ManifestError([("", f"{helper!r} is no name of a credential helper")], path)
        program = _HELPER + helper
        try:
            done = subprocess.run(
                [program, "get"],
                input=server.encode(),
                capture_output=True,
                timeout=_PATIENCE,
                env=dict(self._environment),
            )
        except FileNotFoundError:
            raise AppcError("is not installed", program, f"{path} names it for {server}") from None
        except subprocess.TimeoutExpired:
            raise AppcError(f"has not answered for {_PATIENCE:.0f} s", program) from None
        except OSError as error:
            raise AppcError(f"cannot be executed: {error.strerror}", program) from None
        said = done.stdout[:_LIMIT]
        if done.returncode != 0:
            # The protocol has no other way to say it.
            if b"credentials not found" in said:
                return None
            reason = (said or done.stderr).decode("utf-8", "replace").strip().splitlines()
            raise AppcError(f"failed: {reason[0][:200] if reason else 'it gave no reason'}", program)
        try:
            answer = loads(said)
            user, secret = answer["Username"], answer["Secret"]
        except (ManifestError, KeyError, TypeError):
            raise AppcError("did not answer as a credential helper does", program) from None
        if not isinstance(user, str) or not isinstance(secret, str):
            raise AppcError("did not answer as a credential helper does", program)
        return Login("", "", secret) if user == _TOKEN_USER else Login(user, secret)


def _prefixes(registry: str, repository: str) -> Iterator[str]:
    """registry/a/b, registry/a, registry."""
    name = f"{registry}/{repository}"
    while name != registry:
        yield name
        name = name.rpartition("/")[0]
    yield registry


def _normal(key: str) -> str:
    """A key as a registry's name, maybe with a repository: old ones are URLs."""
    url = key.startswith(("https://", "http://"))
    name = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    if url:
        name = name.partition("/")[0]
    return DEFAULT_REGISTRY if name in _DOCKER_HOSTS else name


def _server(name: str) -> str:
    return _DOCKER_KEY if name == DEFAULT_REGISTRY else name


def _document(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise AppcError(f"cannot be read: {error.strerror}", path) from None
    try:
        document = loads(data or b"{}", _LIMIT)
    except ManifestError as error:
        raise ManifestError(list(error.faults), path) from None
    if not isinstance(document, dict):
        raise ManifestError([("", "is not a JSON object")], path)
    return document


def _object(document: dict[str, Any], key: str, path: str) -> dict[str, Any]:
    found = document.get(key) or {}
    if not isinstance(found, dict):
        raise ManifestError([(key, "is not an object")], path)
    return found


def _login(entry: object, where: str) -> Login | None:
    """What one entry of `auths` says; None for the empty ones that docker leaves where a helper has the secret."""
    if not isinstance(entry, dict):
        raise ManifestError([("", "is not an object")], where)
    user, password, token = (entry.get(key) or "" for key in ("username", "password", "identitytoken"))
    if encoded := entry.get("auth"):
        try:
            # Docker wrote such a value with zero bytes behind it.
            text = b64decode(encoded, validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
            raise ManifestError([("auth", "is not base64 of USER:PASSWORD")], where) from None
        user, colon, password = text.partition(":")
        if not colon:
            raise ManifestError([("auth", "is not base64 of USER:PASSWORD")], where)
    if not all(isinstance(one, str) for one in (user, password, token)):
        raise ManifestError([("", "holds what is no text")], where)
    return Login(user, password, token) if user or token else None
