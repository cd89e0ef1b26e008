"""What discovery and people find on the pages, under each of the hosts they may have come by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from image_kit import aci
from serve_kit import PLATFORM, Answer, Hosting

EVIL = "<script>alert(1)</script>\"'&"


@pytest.fixture
def hosting(tmp_path: Path) -> Iterator[Hosting]:
    app = {"exec": ["/bin/sh", "-c", EVIL], "user": "0", "group": "0"}
    evil = [{"name": "description", "value": EVIL}]
    aci(tmp_path / "a.aci", {}, "example.com/team/app", "1.0", labels=PLATFORM, app=app, annotations=evil)
    aci(tmp_path / "b.aci", {}, "example.com/team/tool", "2.0")
    aci(tmp_path / "c.aci", {}, "other.example/x", "3.0", labels=(*PLATFORM, ("note", EVIL)))
    with Hosting(tmp_path) as hosting:
        yield hosting


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _discovery(answer: Answer) -> list[str | None]:
    tags = _Tags(answer.text).named("meta")
    return [tag["content"] for tag in tags if tag.get("name") == "ac-discovery"]


@pytest.mark.parametrize(
    ("path", "host", "prefix"),
    [
        ("/team/app?ac-discovery=1", "example.com", "example.com/team/app"),
        ("/team/app/?ac-discovery=1", "EXAMPLE.com", "example.com/team/app"),
        ("/example.com/team/app", "localhost", "example.com/team/app"),
        ("/example.com/team/app", "other.example", "example.com/team/app"),
    ],
)
def test_the_page_of_a_name_has_its_template(hosting: Hosting, path: str, host: str, prefix: str) -> None:
    found = _discovery(hosting.get(path, host))
    assert found == [f"{prefix} http://{host.lower()}/-/aci/{{name}}-{{version}}-{{os}}-{{arch}}.{{ext}}"]


@pytest.mark.parametrize("path", ["/", "/team"])
def test_a_parent_has_the_templates_of_all_below(hosting: Hosting, path: str) -> None:
    found = _discovery(hosting.get(path, "example.com:8080"))
    prefix = f"example.com{path}".rstrip("/")
    base = "http://example.com:8080/-/aci/{name}-{version}"
    assert found == [f"{prefix} {base}-{{os}}-{{arch}}.{{ext}}", f"{prefix} {base}.{{ext}}"]


def test_a_name_nobody_has_gets_no_page(hosting: Hosting) -> None:
    for path in ("/team/ap", "/team/app/x", "/nothing"):
        assert hosting.get(f"{path}?ac-discovery=1", "example.com").status == 404


def test_templates_of_further_labels_come_first(hosting: Hosting) -> None:
    found = [
        content and content.rpartition("{version}")[2] for content in _discovery(hosting.get("/", "other.example"))
    ]
    assert found == ["-{os}-{arch}-{note}.{ext}", "-{os}-{arch}.{ext}"]


def test_a_header_says_the_same_to_clients_that_read_no_html(hosting: Hosting) -> None:
    found = hosting.get("/team/app", "example.com").fields["link-template"]
    template = "http://example.com/-/aci/{name}-{version}-{os}-{arch}.{ext}"
    assert found == f'"{template}"; rel="ac-discovery"; prefix="example.com/team/app"'


def test_a_given_url_goes_before_the_host(tmp_path: Path) -> None:
    aci(tmp_path / "a.aci", {}, version="1.0", labels=PLATFORM)
    with Hosting(tmp_path, url="https://cdn.example.net/images") as hosting:
        (found,) = _discovery(hosting.get("/app", "example.com"))
        assert found is not None
        assert found.startswith("example.com/app https://cdn.example.net/images/-/aci/")


def _all_pages(hosting: Hosting, host: str) -> dict[str, Answer]:
    """Every page that can be reached from the first one."""
    seen: dict[str, Answer] = {}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        answer = hosting.get(path, host)
        assert answer.status == 200, path
        seen[path] = answer
        if answer.fields["content-type"].startswith("text/html"):
            links = [tag["href"] for tag in _Tags(answer.text).named("a")]
            waiting += [link for link in links if link and link.startswith("/") and link not in seen]
    return seen


@pytest.mark.parametrize("host", ["localhost:1", "example.com", "other.example"])
def test_every_link_leads_somewhere(hosting: Hosting, host: str) -> None:
    pages = _all_pages(hosting, host)
    assert any(path.endswith(".aci") for path in pages)
    assert any(path.startswith("/-/image/") for path in pages)


def test_nothing_foreign_is_more_than_text(hosting: Hosting) -> None:
    for path, page in _all_pages(hosting, "localhost").items():
        if path.endswith(".aci"):
            continue
        tags = _Tags(page.text)
        assert not tags.named("script"), path
        assert not [tag for _, tag in tags.tags if any(name.startswith("on") for name in tag)], path
        assert not tags.named("link") + tags.named("img"), path
        assert "script" not in page.fields["content-security-policy"]
        assert page.fields["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert page.fields["x-content-type-options"] == "nosniff"


def test_pages_can_be_used_without_seeing_them(hosting: Hosting) -> None:
    """Language, one main heading, landmarks, captions, heads of rows and columns, a way past the navigation."""
    for path, page in _all_pages(hosting, "localhost").items():
        if path.endswith(".aci"):
            continue
        tags = _Tags(page.text)
        assert tags.named("html")[0]["lang"] == "en"
        assert len(tags.named("h1")) == len(tags.named("main")) == len(tags.named("nav")) == 1
        assert tags.named("a")[0]["href"] == f"#{tags.named('main')[0]['id']}"
        assert len(tags.named("caption")) == len(tags.named("table"))
        assert all(tag["scope"] in ("row", "col") for tag in tags.named("th"))
        assert all(tag.get("aria-label") for _, tag in tags.tags if tag.get("role") == "region")


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_told_apart() -> None:
    """WCAG 2.2, 1.4.3: text stands out from what is behind it by 4.5 to 1, by day and by night."""
    from appc.serve.style import STYLE

    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in STYLE.split("prefers-color-scheme: dark")]
    assert len(schemes) == 2
    for colours in schemes:
        for behind in ("paper", "panel"):
            for text in ("ink", "quiet", "link", "good", "bad"):
                light, dark = sorted((_luminance(colours[text]), _luminance(colours[behind])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, behind)
