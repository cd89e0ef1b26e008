"""Discovery pages and templates: what counts as a tag, for which names, and which URL comes of it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.errors import InvalidValue
from appc.formats.discovery import (
    ENDPOINT,
    KEYS,
    MAX_TAGS,
    Tag,
    parents,
    render,
    tags_of_headers,
    tags_of_page,
)

LABELS = (("version", "1.0.0"), ("os", "linux"), ("arch", "amd64"))


def tags(page: str) -> list[tuple[str, str, str]]:
    return [(tag.kind, tag.prefix, tag.target) for tag in tags_of_page(page.encode())]


ONE = [(ENDPOINT, "example.com", "https://s.example.com/{name}.{ext}")]


@pytest.mark.parametrize(
    "page",
    [
        '<meta name="ac-discovery" content="example.com https://s.example.com/{name}.{ext}">',
        '<html><head><META CONTENT="example.com https://s.example.com/{name}.{ext}" NAME=ac-discovery></head>',
        "<meta name='AC-Discovery' content='example.com https://s.example.com/{name}.{ext}' />",
        '<body><p>hello<meta\n name = "ac-discovery"\tcontent = "example.com\thttps://s.example.com/{name}.{ext}">'.replace(
            "com\thttps", "com https"
        ),
        '<meta name="ac&#45;discovery" content="example.com https&#x3a;//s.example.com/{name}.{ext}">',
        '<meta name=ac-discovery name=other content="example.com  https://s.example.com/{name}.{ext} ">',
        '<<b><meta a=">" name=ac-discovery content="example.com https://s.example.com/{name}.{ext}">',
        '<!-- > --><!----><?x?><title><b></title><meta name=ac-discovery '
        'content="example.com https://s.example.com/{name}.{ext}">',
        '<svg/><meta/name="ac-discovery"/content="example.com https://s.example.com/{name}.{ext}"/>',
    ],
)  # fmt: skip
def test_ways_to_write_a_tag(page: str) -> None:
    assert tags(page) == ONE


@pytest.mark.parametrize(
    "page",
    [
        '<!-- <meta name="ac-discovery" content="a b"> -->',
        "<script>\"<meta name=ac-discovery content='a b'>\"</script>",
        '<SCRIPT><!-- </b><meta name=ac-discovery content="a b"></SCRIPT >',
        '<textarea><meta name=ac-discovery content="a b"></textarea>',
        "<plaintext><meta name=ac-discovery content='a b'>",
        "<p title=\"<meta name=ac-discovery content='a b'>\">",
        '<metadata name="ac-discovery" content="a b">',
        '<meta property="ac-discovery" content="a b">',
        '<meta name="ac-discovery">',
        '<meta name="ac-discovery" content="only-a-prefix">',
        '<meta name="ac-discovery" content="a b"',
        '<meta name="ac-discovery" content="a b',
        '<meta name="ac-discovery-other" content="a b">',
        f'<meta name="ac-discovery" content="a {"b" * 5000}">',
        "<",
        "",
        "\x00\ufffd",
    ],
)
def test_what_is_no_tag(page: str) -> None:
    assert tags(page) == []


def test_several_tags_keep_their_order() -> None:
    page = "".join(
        f'<meta name="{kind}" content="example.com {url}">'
        for kind, url in ((ENDPOINT, "https://a"), (KEYS, "https://k"), (ENDPOINT, "https://b"))
    )
    assert [(kind, url) for kind, _, url in tags(page)] == [
        (ENDPOINT, "https://a"),
        (KEYS, "https://k"),
        (ENDPOINT, "https://b"),
    ]


def test_too_many_tags_are_refused() -> None:
    with pytest.raises(InvalidValue, match="more than 256 tags"):
        tags('<meta name=ac-discovery content="a b">' * (MAX_TAGS + 1))


@pytest.mark.parametrize(
    "piece", ["<!--", "<", "<a", "<meta ", "<meta name=", '<meta name="', "<script>", "</", "<!", "<meta a=b ", "&#"]
)
def test_a_page_that_never_closes_anything_takes_no_longer_than_others(piece: str) -> None:
    """Quadratic time would be minutes here."""
    before = time.process_time()
    tags(piece * (1_000_000 // len(piece)))
    tags(f'<meta name="ac-discovery" content="{piece * (1_000_000 // len(piece))}">')
    assert time.process_time() - before < 20


@given(st.binary(max_size=300))
def test_any_bytes_are_a_page(page: bytes) -> None:
    tags_of_page(page)


@given(st.text("<>!-/ =\"'metanscripcodvy\n", max_size=200))
def test_any_tags_are_a_page(page: str) -> None:
    tags(page + '<meta name="ac-discovery" content="a b">')


# Header fields ------------------------------------------------------------------------------------


def test_links_in_header_fields() -> None:
    found = tags_of_headers(
        {
            "link-template": '"https://a/{name}.{ext}"; rel="ac-discovery"; prefix="example.com"',
            "link": '</x>; rel=next, <https://k/a,b;c>;rel="other AC-discovery-pubkeys" , <https://b>; title="x, y"',
        },
        "example.com/app",
    )
    assert [(tag.kind, tag.prefix, tag.target) for tag in found] == [
        (ENDPOINT, "example.com", "https://a/{name}.{ext}"),
        (KEYS, "example.com/app", "https://k/a,b;c"),
    ]


@pytest.mark.parametrize("text", ["x", "<x", '<x>; rel="ac', "<x> y", "<x>;" + "a" * 70_000])
def test_broken_header_fields_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="Link|more than 64 KiB"):
        tags_of_headers({"link": text}, "example.com")


@given(st.text('<>;,= "abcrel-disovy', max_size=100))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tags_of_headers({"link": text}, "example.com")
    except InvalidValue:
        pass


# Prefixes and templates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "name", "covered"),
    [
        ("example.com", "example.com", True),
        ("example.com", "example.com/app", True),
        ("example.com/", "example.com/app", True),
        ("example.com/foo", "example.com/foo/bar", True),
        ("example.com/foo", "example.com/foobar", False),
        ("example.com", "example.community/app", False),
        ("example.com/foo/bar", "example.com/foo", False),
        ("", "example.com", False),
    ],
)
def test_prefixes_end_where_a_part_of_the_name_ends(prefix: str, name: str, covered: bool) -> None:
    assert Tag(ENDPOINT, prefix, "x").covers(name) is covered


@pytest.mark.parametrize(
    ("template", "ext", "url"),
    [
        (
            "https://storage.example.com/{os}/{arch}/{name}-{version}.{ext}",
            "aci.asc",
            "https://storage.example.com/linux/amd64/example.com/app-1.0.0.aci.asc",
        ),
        ("hdfs://s/{name}-{version}-{os}-{arch}.{ext}", "aci", "hdfs://s/example.com/app-1.0.0-linux-amd64.aci"),
        ("https://s/{name}/{name}.{ext}?x={version}", "aci", "https://s/example.com/app/example.com/app.aci?x=1.0.0"),
        ("https://s/}{ext}", "aci", "https://s/}aci"),
    ],
)
def test_templates(template: str, ext: str, url: str) -> None:
    assert render(template, "example.com/app", LABELS, ext) == url


def test_a_version_nobody_asked_for_is_latest() -> None:
    assert render("https://s/{version}.{ext}", "n", (), "aci") == "https://s/latest.aci"


def test_values_cannot_become_other_parts_of_the_url() -> None:
    labels = (("a", "x?y#z %{ext}é"), ("name", "other"))
    assert render("https://s/{a}/{name}.{ext}", "n", labels, "aci") == "https://s/x%3Fy%23z%20%25%7Bext%7D%C3%A9/n.aci"


@pytest.mark.parametrize("template", ["https://s/{name}", "https://s/{channel}.{ext}", "https://s/{ext}/{", "{ext}{}"])
def test_templates_that_cannot_be_rendered(template: str) -> None:
    with pytest.raises(InvalidValue, match="the template"):
        render(template, "n", LABELS, "aci")


def test_parents_climb_to_the_host() -> None:
    assert list(parents("example.com/a/b")) == ["example.com/a/b", "example.com/a", "example.com"]
