"""The default network of an ordinary user's pod: a program beside the pod carries what that sends and receives.

The host's links and packet filter are not its users' to change. pasta (passt(1)) or slirp4netns(1) has the other end of
a tap device in the pod's network namespace, and speaks to the host's network with sockets, as any program of the user
does. What the pod sends to the host's loopback addresses goes nowhere.
"""

from __future__ import annotations

import os
import select
import signal

from appc.errors import HostError, Unenforceable
from appc.host import netns
from appc.network import names
from appc.schema.json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from appc.network.mapping import PortMapping

PASTA, SLIRP = "pasta", "slirp4netns"
PROGRAMS = (PASTA, SLIRP)
INTERFACE = "eth0"
TUN = "/dev/net/tun"
REMEDY = "apt-get install passt, or slirp4netns; --net none and --net host need neither"
TIMEOUT = 30.0  # seconds a program may take to connect the pod, or to end

_PLACES = ("/usr/local/bin", "/usr/bin", "/bin")
_ENVIRONMENT = {"PATH": ":".join(_PLACES)}
# What slirp4netns gives a pod, so that it is the same with pasta, whose own choice would be the host's addresses: a pod
# could not reach the host then. For IPv6 unique local addresses (RFC 4193).
_ADDRESS, _PREFIX, _GATEWAY = "10.0.2.100", "24", "10.0.2.2"
_ADDRESS6, _GATEWAY6 = "fd61:7070:6300::64", "fd61:7070:6300::2"
_SLIRP_SERVER = "10.0.2.3"  # answers with what the host's name servers say
_ANSWER_LIMIT = 64 * 1024
_SAID_LIMIT = 4096
_IPV4_OF_A_LINK = (0x8915, 0x891B)  # SIOCGIFADDR, SIOCGIFNETMASK of netdevice(7)
_UNPRIVILEGED = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


def installed(name: str) -> str:
    """Return the path of the program `name`, "" when it is not installed."""
    paths = (f"{place}/{name}" for place in _PLACES)
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), "")


def choose(wanted: str = "") -> str:
    """Return which program connects pods: `wanted`, or the first that is installed and can. Raises HostError."""
    found = [name for name in ((wanted,) if wanted else PROGRAMS) if installed(name)]
    if not found:
        what = f"{wanted} is not installed" if wanted else "neither pasta nor slirp4netns is installed"
        raise HostError(what, "network default", REMEDY)
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise HostError(
            f"cannot be opened: {error.strerror}", TUN, "as root: modprobe tun; chmod 0666 /dev/net/tun"
        ) from None
    if found[0] == PASTA and not _versions():
        # It gives the pod the addresses of the interface with that route.
        if SLIRP not in found:
            hint = "slirp4netns needs none; --net none and --net host neither"
            raise HostError("the host has no default route, which pasta needs", "network default", hint)
        return SLIRP
    return found[0]


def check(forwarded: Iterable[PortMapping], wanted: str = "") -> None:
    """Raise AppcError unless a program is there that connects pods and opens these ports."""
    program = choose(wanted)
    with open(_UNPRIVILEGED, "rb") as stream:
        lowest = int(stream.read())
    for mapping in forwarded:
        if mapping.host_port < lowest:
            hint = f"use one from {lowest} on, or as root: sysctl net.ipv4.ip_unprivileged_port_start"
            raise Unenforceable(f"port {mapping.host_port} of the host is for root alone", "--port", hint)
        if program == SLIRP and ":" in mapping.host_ip:
            raise Unenforceable(
                "slirp4netns opens no ports at IPv6 addresses", f"--port {mapping.host_ip}", "use pasta"
            )


def planned(network: str, wanted: str = "") -> dict[str, Any]:
    """Return the link of a pod's record that `start` is going to make. Raises HostError."""
    return {"name": network, "interface": INTERFACE, "result": None, "program": choose(wanted), "pid": 0}


def faults(link: dict[str, Any], namespace: str) -> list[str]:
    """Return what is wrong with a link of a pod that runs."""
    return [] if _serves(link["pid"], namespace) else [f"network {link['name']}: {link['program']} has ended"]


def start(link: dict[str, Any], namespace: str, directory: str, forwarded: Sequence[PortMapping]) -> None:
    """Start the program that `link`, of the pod's record, names, and connect the namespace pinned at `namespace`.

    Its process and what the pod was given, in the form of a CNI result, are added to `link`. It may keep files in the
    pod's `directory`. Raises HostError and OSError; `stop` ends what was started.
    """
    servers: list[str] = []
    _try_ports(forwarded)
    if link["program"] == PASTA:
        link["pid"] = _start_pasta(namespace, f"{directory}/network.pid", forwarded, servers)
    else:
        link["pid"] = _start_slirp(namespace, f"{directory}/network.log", forwarded)
        servers.append(_SLIRP_SERVER)
    ips = [{"address": one, "interface": 0} for one in loads(netns.ask(namespace, _own_addresses))]
    link["result"] = {"interfaces": [{"name": INTERFACE, "sandbox": namespace}], "ips": ips}
    if servers:
        link["result"]["dns"] = {"nameservers": servers}


def stop(namespace: str, pid: int = 0) -> None:
    """End the program that connects the namespace pinned at `namespace`, and wait for its end.

    It is the process `pid`, or where that is not known, whichever names that path, which no other does.
    """
    candidates = [pid] if pid else [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    for candidate in candidates:
        if not _serves(candidate, namespace):
            continue
        try:
            handle = os.pidfd_open(candidate)
        except ProcessLookupError:
            continue
        try:
            if _serves(candidate, namespace):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], TIMEOUT)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)


def _serves(pid: int, namespace: str) -> bool:
    """Whether a process is the program that connects the namespace pinned at `namespace`: its words name that."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return namespace.encode() in stream.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def pasta_words(namespace: str, pid_file: str, forwarded: Iterable[PortMapping], server: str = "") -> list[str]:
    """Return pasta's command line.

    Nothing of the host's loopback is reachable from the pod, and no port but those `forwarded`; all of that would be
    without options. What the pod asks of port 53 of its gateway is asked of the host's name `server`, if one is given.
    """
    words = [PASTA, "--quiet", "--config-net", "--ns-ifname", INTERFACE, "--no-map-gw"]
    words += ["--address", _ADDRESS, "--netmask", _PREFIX, "--gateway", _GATEWAY]
    words += ["--address", _ADDRESS6, "--gateway", _GATEWAY6]
    words += ["--no-dhcp", "--no-dhcpv6", "--no-ra", "--tcp-ns", "none", "--udp-ns", "none"]
    for protocol in ("tcp", "udp"):
        # One by one: of a range pasta is content with any that it gets.
        ports = [
            f"{mapping.host_ip}{'/' if mapping.host_ip else ''}{mapping.host_port + offset}:{mapping.pod_port + offset}"
            for mapping in forwarded
            if mapping.protocol == protocol
            for offset in range(mapping.count)
        ]
        for port in ports or ["none"]:
            words += [f"--{protocol}-ports", port]
    if server:
        # At another address than the gateway's the answer of a server on the host's loopback would not be known.
        words += ["--dns", server, "--dns-forward", _GATEWAY]
    return [*words, "--pid", pid_file, "--netns", namespace]


def slirp_words(namespace: str, ready: int, api: str = "") -> list[str]:
    """Return slirp4netns' command line: it writes to the descriptor `ready`, and hears of ports at the socket `api`."""
    words = [SLIRP, "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"]
    words += [f"--ready-fd={ready}", *([f"--api-socket={api}"] if api else [])]
    return [*words, "--netns-type=path", namespace, INTERFACE]


def _start_pasta(namespace: str, pid_file: str, forwarded: Sequence[PortMapping], servers: list[str]) -> int:
    import subprocess

    local = names.local_server()
    if local:
        servers.append(_GATEWAY)
    try:
        # It goes into the background when the pod is connected.
        done = subprocess.run(
            pasta_words(namespace, pid_file, forwarded, local),
            executable=installed(PASTA),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            cwd="/",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"did not connect the pod within {TIMEOUT:g} s", PASTA) from None
    if done.returncode != 0:
        raise _failure(PASTA, done.stderr, f"exit status {done.returncode}")
    with open(pid_file, "rb") as stream:
        return int(stream.read())


def _start_slirp(namespace: str, log: str, forwarded: Sequence[PortMapping]) -> int:
    api = f"{namespace}.api" if forwarded else ""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        actions: list[tuple[int, int] | tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_DUP2, writer, 3),
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        words = slirp_words(namespace, 3, api)
        try:
            pid = os.posix_spawn(installed(SLIRP), words, _ENVIRONMENT, file_actions=actions, setsid=True)
        finally:
            os.close(writer)
        if not select.select([reader], [], [], TIMEOUT)[0]:
            raise HostError(f"did not connect the pod within {TIMEOUT:g} s", SLIRP)
        if not os.read(reader, 1):
            with open(log, "rb") as stream:
                raise _failure(SLIRP, stream.read(_SAID_LIMIT), "it ended")
    finally:
        os.close(reader)
    try:
        for mapping in forwarded:
            for port in mapping.to_cni():
                _open_port(api, port)
    finally:
        if api:
            # Nobody else is to open ports.
            os.unlink(api)
    return pid


def _open_port(api: str, port: dict[str, Any]) -> None:
    """Have slirp4netns, which listens at `api`, open a port of the host."""
    import socket

    arguments = {
        "proto": port["protocol"],
        "host_addr": port.get("hostIP", "0.0.0.0"),
        "host_port": port["hostPort"],
        "guest_port": port["containerPort"],
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(api)
        connection.sendall(dumps({"execute": "add_hostfwd", "arguments": arguments}).encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < _ANSWER_LIMIT and (chunk := connection.recv(_SAID_LIMIT)):
            answer += chunk
    if b'"error"' in answer:
        raise _not_opened(str(port["hostPort"]), "slirp4netns refuses")


def _try_ports(forwarded: Iterable[PortMapping]) -> None:
    """Raise HostError for a port that is not to be had: pasta is content with one of two versions of IP."""
    import socket

    everywhere = ["0.0.0.0", *(["::"] if "6" in _versions() else ())]
    for mapping in forwarded:
        kind = socket.SOCK_STREAM if mapping.protocol == "tcp" else socket.SOCK_DGRAM
        for address in [mapping.host_ip] if mapping.host_ip else everywhere:
            for port in range(mapping.host_port, mapping.host_port + mapping.count):
                with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as trial:
                    if ":" in address:
                        trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    if kind == socket.SOCK_STREAM:
                        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        trial.bind((address, port))
                    except OSError as error:
                        raise _not_opened(str(port), error.strerror or "") from None


def _not_opened(port: str, reason: str) -> HostError:
    hint = "`ss -lntup` shows which program has it, `appc gc` takes it from pods that are dead"
    return HostError(f"port {port} of the host cannot be opened: {reason}", "network default", hint)


def _failure(program: str, said: bytes, otherwise: str) -> HostError:
    """Return the error that is what a program said last."""
    lines = said.decode("utf-8", "replace").splitlines()
    lines = [line.strip() for line in lines if line.strip() and "syslog" not in line and "nameserver" not in line]
    last = lines[-1] if lines else otherwise
    return HostError(last, program)


def _versions() -> str:
    """Return the versions of IP for which the host has a default route: "46", "4", "6" or ""."""
    found = ""
    if any(words[1] == words[7] == "00000000" for words in _table("/proc/net/route")):
        found += "4"
    if any(words[0] == "0" * 32 and words[1] == "00" and words[-1] != "lo" for words in _table("/proc/net/ipv6_route")):
        found += "6"
    return found


def _table(path: str) -> list[list[str]]:
    try:
        with open(path, encoding="ascii") as stream:
            return [line.split() for line in stream]
    except FileNotFoundError:
        return []


def _own_addresses() -> str:
    """Return the addresses of this network's interface, with their prefixes, as a JSON list."""
    import fcntl
    import socket

    name = INTERFACE.encode().ljust(16, b"\0")
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asker:
        try:
            # Behind the name of the interface there is a sockaddr_in.
            address, mask = (fcntl.ioctl(asker, what, name.ljust(40, b"\0"))[20:24] for what in _IPV4_OF_A_LINK)
            found.append(f"{socket.inet_ntoa(address)}/{int.from_bytes(mask, 'big').bit_count()}")
        except OSError:
            pass  # a network of IPv6 alone
    for digits, _, prefix, scope, _, interface in _table("/proc/thread-self/net/if_inet6"):
        if interface == INTERFACE and scope == "00":
            found.append(f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))}/{int(prefix, 16)}")
    return dumps(found)
