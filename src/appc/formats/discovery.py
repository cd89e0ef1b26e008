"""What a discovery page says: where images and keys are (discovery.md).

A page says it in `meta` tags, which a scanner finds that looks at every byte once: the standard library's HTML parser
takes time that grows with the square of some inputs. An endpoint that serves no HTML says the same in header fields:

    Link-Template: "https://example.com/{name}-{version}-{os}-{arch}.{ext}"; rel="ac-discovery"; prefix="example.com"
    Link: <https://example.com/pubkeys.gpg>; rel="ac-discovery-pubkeys"; prefix="example.com"
"""

from __future__ import annotations

from html import unescape

from appc.errors import InvalidValue
from appc.formats.metatags import meta_tags
from appc.schema.registry import SCHEME as REGISTRY
from appc.values import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_PAGE = 2 << 20  # bytes of a page
MAX_TAGS = 256  # tags that concern discovery
MAX_CONTENT = 4096  # characters of one tag's content
MAX_FIELD = 64 << 10  # characters of the header fields of one kind, together

ENDPOINT = "ac-discovery"
KEYS = "ac-discovery-pubkeys"

ACI = "aci"
SIGNATURE = "aci.asc"

_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@!$&'()*+,;=")


class Tag:
    """One statement of a page: `kind` (ENDPOINT or KEYS), the prefix of names it is about, and a template or URL."""

    __slots__ = ("kind", "prefix", "target")

    def __init__(self, kind: str, prefix: str, target: str) -> None:
        self.kind = kind
        self.prefix = prefix
        self.target = target

    def covers(self, name: str) -> bool:
        """Tell whether the tag is about the image `name`: a prefix ends where a part of the name ends."""
        prefix = self.prefix.rstrip("/")
        return name == prefix or name.startswith(prefix + "/")


def tags_of_page(page: bytes) -> list[Tag]:
    """Return the tags of an HTML page in their order. Raises InvalidValue for more than MAX_TAGS.

    Anything can be called HTML, so nothing else is an error; a tag without a prefix and a target is none.
    """
    found = []
    for tag in meta_tags(page):
        kind = unescape(tag.get(b"name", b"").decode("utf-8", "replace")).strip().lower()
        content = tag.get(b"content")
        if kind not in (ENDPOINT, KEYS) or content is None or len(content) > MAX_CONTENT:
            continue
        prefix, _, target = unescape(content.decode("utf-8", "replace")).strip().partition(" ")
        if target.strip():
            found.append(Tag(kind, prefix, target.strip()))
        if len(found) > MAX_TAGS:
            raise InvalidValue(f"has more than {MAX_TAGS} tags for discovery")
    return found


def tags_of_headers(fields: Mapping[str, str], name: str) -> list[Tag]:
    """Return what the header fields Link-Template and Link of an answer say; `name` is the one whose page it is.

    It stands for a prefix that is not given. Raises InvalidValue for fields that are too long or no such fields.
    """
    found = []
    for field in ("link-template", "link"):
        text = fields.get(field, "")
        if len(text) > MAX_FIELD:
            raise InvalidValue(f"has more than {MAX_FIELD >> 10} KiB of {field}")
        for target, parameters in _links(text):
            for relation in parameters.get("rel", "").lower().split():
                if relation in (ENDPOINT, KEYS):
                    found.append(Tag(relation, parameters.get("prefix", name), target))
    if len(found) > MAX_TAGS:
        raise InvalidValue(f"has more than {MAX_TAGS} links for discovery")
    return found


def render(template: str, name: str, labels: Iterable[tuple[str, str]], ext: str) -> str:
    """Return the URL that a template gives for an image: {name}, {ext}, and {LABEL} for each label.

    A version that is not asked for is `latest`. Values are escaped as a URL needs it, but for slashes. Raises
    InvalidValue when the template has no {ext}, or wants a label that is not given. Templates of registries need no
    {ext}: nothing there is a file.
    """
    values = {"version": "latest", **dict(labels), "name": name, "ext": ext}
    if "{ext}" not in template and not template.startswith(REGISTRY):
        raise InvalidValue(f"the template {quoted(template)} has no {{ext}}, which every template must have")
    url = []
    rest = template
    while rest:
        text, brace, rest = rest.partition("{")
        url.append(text)
        if not brace:
            break
        key, end, rest = rest.partition("}")
        if not end or key not in values:
            raise InvalidValue(f"the template {quoted(template)} wants a label {quoted(key)}, which is not given")
        url.append(_escaped(values[key]))
    return "".join(url)


def parents(name: str) -> Iterator[str]:
    """Yield the names whose pages may know of the image `name`: itself, then its parents up to the bare host."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def _escaped(value: str) -> str:
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in value.encode("utf-8", "replace"))


def _links(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (target, parameters) of each link in a list of them (RFC 8288 and, for quoted targets, RFC 9652)."""
    at = 0
    while at < len(text):
        if text[at] in " \t,":
            at += 1
            continue
        if text[at] not in '<"':
            raise InvalidValue("its field Link is not a list of links")
        end = text.find(">" if text[at] == "<" else '"', at + 1)
        if end < 0:
            raise InvalidValue("its field Link has a target that does not end")
        target = text[at + 1 : end].strip()
        parameters: dict[str, str] = {}
        at = end + 1
        while at < len(text) and text[at] in " \t;":
            if text[at] != ";":
                at += 1
                continue
            key, value, at = _parameter(text, at + 1)
            parameters.setdefault(key, value)
        yield target, parameters


def _parameter(text: str, at: int) -> tuple[str, str, int]:
    """Read `key=value` or `key="value"` from `at`; return both and where they end."""
    end = at
    while end < len(text) and text[end] not in '=;,"':
        end += 1
    key = text[at:end].strip().lower()
    if end == len(text) or text[end] != "=":
        return key, "", end
    at = end + 1
    while at < len(text) and text[at] in " \t":
        at += 1
    if text[at : at + 1] == '"':
        end = text.find('"', at + 1)
        if end < 0:
            raise InvalidValue("its field Link has a parameter that does not end")
        return key, text[at + 1 : end], end + 1
    end = at
    while end < len(text) and text[end] not in ";,":
        end += 1
    return key, text[at:end].strip(), end
