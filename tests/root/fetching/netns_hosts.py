"""Several hosts in network namespaces: one namespace with all servers, one for the client, a cable between them.

Each host has an address and a name of its own, all names are in the client's /etc/hosts, and certificates come from
one authority. Run as a program this file is the servers; `Hosts` is what tests use.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from net_kit import Authority, Request, Server

NET = "10.83.0"
CLIENT = f"{NET}.2"
# Name and last part of the address. Nobody has the address of `dead`, and `closed` has no server.
HOSTS = {
    "example.com": 10,
    "www.example.com": 11,
    "missing.example.com": 12,
    "garbage.example.com": 13,
    "slow.example.com": 14,
    "expired.example.com": 15,
    "impostor.example.com": 16,
    "portal.example.com": 17,
    "loop.example.com": 18,
    "closed.example.com": 19,
    "good.example.com": 20,
    "dead.example.com": 99,
}
SILENT = ("dead.example.com", "closed.example.com")


def serve(directory: Path) -> None:
    """Be all servers until standard input ends; pages are files of `directory`, by host."""
    authority = Authority(directory / "ca")
    servers = {}
    for name, number in HOSTS.items():
        if name in SILENT:
            continue
        days = -1 if name.startswith("expired") else 30
        certificate = authority.certificate("other.example.com" if name.startswith("impostor") else name, days=days)
        server = Server(certificate, f"{NET}.{number}", 443)
        pages = directory / "pages" / name
        for path in pages.rglob("*") if pages.exists() else ():
            if path.is_file():
                server.pages["/" + str(path.relative_to(pages))] = path.read_bytes()
        servers[name] = server
    _example(servers, directory)
    print("ready", flush=True)
    sys.stdin.read()


def _example(servers: dict[str, Server], directory: Path) -> None:
    """What the hosts do besides showing files."""
    page = (directory / "page.html").read_bytes()
    main, www = servers["example.com"], servers["www.example.com"]
    main.pages["/app?ac-discovery=1"] = (301, {"Location": "https://www.example.com/app?ac-discovery=1"}, b"")
    www.pages["/app?ac-discovery=1"] = (302, {"Location": "/a"}, b"")
    www.pages["/a"] = (307, {"Location": "https://example.com/b"}, b"")
    main.pages["/b"] = (308, {"Location": "https://www.example.com/page"}, b"")
    www.pages["/page"] = page
    servers["loop.example.com"].pages["/app.aci"] = (302, {"Location": "/app.aci"}, b"")

    def portal(request: Request) -> None:
        request.send(200, {"Content-Type": "text/html"}, b"<html><title>Welcome!</title>Log in to use this network")

    def trickle(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            request.wfile.write(b"\x1f")
            time.sleep(0.2)

    for path in ("/app.aci", "/app.aci.asc"):
        servers["portal.example.com"].pages[path] = portal
    servers["slow.example.com"].pages["/app.aci"] = trickle


class Hosts:
    """The namespaces, set up; `in_client` is put before a command to run it there."""

    def __init__(self, directory: Path, names: Mapping[str, int] = HOSTS, server: Sequence[str] = ()) -> None:
        """`server` is another program for the servers' namespace, to be executed when the addresses are there."""
        self.directory = directory
        program = [sys.executable, __file__, str(directory)]
        if server:
            program = ["sh", "-c", 'echo new; read go; echo ready; exec "$@"', "sh", *server]
        self._servers = subprocess.Popen(
            ["unshare", "--net", *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        hosts = directory / "hosts"
        hosts.write_text(
            "".join(f"{NET}.{number} {name}\n" for name, number in names.items()) + "127.0.0.1 localhost\n"
        )
        script = f"mount --bind {hosts} /etc/hosts && echo ready && read end"
        self._client = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._client.stdout is not None
        assert self._client.stdout.readline() == "ready\n"
        self.in_client = ("nsenter", "--net", "--mount", f"--target={self._client.pid}", "--")
        self.in_servers = ("nsenter", "--net", f"--target={self._servers.pid}", "--")
        assert self._servers.stdout is not None
        assert self._servers.stdout.readline() == "new\n"
        peer = ("peer", "name", "cable", "netns", str(self._client.pid))
        self._ip(self._servers, "link", "add", "cable", "type", "veth", *peer)
        for process, addresses in ((self._servers, self._addresses(names)), (self._client, [CLIENT])):
            for address in addresses:
                self._ip(process, "address", "add", f"{address}/24", "dev", "cable")
            self._ip(process, "link", "set", "lo", "up")
            self._ip(process, "link", "set", "cable", "up")
        # Nobody answers for the dead host; that need not take as long as ARP gives it.
        self._ip(self._client, "neighbor", "add", f"{NET}.99", "lladdr", "02:00:00:00:00:99", "dev", "cable")
        assert self._servers.stdin is not None
        self._servers.stdin.write("go\n")
        self._servers.stdin.flush()
        assert self._servers.stdout.readline() == "ready\n"

    @staticmethod
    def _addresses(names: Mapping[str, int]) -> list[str]:
        return [f"{NET}.{number}" for name, number in names.items() if not name.startswith("dead")]

    @staticmethod
    def _ip(process: subprocess.Popen[str], *words: str) -> None:
        subprocess.run(["nsenter", "--net", f"--target={process.pid}", "--", "ip", *words], check=True)

    def close(self) -> None:
        """End both; the namespaces and the cable go with them."""
        for process in (self._client, self._servers):
            process.kill()
            process.communicate()


if __name__ == "__main__":
    print("new", flush=True)
    assert sys.stdin.readline() == "go\n"
    serve(Path(sys.argv[1]))
