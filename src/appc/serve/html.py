"""Writing HTML in which nothing that comes from outside can be anything but text."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from html import escape

from appc.serve.style import STYLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

STYLE_HASH = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'"
"""The content security policy: nothing is loaded or run, and no style but the page's own applies."""

HEADER_POLICY = f"{POLICY}; frame-ancestors 'none'"
"""The same as a header field, where more can be said than in the page itself."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *content: str | Markup, **attributes: str | bool) -> Markup:
    """An element; text in it is escaped. `class_` and `aria_label` become `class` and `aria-label`."""
    words = [tag]
    for name, value in attributes.items():
        attribute = name.rstrip("_").replace("_", "-")
        if value is True:
            words.append(attribute)
        elif value is not False:
            words.append(f'{attribute}="{escape(value)}"')
    return Markup(f"<{' '.join(words)}>{''.join(text(one) for one in content)}</{tag}>")


def text(content: str | Markup) -> Markup:
    """Content as HTML."""
    return content if isinstance(content, Markup) else Markup(escape(content, quote=False))


def join(parts: Iterable[str | Markup], separator: str = "") -> Markup:
    """Several pieces one after the other."""
    return Markup(text(separator).join(text(part) for part in parts))


def table(caption: str, headings: Iterable[str], rows: Iterable[Iterable[str | Markup]]) -> Markup:
    """A table whose first column heads its rows. It can be scrolled sideways, also with the keyboard."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = []
    for row in rows:
        first, *rest = row
        body.append(element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest)))
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", whole, class_="wide", role="region", aria_label=caption, tabindex="0")


def facts(pairs: Iterable[tuple[str, str | Markup]]) -> Markup:
    """What is known of something: terms and what they are, those without anything left out."""
    rows = [element("div", element("dt", term), element("dd", what)) for term, what in pairs if what]
    return element("dl", *rows)


def block(label: str, content: str) -> Markup:
    """Text as it is, to be read or copied."""
    return element("pre", element("code", content), tabindex="0", role="region", aria_label=label)


def link(target: str, content: str | Markup) -> Markup:
    """A link."""
    return element("a", content, href=target)


def section(title: str, *content: Markup) -> Markup:
    """A section with its heading."""
    return element("section", element("h2", title), *content)


def page(title: str, metas: Iterable[tuple[str, str]], trail: Markup, main: Markup) -> bytes:
    """A whole document. `metas` are (name, content) of meta tags; `trail` leads back to the pages above."""
    tags = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        *(f'<meta name="{escape(name)}" content="{escape(content)}">' for name, content in metas),
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
    ]
    skip = element("a", "Skip to the content", href="#main", class_="skip")
    header = element("header", element("nav", trail, aria_label="Where this is"))
    body = element("main", element("h1", title), main, id="main", tabindex="-1")
    footer = element("footer", element("p", "Served by appc."))
    document = ["<!DOCTYPE html>", '<html lang="en">', "<head>", *tags, "</head>"]
    document += ["<body>", skip, header, body, footer, "</body>", "</html>", ""]
    return "\n".join(document).encode("utf-8", "replace")
