"""What fetching reads of other hosts: discovery pages, links, templates, indexes of mirrors and header fields."""

from __future__ import annotations

from appc.errors import InvalidValue, ManifestError
from appc.formats import discovery, imageindex
from appc.images.transport_http import content_range, max_age, range_headers, validators_of
from appc.values import Labels
from fuzz.python.engine import Target

_PAGES = [
    b'<!DOCTYPE html><html><head><meta name="ac-discovery" content="example.com https://s/{name}-{version}.{ext}">',
    b"<!-- x --><title><meta></title><META CONTENT='a&#32;b' name=ac-discovery-pubkeys /><script>'</b></script><p a=b>",
]
_PAGE_WORDS = (
    b"<meta ", b"<!--", b"-->", b"<script>", b"</script>", b' name="ac-discovery"', b" name=ac-discovery-pubkeys",
    b' content="a b"', b"&#x", b"&lt;", b"<plaintext>", b"/>",
)  # fmt: skip
_LINKS = [
    b'"https://a/{name}.{ext}"; rel="ac-discovery"; prefix="example.com"',
    b'</x>; rel=next, <https://k>;rel="other ac-discovery-pubkeys"; title="a, b"',
]
_VALIDATORS = [
    b'"tag"\nMon, 01 Jan 2024 00:00:00 GMT\nMon, 01 Jan 2024 00:02:00 GMT',
    b"\nMon, 01 Jan 2024 00:00:00 +0100\nMonday, 01-Jan-24 00:00:00 GMT",
]
_INDEXES = [
    b'{"images": [{"name": "example.com/app", "labels": {"version": "1.0.0", "os": "linux"}, "aci": "a", "asc": "b"}]}',
    b'{"images": [{"name": "example.com/app", "aci": "a"}, {"name": "example.com/app", "labels": {}, "aci": "b"}]}',
]


def _discovery_page(data: bytes) -> None:
    """A tag has a prefix without spaces and a target, and covers names by whole parts."""
    for tag in discovery.tags_of_page(data):
        assert tag.kind in (discovery.ENDPOINT, discovery.KEYS)
        assert tag.target.strip() == tag.target != ""
        assert " " not in tag.prefix
        assert not tag.covers(f"{tag.prefix}x") or f"{tag.prefix}x".startswith(tag.prefix.rstrip("/") + "/")


def _discovery_headers(data: bytes) -> None:
    """Every tag has one of the kinds."""
    for tag in discovery.tags_of_headers({"link": data.decode("latin-1")}, "example.com"):
        assert tag.kind in (discovery.ENDPOINT, discovery.KEYS)


def _template(data: bytes) -> None:
    """What is rendered has none of the placeholders left, and no label's value adds a query or a fragment."""
    text = data.decode("latin-1")
    url = discovery.render(text, "example.com/app", (("os", "?#{ext} "), ("arch", "amd64")), "aci")
    assert url.count("?") == text.count("?")
    assert url.count("#") == text.count("#")


def _image_index(data: bytes) -> None:
    """Those that match are all there, each once."""
    entries = imageindex.parse(data)
    found = imageindex.matching(entries, "example.com/app", Labels(), Labels.of((("os", "linux"),)))
    assert len(found) == len({id(entry) for entry in found}) <= len(entries)


def _validator_headers(data: bytes) -> None:
    """What is asked for with a range is what was sent as a strong validator, and fits into a header."""
    tag, modified, date = [*data.decode("latin-1").split("\n"), "", ""][:3]
    found = validators_of({"etag": tag, "last-modified": modified, "date": date})
    assert set(found) <= {"etag", "modified", "settled"}
    asked = range_headers(5, found)
    if asked:
        assert asked["if-range"] == modified or asked["if-range"] == tag != "" == tag.partition('"')[0]
    assert sum(map(len, asked.values())) < 1100


def _range_headers(data: bytes) -> None:
    """A range that is accepted lies in the file; a lifetime is never endless."""
    text, _, control = data.decode("latin-1").partition("\n")
    assert 0 <= max_age({"cache-control": control}) <= 365 * 86400
    start, size = content_range(text)
    assert start >= 0
    assert size is None or start < size


TARGETS = {
    "discovery-page": Target(_discovery_page, (InvalidValue,), _PAGES, words=_PAGE_WORDS),
    "discovery-headers": Target(_discovery_headers, (InvalidValue,), _LINKS, words=(b'; rel="', b">; ", b'", <')),
    "template": Target(_template, (InvalidValue,), [b"https://s/{os}/{arch}/{name}-{version}.{ext}", b"{ext}"]),
    "image-index": Target(_image_index, (ManifestError,), _INDEXES),
    "validator-headers": Target(_validator_headers, (), _VALIDATORS, words=(b'W/"', b"GMT", b"-0000", b"9" * 20)),
    "range-headers": Target(_range_headers, (ValueError,), [b"bytes 5-9/10\nmax-age=5, no-cache", b"bytes 0-0/*\n"]),
}
