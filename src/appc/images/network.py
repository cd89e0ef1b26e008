"""What fetching needs of the network, made when it is first needed: a launch of an image in the store makes none."""

from __future__ import annotations

import threading

from appc.errors import NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from appc.config import Settings
    from appc.net.credentials import Credentials
    from appc.net.discovery import Discovery
    from appc.net.http import Client

# Where rkt keeps credentials: read as well where appc's own system directories are.
_RKT = ("/usr/lib/rkt", "/etc/rkt")

_SAID = {
    "http": "plain http was used: what came could be read and changed on its way (--insecure http)",
    "tls": "the certificates of servers were not verified (--insecure tls)",
}


class Network:
    """The client, credentials and discovery of one command; any number of threads may use them.

    `config` are the configuration directories, lowest precedence first; `insecure` may hold "http" and "tls". `warn` is
    called with (what, where) for what the user should put right. `offline` says that nothing is to be asked of others.
    """

    def __init__(
        self,
        config: Sequence[str],
        settings: Settings,
        insecure: Collection[str] = (),
        warn: Callable[[str, str], None] | None = None,
        *,
        offline: bool = False,
    ) -> None:
        self.offline = offline or settings.net_offline
        self.settings = settings
        self.insecure = frozenset(insecure)
        self._config = tuple(config)
        self._warn = warn
        self._lock = threading.RLock()
        self._client: Client | None = None
        self._credentials: Credentials | None = None
        self._discovery: Discovery | None = None

    @property
    def credentials(self) -> Credentials:
        """The credentials that the configuration directories hold."""
        with self._lock:
            if self._credentials is None:
                from appc.net.credentials import Credentials

                directories = (*(_RKT if "/etc/appc" in self._config else ()), *self._config)
                self._credentials = Credentials(directories, self._warn)
            return self._credentials

    @property
    def client(self) -> Client:
        """The HTTP client. Raises NetworkError when the network is not to be used."""
        with self._lock:
            if self.offline:
                raise NetworkError("the network is not to be used (--offline)")
            if self._client is None:
                with_packages()
                from appc.net.http import Client, Settings

                timeout = max(self.settings.net_timeout, 0.1)
                settings = Settings(
                    ca_file=self.settings.net_ca_file,
                    insecure=self.insecure & {"http", "tls"},
                    connect=min(timeout, 20.0),
                    read=timeout,
                )
                self._client = Client(settings, self.credentials)
            return self._client

    @property
    def discovery(self) -> Discovery:
        """Meta discovery; each page is asked for once."""
        with self._lock:
            if self._discovery is None:
                client = self.client
                from appc.net.discovery import Discovery

                self._discovery = Discovery(client, self.settings.discovery_ports)
            return self._discovery

    def relaxed(self) -> list[str]:
        """What to say of those of `insecure` that were really made use of until now."""
        used = self._client.used if self._client is not None else ()
        return [_SAID[name] for name in sorted(used)]


def with_packages() -> None:
    """Make installed packages importable: the command line's fast verbs start without the directories they are in."""
    import sys

    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
