"""The one HTTP client: everything that appc fetches from another host, and everything it sends there, goes through it.

urllib3 keeps the connections and speaks the protocol. What is decided here is what a package tool has to be sure of:
plain http and certificates that are not verified only where they were asked for, redirects that never lead from https
to http, credentials that go to the host they are for and to no other, and an end to everything.
"""

from __future__ import annotations

import http.client
import random
import ssl
import threading
import time
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from appc.errors import NetworkError, UsageError
from appc.net import proxies
from appc.net.reasons import dropped, explain
from appc.net.response import Response as Response  # what requests return is named with the client
from appc.net.urls import host_of, origin
from appc.net.urls import shown as shown
from appc.net.watch import PlainPool, SecurePool, Watch, watching
from appc.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import BinaryIO, Protocol

    class Credentials(Protocol):
        """Knows which headers authenticate us to whom."""

        def headers_for(self, url: str, method: str = "GET") -> Mapping[str, str]:
            """The headers that go with a request for `url`; only for its scheme, host and port."""


MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_AGAIN = (502, 503, 504)
_TOO_MANY = 429
# Headers that are for one host alone.
_PRIVATE = ("authorization", "cookie", "proxy-authorization")


class Settings:
    """How the client behaves.

    `connect` is the seconds a connection, and `read` those one piece of an answer may take; `total` those for a whole
    answer that is not streamed, `slowest` the bytes a second below which a streamed one is given up. `ca_file` holds
    certificates of authorities that are trusted besides the system's. `proxies` maps "http" and "https" to URLs, and
    "no" to hosts that are reached directly; by default the environment says. `insecure` may have "http" (plain http is
    allowed) and "tls" (certificates are not verified). Attempts come to `attempts`, where another one may help, and
    the first pause between two takes `pause` seconds, four times as many where there were too many requests. A server
    that wants to be left alone for longer than `longest_pause` is not waited for.
    """

    def __init__(
        self,
        *,
        connect: float = 20.0,
        read: float = 30.0,
        total: float = 120.0,
        slowest: int = 1024,
        ca_file: str = "",
        proxies: Mapping[str, str] | None = None,
        insecure: Collection[str] = (),
        attempts: int = 3,
        pause: float = 0.5,
        longest_pause: float = 60.0,
    ) -> None:
        self.connect = connect
        self.read = read
        self.total = total
        self.slowest = slowest
        self.ca_file = ca_file
        self.proxies = proxies
        self.insecure = frozenset(insecure)
        self.attempts = attempts
        self.pause = pause
        self.longest_pause = longest_pause


class Client:
    """Requests over kept connections; any number of threads may use one client.

    `used` holds the relaxations of `Settings.insecure` that a request really made use of.
    """

    def __init__(self, settings: Settings | None = None, credentials: Credentials | None = None) -> None:
        self.settings = settings or Settings()
        self.used: set[str] = set()
        self._credentials = credentials
        self._proxies = proxies.Proxies(self.settings.proxies)
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | BinaryIO | None = None,
        follow: bool = True,
        credentials: Credentials | None = None,
    ) -> Response:
        """Send a request and return the answer as soon as its headers are there; the caller closes it.

        `credentials` go before the client's own. A body that is a file is sent from where it stands, as long as the
        header Content-Length says or in chunks, and only once; redirects of such a request are an error. Without
        `follow` a redirect is an answer like others. Any status is an answer: see `Response.check`.
        Raises NetworkError for what is not, UsageError for a URL that is not allowed.
        """
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        steps: list[tuple[int, str]] = []
        while True:
            answer = self._attempts(method, url, sent, body, credentials, steps)
            target = answer.headers.get("location")
            if not follow or answer.status not in _REDIRECTS or target is None:
                return answer
            answer.close()
            steps = [*steps, (answer.status, url)]
            before, url = url, self._redirected(url, target, len(steps))
            if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
                method, body = ("HEAD" if method == "HEAD" else "GET"), None
            elif body is not None and not isinstance(body, bytes):
                raise NetworkError("redirects a request whose body can be sent only once", shown(before))
            if origin(url) != origin(before):
                sent = {name: value for name, value in sent.items() if name not in _PRIVATE}

    def close(self) -> None:
        """Close all connections that are not in use."""
        for pool in self._pools.values():
            pool.clear()

    # ------------------------------------------------------------------------------------------

    def _redirected(self, url: str, target: str, count: int) -> str:
        try:
            to = urljoin(url, target)
            scheme, _, _ = origin(to)
        except ValueError:
            raise NetworkError("redirects to what is not a URL", shown(url)) from None
        if count > MAX_REDIRECTS:
            raise NetworkError(f"redirects more than {MAX_REDIRECTS} times", shown(url))
        if scheme not in ("http", "https"):
            raise NetworkError(f"redirects to a {scheme or 'strange'} URL", shown(url))
        if scheme == "http" and urlsplit(url).scheme == "https":
            raise NetworkError(f"redirects from https to plain http ({shown(to)})", shown(url))
        return to

    def _attempts(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | BinaryIO | None,
        credentials: Credentials | None,
        steps: list[tuple[int, str]],
    ) -> Response:
        whole = body is None or isinstance(body, bytes)
        again = whole and method in ("GET", "HEAD", "PUT", "DELETE")
        attempt = 1
        while True:
            last = attempt >= self.settings.attempts
            backoff = self.settings.pause * 2 ** (attempt - 1)
            try:
                answer = self._once(method, url, headers, body, credentials, steps)
            except _Dropped as error:
                if last or not again:
                    raise error.reason from None
                pause = 0.0
            else:
                pause = answer.wait
                # What was turned away for being too much was not begun with, whatever it was.
                too_many = whole and answer.status == _TOO_MANY
                useful = too_many or (again and answer.status in _AGAIN)
                if last or not useful or pause > self.settings.longest_pause:
                    return answer
                answer.close()
                backoff *= 4 if too_many else 1
            # Together with others who were turned away we would come back all at once.
            time.sleep(max(pause, backoff * random.uniform(0.5, 1.0)))
            attempt += 1

    def _once(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | BinaryIO | None,
        credentials: Credentials | None,
        steps: list[tuple[int, str]],
    ) -> Response:
        self._check(url)
        where, settings = shown(url), self.settings
        own = credentials or self._credentials
        sent = {
            "user-agent": f"appc/{VERSION}",
            "accept-encoding": "identity",
            **(own.headers_for(url, method) if own is not None else {}),
            **headers,
        }
        watch = Watch(where, settings.read, settings.total, settings.slowest)
        proxy = self._proxies.for_url(url)
        try:
            with watching(watch):
                raw = self._pool(proxy).request(
                    method,
                    url,
                    headers=sent,
                    body=body,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    decode_content=False,
                    timeout=urllib3.Timeout(connect=settings.connect, read=settings.read),
                )
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            reason = explain(error, where, host_of(url), settings.connect, settings.read, host_of(proxy))
            if dropped(error):
                raise _Dropped(reason) from error
            raise reason from error
        watch.body()
        return Response(raw, url, tuple(steps), watch, settings.connect, settings.read)

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            scheme, host, secret, _ = parts.scheme, parts.hostname, parts.username or parts.password, parts.port
        except ValueError:
            raise UsageError("is not a URL", repr(url)) from None
        if scheme not in ("http", "https") or not host:
            raise UsageError("is not an http or https URL", shown(url))
        if secret:
            raise UsageError(
                "must not hold a user or password", shown(url), "put them into auth.d; see docs/fetching.md"
            )
        if scheme == "http":
            if "http" not in self.settings.insecure:
                raise UsageError("plain http can be read and changed on its way", shown(url), "--insecure http")
            self.used.add("http")
        elif "tls" in self.settings.insecure:
            self.used.add("tls")

    def _pool(self, proxy: str) -> urllib3.PoolManager:
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._new_pool(proxy)
            return self._pools[proxy]

    def _new_pool(self, proxy: str) -> urllib3.PoolManager:
        context = self._context()
        if proxy:
            pool: urllib3.PoolManager = proxies.manager(proxy, context)
        else:
            pool = urllib3.PoolManager(num_pools=32, maxsize=8, ssl_context=context)
        pool.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
        return pool

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
            if self.settings.ca_file:
                try:
                    self._tls.load_verify_locations(self.settings.ca_file)
                except OSError as error:
                    # Also what is no certificate: ssl.SSLError is an OSError.
                    reason = error.strerror if not isinstance(error, ssl.SSLError) else "holds no certificates"
                    raise UsageError(f"cannot be used: {reason}", self.settings.ca_file) from None
            if "tls" in self.settings.insecure:
                self._tls.check_hostname = False
                self._tls.verify_mode = ssl.CERT_NONE
                # Whoever asked for it is told by `used`, once.
                urllib3.disable_warnings(InsecureRequestWarning)
        return self._tls


class _Dropped(Exception):
    """The connection broke before there was an answer; `reason` says so to the user."""

    def __init__(self, reason: NetworkError) -> None:
        self.reason = reason
