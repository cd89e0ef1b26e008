"""Ports of the host that lead to a pod: which of them are the same."""

from __future__ import annotations

import pytest

from appc.errors import AppcError
from appc.network.mapping import mappings
from appc.schema.image import App, Port
from appc.schema.pod import ExposedPort, PodManifest, RuntimeApp


def pod(*addresses: str) -> PodManifest:
    """A pod that opens one port of an app at each of these addresses of the host, as port 8080."""
    app = App(exec=("/x",), user="0", group="0", ports=(Port(name="web", protocol="tcp", port=80),))
    exposed = tuple(ExposedPort(name="web", host_ip=address, host_port=8080) for address in addresses)
    return PodManifest(ac_version="0.8.11", ac_kind="PodManifest", apps=(RuntimeApp(name="a", app=app),), ports=exposed)


@pytest.mark.parametrize(
    "addresses",
    [
        ("", ""),
        ("", "192.0.2.1"),
        ("", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("0.0.0.0", "192.0.2.1"),
        ("2001:db8::1", "::"),
        ("2001:db8::1", "2001:DB8:0:0::1"),
    ],
)
def test_an_address_of_the_host_is_asked_for_once(addresses: tuple[str, ...]) -> None:
    with pytest.raises(AppcError, match="port 8080/tcp of the host is asked for twice"):
        mappings(pod(*addresses))


@pytest.mark.parametrize("addresses", [("0.0.0.0", "::"), ("192.0.2.1", "192.0.2.2"), ("0.0.0.0", "2001:db8::1")])
def test_other_addresses_have_ports_of_their_own(addresses: tuple[str, ...]) -> None:
    assert [mapping.host_ip for mapping in mappings(pod(*addresses))] == list(addresses)
