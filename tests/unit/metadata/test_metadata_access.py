"""Tokens, keys, ports and addresses of the metadata service."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from appc.errors import HostError
from appc.metadata import access


def test_tokens_have_128_random_bits() -> None:
    tokens = {access.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(bytes.fromhex(token)) >= 16 for token in tokens)


def test_keys_are_as_long_as_the_hash() -> None:
    assert len(access.new_hmac_key()) == 64
    assert access.new_hmac_key() != access.new_hmac_key()


def test_the_port_is_none_an_app_declares_and_none_the_kernel_hands_out() -> None:
    first = access.choose_port(set(), (32768, 60999))
    assert 1024 <= first < 32768
    second = access.choose_port({first}, (32768, 60999))
    assert second != first
    assert not 32768 <= second <= 60999


def test_the_same_pod_gets_the_same_port_in_its_own_network() -> None:
    assert len({access.choose_port({80}) for _ in range(10)}) == 1


@pytest.mark.parametrize("ephemeral", [(1024, 65535), (1, 65535), (10000, 60999)])
def test_a_wide_ephemeral_range_leaves_a_port_all_the_same(ephemeral: tuple[int, int]) -> None:
    assert 1024 <= access.choose_port({18112, 18113}, ephemeral) <= 65535


def test_only_the_ephemeral_ports_are_left() -> None:
    declared = set(range(1024, 32768)) | set(range(61000, 65536))
    assert 32768 <= access.choose_port(declared, (32768, 60999)) <= 60999


def test_no_port_left_is_an_error() -> None:
    with pytest.raises(HostError, match="every port"):
        access.choose_port(set(range(65536)))


def test_on_the_hosts_network_the_port_is_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        only = set(range(65536)) - {busy, busy - 1}
        assert access.choose_port(only, address="127.0.0.1") == busy - 1


def test_the_url_carries_the_token() -> None:
    assert access.url("169.254.169.255", 18112, "ab" * 16) == f"http://169.254.169.255:18112/{'ab' * 16}"


def test_each_root_has_a_socket_of_its_own() -> None:
    paths = {access.socket_path(root, "/run/appc") for root in ("/var/lib/appc", "/srv/appc")}
    assert len(paths) == 2
    assert access.socket_path("/srv/appc/", "/s") == access.socket_path("/srv/../srv/appc", "/s")


def test_the_service_starts_isolated_and_without_site() -> None:
    python, *options, start, root, state = access.service_argv("/r", "/s")
    assert (python, options, root, state) == (sys.executable, ["-I", "-S"], "/r", "/s")
    assert Path(start).is_file()


def test_access_is_cheap_to_import() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import appc.metadata.access\n"
        "print(*({'re', 'json', 'typing', 'socket', 'enum', 'subprocess', 'hashlib', 'hmac'} & set(sys.modules)))"
    )
    source = str(Path(access.__file__).parents[2])
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, source], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
