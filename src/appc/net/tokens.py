"""What goes into `Authorization` for a registry: basic credentials, or a token that its token service gives for them.

The token service is the one the registry names, so it is told no more than the registry would be. A token is for one
registry, its scopes and a short time, and is kept as long as the command runs.
"""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from urllib.parse import urlencode, urlsplit

from appc.errors import AppcError, HttpStatus, InvalidValue, ManifestError, NetworkError
from appc.net import challenges
from appc.net.urls import shown
from appc.schema.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from appc.net.challenges import Challenge
    from appc.net.http import Client
    from appc.net.logins import Login
    from appc.net.response import Response

MAX_ANSWER = 1 << 20
MAX_TOKEN = 64 << 10
_CLIENT = "appc"
_FORM = "application/x-www-form-urlencoded"
# How long a token that does not say so holds (distribution's token authentication), and how much earlier to ask again.
_LIFETIME = 60.0
_EARLY = 5.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Tokens:
    """The tokens of one command."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: dict[tuple[str, ...], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def answer(self, refused: Response, login: Login | None, scopes: tuple[str, ...], fresh: bool) -> str:
        """The value of `Authorization` that the challenges of a response ask for; `fresh`: no token that is kept.

        Raises AppcError when none of them can be answered.
        """
        where = shown(refused.url)
        try:
            offered = challenges.parse([refused.headers.get("www-authenticate", "")])
        except InvalidValue as error:
            raise NetworkError(error.what, where) from None
        bearer = next((one for one in offered if one.scheme == "bearer"), None)
        basic = next((one for one in offered if one.scheme == "basic"), None)
        if bearer is not None:
            return f"Bearer {self._token(bearer, login, scopes, fresh, where)}"
        if basic is None:
            kinds = ", ".join(sorted({one.scheme for one in offered})) or "nothing"
            raise NetworkError(f"asks for authentication with {kinds[:60]}, which appc does not know", where)
        if login is None or not login.user:
            hint = "`podman login` or `docker login` keep credentials where appc finds them; see docs/registries.md"
            raise HttpStatus(401, "asks who you are, and there are no credentials for it", where, hint)
        _check_private(refused.url)
        return _basic(login)

    def _token(
        self, challenge: Challenge, login: Login | None, scopes: tuple[str, ...], fresh: bool, where: str
    ) -> str:
        realm, service = challenge.get("realm"), challenge.get("service")
        wanted = tuple(sorted({*scopes, *filter(None, [challenge.get("scope")])}))
        key = (realm, service, login.user if login else "", *wanted)
        with self._lock:
            until, token = self._kept.get(key, (0.0, ""))
            if fresh or until < time.monotonic():
                try:
                    parts = urlsplit(realm)
                except ValueError:
                    parts = urlsplit("")
                if parts.scheme not in ("https", "http") or not parts.hostname:
                    raise NetworkError("names no token service in its challenge", where)
                if login is not None:
                    _check_private(realm)
                token, lifetime = self._fetch(realm, service, wanted, login)
                self._kept[key] = time.monotonic() + lifetime - _EARLY, token
        return token

    def _fetch(self, realm: str, service: str, scopes: tuple[str, ...], login: Login | None) -> tuple[str, float]:
        fields = [("service", service)] if service else []
        headers: dict[str, str] = {}
        if login is not None and login.identity_token:
            fields += [("grant_type", "refresh_token"), ("client_id", _CLIENT), ("scope", " ".join(scopes))]
            body = urlencode([*fields, ("refresh_token", login.identity_token)]).encode()
            # No redirect: the token of the user must not go where it points.
            answer = self._client.request(
                "POST", realm, headers={"content-type": _FORM}, body=body, follow=False, credentials=NOBODY
            )
        else:
            fields += [("scope", scope) for scope in scopes]
            if login is not None:
                headers["authorization"] = _basic(login)
                fields.append(("account", login.user))
            joint = "&" if "?" in realm else "?"
            answer = self._client.request(
                "GET", f"{realm}{joint}{urlencode(fields)}", headers=headers, credentials=NOBODY
            )
        with answer:
            if answer.status in (401, 403):
                who = "the credentials for it are not accepted" if login else "it wants credentials"
                hint = "`podman login` or `docker login` keep credentials where appc finds them"
                raise HttpStatus(answer.status, f"gives no token: {who}", shown(realm), hint)
            return _read(answer.check().read(MAX_ANSWER), shown(realm))


class _Nobody:
    """No credentials: what `auth.d` has for a host has been asked for already."""

    def headers_for(self, url: str, method: str = "GET") -> Mapping[str, str]:
        return {}


NOBODY = _Nobody()


def _read(data: bytes, where: str) -> tuple[str, float]:
    """The token and its lifetime in seconds, of a token service's answer."""
    try:
        document: Any = loads(data)
    except ManifestError as error:
        raise NetworkError(f"gives no token: {error.faults[0][1]}", where) from None
    found = document if isinstance(document, dict) else {}
    token = found.get("token") or found.get("access_token")
    lifetime = found.get("expires_in") or _LIFETIME
    if not isinstance(token, str) or not token or len(token) > MAX_TOKEN or not _is_token(token):
        raise NetworkError("gives no token", where)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime < 1 << 31:
        lifetime = _LIFETIME
    return token, float(lifetime)


def _is_token(token: str) -> bool:
    # Nothing that ends a header.
    return token.isascii() and token.isprintable() and " " not in token


def _basic(login: Login) -> str:
    pair = f"{login.user}:{login.password}".encode()
    return f"Basic {b64encode(pair).decode('ascii')}"


def _check_private(url: str) -> None:
    """Raise AppcError where credentials could be read on their way."""
    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.hostname or "") not in _LOOPBACK:
        raise AppcError("asks for credentials over plain http, where everybody can read them", shown(url))


__all__ = ("NOBODY", "Tokens")
