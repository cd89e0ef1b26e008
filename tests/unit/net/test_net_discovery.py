"""Walking from a name's page to its parents': when it goes on, when it ends, and what it tells."""

from __future__ import annotations

import pytest

from appc.errors import ImageNotFound, NetworkError
from appc.formats.discovery import ENDPOINT, KEYS
from appc.net.discovery import Discovery
from appc.net.http import Client, Settings
from net_kit import Authority, Names, Server

TEMPLATE = "https://storage.example.com/{name}-{version}.{ext}"
NAME = "example.com/project/app"


def meta(content: str, kind: str = ENDPOINT) -> bytes:
    return f'<!DOCTYPE html><meta name="{kind}" content="{content}">'.encode()


@pytest.fixture
def discovery(authority: Authority) -> Discovery:
    return Discovery(Client(Settings(ca_file=str(authority.file), pause=0.01)))


def test_the_page_of_the_name_itself(discovery: Discovery, server: Server) -> None:
    server.pages["/project/app?ac-discovery=1"] = meta(f"example.com {TEMPLATE}")
    assert discovery.images(NAME).templates == [TEMPLATE]
    assert server.paths() == ["/project/app?ac-discovery=1"]


@pytest.mark.parametrize("below", [(404, {}, b""), (401, {}, b""), b"<p>welcome", meta("example.com/project/app2 x")])
def test_parents_are_asked_when_the_page_has_nothing_to_say(below: bytes, discovery: Discovery, server: Server) -> None:
    server.pages["/project/app"] = below
    server.pages["/project"] = meta(f"example.com/project {TEMPLATE}")
    found = discovery.images(NAME)
    assert found.templates == [TEMPLATE]
    assert [step.url for step in found.steps] == [
        "https://example.com/project/app?ac-discovery=1",
        "https://example.com/project?ac-discovery=1",
    ]


@pytest.mark.parametrize("status", [500, 502])
def test_a_broken_server_ends_the_search(status: int, discovery: Discovery, server: Server) -> None:
    server.pages["/project/app"] = (status, {}, b"")
    server.pages["/project"] = meta(f"example.com {TEMPLATE}")
    with pytest.raises(NetworkError, match=f"the server says {status}"):
        discovery.images(NAME)
    assert "/project?ac-discovery=1" not in server.paths()


def test_a_host_that_cannot_be_reached_is_tried_once(discovery: Discovery, names: Names) -> None:
    lookups = []
    real = names.lookup
    names.lookup = lambda host, *rest, **options: (lookups.append(host), real(host, *rest, **options))[1]  # type: ignore[method-assign,func-returns-value]
    with pytest.raises(NetworkError, match=r"there is no host example\.org"):
        discovery.images("example.org/a/b/c")
    found = discovery.search("example.org/a/b/c", ENDPOINT)
    assert len(found.steps) == 1


def test_redirects_are_followed(discovery: Discovery, server: Server) -> None:
    server.pages["/project/app?ac-discovery=1"] = (301, {"Location": "https://mirror.example.com/d"}, b"")
    server.pages["/d"] = meta(f"example.com {TEMPLATE}")
    found = discovery.images(NAME)
    assert found.templates == [TEMPLATE]
    assert found.steps[0].redirects == [(301, "https://mirror.example.com/d")]


def test_all_tags_of_the_page_that_are_about_the_name(discovery: Discovery, server: Server) -> None:
    page = b"".join(meta(f"example.com https://m{i}.example.com/{{name}}.{{ext}}") for i in range(10))
    server.pages["/project/app"] = page + meta("example.org https://other/{ext}") + meta("example.com https://k", KEYS)
    found = discovery.images(NAME)
    assert len(found.templates) == 10
    assert found.templates[3] == "https://m3.example.com/{name}.{ext}"


def test_keys_may_be_on_another_page(discovery: Discovery, server: Server) -> None:
    server.pages["/project/app"] = meta(f"example.com {TEMPLATE}")
    server.pages["/"] = meta("example.com https://example.com/keys.gpg", KEYS)
    server.pages[""] = server.pages["/"]
    assert discovery.keys(NAME).keys == ["https://example.com/keys.gpg"]
    found = discovery.search(NAME, ENDPOINT, KEYS)
    assert (found.templates, found.keys) == ([TEMPLATE], ["https://example.com/keys.gpg"])


def test_pages_are_asked_for_once(discovery: Discovery, server: Server) -> None:
    server.pages["/project"] = meta(f"example.com {TEMPLATE}")
    discovery.images(NAME)
    discovery.images("example.com/project/other")
    assert server.paths().count("/project?ac-discovery=1") == 1


def test_nothing_found_says_how_to_see_more(discovery: Discovery, server: Server) -> None:
    with pytest.raises(ImageNotFound, match="3 pages were asked; the server says 404") as raised:
        discovery.images(NAME)
    assert raised.value.hint == f"`appc discover {NAME}` shows every step"


def test_header_fields_do_without_html(discovery: Discovery, server: Server) -> None:
    fields = {"Link-Template": f'"{TEMPLATE}"; rel="ac-discovery"; prefix="example.com"'}
    server.pages["/project/app"] = (200, {"Content-Type": "application/json", **fields}, b"{}")
    assert discovery.images(NAME).templates == [TEMPLATE]


def test_what_is_said_twice_counts_once(discovery: Discovery, server: Server) -> None:
    fields = {"Link-Template": f'"{TEMPLATE}"; rel="ac-discovery"; prefix="example.com"'}
    server.pages["/project/app"] = (200, fields, meta(f"example.com {TEMPLATE}") * 2)
    assert discovery.images(NAME).templates == [TEMPLATE]


def test_an_endless_page(discovery: Discovery, server: Server) -> None:
    server.pages["/project/app"] = bytes(5 << 20)
    with pytest.raises(NetworkError, match="is larger than"):
        discovery.images(NAME)


def test_a_port_of_its_own(authority: Authority, server: Server) -> None:
    discovery = Discovery(Client(Settings(ca_file=str(authority.file))), {"localhost": server.port})
    server.pages["/app"] = meta(f"localhost {TEMPLATE}")
    assert discovery.images("localhost/app").templates == [TEMPLATE]


def test_plain_http_only_where_it_was_asked_for(plain: Server, names: Names) -> None:
    names["example.com"] = plain
    plain.pages["/app"] = meta(f"example.com {TEMPLATE}")
    with pytest.raises(NetworkError, match="TLS"):
        Discovery(Client(Settings())).images("example.com/app")
    assert Discovery(Client(Settings(insecure=["http"]))).images("example.com/app").templates == [TEMPLATE]
