"""What a pod needs to be reached by its metadata service: a token, a key, a port, an address.

These are made when the pod is prepared, so this module stays cheap to import. The service itself
is `appc.metadata.service`; it is started by the keeper, with `service_argv`, at the first request.
"""

from __future__ import annotations

import os
import sys
from binascii import crc32

from appc.errors import HostError

POD_ADDRESS = "169.254.169.255"
"""Where a pod with its own network namespace finds the service: a link-local address on `lo`."""

HOST_ADDRESS = "127.0.0.1"
"""Where a pod that shares the host's network finds it."""

_PREFERRED_PORT = 18112
_FIRST_PORT = 1024
_LAST_PORT = 65535
_DEFAULT_EPHEMERAL = (32768, 60999)


def new_token() -> str:
    """Return a new token, 128 random bits in hexadecimal: whoever knows it is the pod."""
    return os.urandom(16).hex()


def new_hmac_key() -> bytes:
    """Return a new key for the pod's identity endpoint: as long as HMAC-SHA512's output."""
    return os.urandom(64)


def url(address: str, port: int, token: str) -> str:
    """Return the value of AC_METADATA_URL."""
    return f"http://{address}:{port}/{token}"


def socket_path(root: str, state: str) -> str:
    """Return the unix socket on which the keepers of the pods below `root` find their service.

    The name tells roots apart: a service answers for the pods of one root only.
    """
    return f"{state}/metadata-{crc32(os.path.abspath(root).encode()):08x}.sock"


def service_argv(root: str, state: str) -> tuple[str, ...]:
    """Return the command that starts the service for the pods below `root`.

    Python starts isolated and without `site`: half of its start-up time, and nothing of the
    caller's environment.
    """
    start = os.path.join(os.path.dirname(os.path.abspath(__file__)), "start.py")
    return (sys.executable, "-I", "-S", start, os.path.abspath(root), os.path.abspath(state))


def ephemeral_range() -> tuple[int, int]:
    """Return the first and last port from which the kernel picks ports of outgoing connections."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", "rb") as stream:
            low, high = stream.read().split()
            return int(low), int(high)
    except (OSError, ValueError):
        return _DEFAULT_EPHEMERAL


def choose_port(
    declared_ports: set[int] | frozenset[int],
    ephemeral: tuple[int, int] = _DEFAULT_EPHEMERAL,
    address: str = "",
) -> int:
    """Return a TCP port for the service that no app declares.

    Ports outside the `ephemeral` range come first, so that no outgoing connection can hold it. With
    `address` (a pod on the host's network) the port is also free there at the moment, and the search
    starts at a random one, so that pods that start together do not choose the same.
    Raises HostError when every port is taken.
    """
    low, high = ephemeral
    count = _LAST_PORT - _FIRST_PORT + 1
    start = int.from_bytes(os.urandom(4), "little") if address else _PREFERRED_PORT - _FIRST_PORT
    for inside in (False, True):
        for step in range(count):
            port = _FIRST_PORT + (start + step) % count
            if (low <= port <= high) is inside and port not in declared_ports and _is_free(address, port):
                return port
    raise HostError("every port is declared by an app or in use", "metadata service")


def _is_free(address: str, port: int) -> bool:
    if not address:
        return True
    import _socket

    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        probe.bind((address, port))
    except OSError:
        return False
    finally:
        probe.close()
    return True
