"""Name resolution in pods: /etc/resolv.conf and /etc/hosts (resolv.conf(5), hosts(5))."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

HOSTS = "/etc/hosts"
RESOLVER = "/etc/resolv.conf"
# systemd-resolved keeps what it forwards to here, beside a stub on a loopback address.
_FORWARDED = "/run/systemd/resolve/resolv.conf"
_LIMIT = 64 * 1024


class Names:
    """What a caller asks of name resolution.

    `servers` are addresses, or ("host",) for the host's file as it is, or ("none",) to leave the image's alone; empty:
    what the network says, else the host's servers that can be reached from a pod. `hosts` are (address, names) to add
    to /etc/hosts, ("host", ()) for the host's own file.
    """

    __slots__ = ("domain", "hosts", "options", "search", "servers")

    def __init__(
        self,
        servers: tuple[str, ...] = (),
        search: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
        domain: str = "",
        hosts: tuple[tuple[str, tuple[str, ...]], ...] = (),
    ) -> None:
        self.servers = servers
        self.search = search
        self.options = options
        self.domain = domain
        self.hosts = hosts

    def to_json(self) -> dict[str, Any]:
        """Return the form kept in a pod's request."""
        return {
            "servers": list(self.servers),
            "search": list(self.search),
            "options": list(self.options),
            "domain": self.domain,
            "hosts": [[address, list(names)] for address, names in self.hosts],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Names:
        """Return what `to_json` kept."""
        return cls(
            tuple(document["servers"]),
            tuple(document["search"]),
            tuple(document["options"]),
            document["domain"],
            tuple((address, tuple(names)) for address, names in document["hosts"]),
        )


def files(
    asked: Names,
    *,
    hostname: str,
    addresses: Sequence[str],
    results: Sequence[dict[str, Any]] | None,
    on_host: bool,
    warnings: list[str],
) -> list[tuple[str, bytes, bool]]:
    """Return the files of name resolution that an app gets, as (path, content, whether it replaces the image's).

    `results` are the CNI results of the pod's own networks, None where it has none; a pod `on_host` shares the host's,
    and `hostname` is "" for it. There an image without a resolver gets the host's; in a network of its own, or with
    servers that were asked for, a pod has another, whatever the image says.
    """
    found = [(HOSTS, *hosts(asked, addresses, hostname))]
    own = results is not None or bool(asked.servers)
    if own or on_host:
        content = resolver(asked if own else Names(("host",)), results or (), warnings)
        if content is not None:
            found.append((RESOLVER, content, own))
    return found


def resolver(asked: Names, results: Iterable[dict[str, Any]], warnings: list[str]) -> bytes | None:
    """Return /etc/resolv.conf of a pod with a network of its own, None to leave the image's alone.

    `results` are CNI results, of which the first that names servers counts.
    """
    if asked.servers == ("none",):
        return None
    if asked.servers == ("host",):
        return _read(RESOLVER)
    told = next((result["dns"] for result in results if (result.get("dns") or {}).get("nameservers")), None)
    if asked.servers or asked.search or asked.options or asked.domain:
        servers = asked.servers or (told or {}).get("nameservers") or _host_servers()[0]
        return _render(servers, asked.search, asked.options, asked.domain)
    if told is not None:
        words = (told.get("search") or (), told.get("options") or (), told.get("domain") or "")
        return _render(told["nameservers"], *words)
    servers, search = _host_servers()
    if not servers:
        warnings.append("the host has no name server that a pod can reach; --dns ADDRESS names one")
        return None
    return _render(servers, search, (), "")


def hosts(asked: Names, addresses: Sequence[str], hostname: str) -> tuple[bytes, bool]:
    """Return /etc/hosts, and whether it replaces the image's: it does when entries were asked for."""
    if any(address == "host" for address, _ in asked.hosts):
        lines = [_read(HOSTS).decode("utf-8", "replace").rstrip("\n")]
    else:
        own = hostname if hostname != "localhost" else ""
        local = f"localhost {own}" if own and not addresses else "localhost"
        lines = [f"127.0.0.1\t{local}", "::1\t\tlocalhost ip6-localhost ip6-loopback"]
        lines += [f"{address}\t{own}" for address in addresses if own]
    lines += [f"{address}\t{' '.join(names)}" for address, names in asked.hosts if address != "host"]
    return ("\n".join(lines) + "\n").encode(), bool(asked.hosts)


def local_server() -> str:
    """Return the host's first name server if no other host, and so no pod, reaches any of them; "" otherwise."""
    if _host_servers()[0]:
        return ""
    lines = _read(RESOLVER).decode("utf-8", "replace").splitlines()
    servers = [words[1] for words in map(str.split, lines) if words[:1] == ["nameserver"] and len(words) > 1]
    return next((server for server in servers if server.startswith("127.")), "")


def _host_servers() -> tuple[list[str], list[str]]:
    """Return the host's name servers that a pod can reach, and its search list."""
    for path in (RESOLVER, _FORWARDED):
        servers: list[str] = []
        search: list[str] = []
        for line in _read(path).decode("utf-8", "replace").splitlines():
            words = line.split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                servers.append(words[1])
            elif words[:1] in (["search"], ["domain"]):
                search = words[1:]
        reachable = [server for server in servers if not server.startswith("127.") and server != "::1"]
        if reachable:
            return reachable, search
    return [], []


def _render(servers: Sequence[str], search: Sequence[str], options: Sequence[str], domain: str) -> bytes:
    lines = ["# Written by appc"]
    if search:
        lines.append(f"search {' '.join(search)}")
    lines += [f"nameserver {server}" for server in servers]
    if options:
        lines.append(f"options {' '.join(options)}")
    if domain:
        lines.append(f"domain {domain}")
    return ("\n".join(lines) + "\n").encode()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(_LIMIT)
    except OSError:
        return b""
