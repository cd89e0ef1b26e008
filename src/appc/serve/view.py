"""Which names a request means, and where things are for whoever made it.

Seen under the domain of its images, a host's pages lie where discovery looks for them: `example.com/app` at
`https://example.com/app`. Under any other host (localhost, an address, a mirror) the whole name is the path. Whatever
is not a page lies below `/-/`: no name has two separators side by side, so nothing can be in its way.
"""

from __future__ import annotations

from urllib.parse import quote

from appc.formats.ocilayout_write import docker_reference
from appc.serve.catalog import covers
from appc.serve.files import SIGNATURE_SUFFIX, SUFFIX
from appc.serve.templates import template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.serve.catalog import Catalog
    from appc.serve.image import ServedImage
    from appc.serve.messages import Fields

OWN = "/-/"
IMAGES = OWN + "aci/"
DETAILS = OWN + "image/"
KEYS = OWN + "pubkeys.gpg"

_SAFE = "/~+=,"


class View:
    """The catalog as one host shows it. `base` is what absolute URLs begin with; `domain` is "" for a foreign host.

    `registry` tells whether the host speaks the OCI distribution API too.
    """

    def __init__(self, catalog: Catalog, base: str, domain: str, registry: bool = False) -> None:
        self.catalog = catalog
        self.base = base
        self.registry = registry
        self.domain = domain if domain in catalog.domains else ""

    @property
    def top(self) -> str:
        """The name of the host's first page."""
        return self.domain

    def name_at(self, path: str) -> str | None:
        """The image name or prefix of names that the page at `path` is about, None when there is nothing."""
        below = path.strip("/")
        for name in (f"{self.domain}/{below}".strip("/"), below):
            if covers(self.domain, name) and any(covers(name, known) for known in self.catalog.by_name):
                return name
        return below if below and any(covers(below, known) for known in self.catalog.by_name) else None

    def page(self, name: str) -> str:
        """The path of the page about `name`."""
        if self.domain and covers(self.domain, name):
            name = name[len(self.domain) + 1 :]
        return "/" + quote(name, safe=_SAFE)

    def details(self, image: ServedImage) -> str:
        """The path of the page about one image."""
        return DETAILS + image.image_id

    def file(self, image: ServedImage) -> str:
        """The path of an image file: by its template if that leads to it, else by its ID."""
        found = image.place if self.catalog.route(image.place) is image else image.image_id
        return IMAGES + quote(found, safe=_SAFE) + SUFFIX

    def signature(self, image: ServedImage) -> str:
        """The path of an image's signature."""
        return self.file(image) + SIGNATURE_SUFFIX

    def oci_reference(self, image: ServedImage) -> str:
        """What other tools call the image when they pull it from here."""
        host = self.base.partition("://")[2].partition("/")[0]
        name = image.name
        if self.domain and name.startswith(f"{self.domain}/"):
            name = name[len(self.domain) + 1 :]
        return f"{host}/{docker_reference(name, image.version)}"

    def discovery(self, name: str) -> list[tuple[str, str]]:
        """What discovery is told at the page of `name`: (kind, "PREFIX TEMPLATE") pairs for meta tags."""
        if not name:
            return []
        found = [
            ("ac-discovery", f"{name} {self.base}{IMAGES}{template(shape)}") for shape in self.catalog.shapes(name)
        ]
        if self.catalog.certificates:
            found.append(("ac-discovery-pubkeys", f"{name} {self.base}{KEYS}"))
        return found

    def links(self, name: str) -> Fields:
        """The same as header fields (RFC 9652, RFC 8288), for clients that read no HTML."""
        templates, keys = [], []
        for kind, content in self.discovery(name):
            prefix, _, url = content.partition(" ")
            parameters = f'; rel="{kind}"; prefix="{prefix}"'
            if kind == "ac-discovery":
                templates.append(f'"{url}"{parameters}')
            else:
                keys.append(f"<{url}>{parameters}")
        fields = (("Link-Template", ", ".join(templates)), ("Link", ", ".join(keys)))
        return tuple(field for field in fields if field[1])
