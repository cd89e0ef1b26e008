"""Where an image may be had by its name: mirrors of the configuration first, then what discovery finds."""

from __future__ import annotations

import os
from urllib.parse import quote, urlsplit

from appc.errors import AppcError, ImageNotFound, InvalidValue, ManifestError, NetworkError, UsageError
from appc.formats.discovery import ACI, SIGNATURE, Tag, render
from appc.formats.imageindex import MAX_INDEX, Entry, matching, parse
from appc.formats.ocilayout_write import docker_reference, docker_tag
from appc.images.transport import Context, transport_for
from appc.net.urls import joined, scheme_of
from appc.schema.registry import SCHEME as REGISTRY
from appc.schema.registry import RegistryReference
from appc.values import Labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from appc.images.network import Network
    from appc.values import ImageReference

_MOST_FILES = 10_000
_INDEX = "index.json"


class Place:
    """An image file and its signature, by URL; or an image in a registry, whose signature lies beside it (`asc` "")."""

    __slots__ = ("aci", "asc")

    def __init__(self, aci: str, asc: str) -> None:
        self.aci = aci
        self.asc = asc

    def __repr__(self) -> str:
        return f"Place({self.aci})"


def places(
    network: Network,
    wanted: ImageReference,
    defaults: Labels,
    *,
    skipped: Callable[[AppcError], None],
) -> Iterator[Place]:
    """Yield where the image may be, in the order in which to try.

    `defaults` are labels that stand for those not asked for: templates are rendered with them. `skipped` is called
    with the reason for mirrors and templates that are of no use. What discovery itself raises comes out of here, after
    the mirrors were tried; ImageNotFound where the network is not to be used.
    """
    for mirror in mirrors_for(network.settings.discovery_mirrors, wanted.name):
        if network.offline and not mirror.startswith(("/", "file:")):
            continue
        try:
            yield from _of_mirror(network, mirror, wanted, defaults)
        except AppcError as error:
            skipped(error)
    if network.offline:
        raise ImageNotFound("is not in the store, and the network is not to be used (--offline)", str(wanted))
    for template in network.discovery.images(wanted.name).templates:
        try:
            place = of_template(template, wanted, defaults, local=False)
            check(network, place)
        except AppcError as error:
            skipped(error)
        else:
            yield place


def mirrors_for(mirrors: dict[str, list[str]], name: str) -> list[str]:
    """Return the mirrors for the image `name`, those of the longest prefix first; "" is a prefix of all names."""
    fit = [prefix for prefix in mirrors if not prefix or Tag("", prefix, "").covers(name)]
    return [place for prefix in sorted(fit, key=len, reverse=True) for place in mirrors[prefix]]


def of_template(template: str, wanted: ImageReference, defaults: Labels, *, local: bool = True) -> Place:
    """Render a template for the image and its signature. Raises InvalidValue; a page must not name `local` files."""
    labels = dict([*defaults, *wanted.labels])
    if template.startswith(REGISTRY):
        # Called there as `appc serve` and conversion call it.
        labels["version"] = docker_tag(labels.get("version") or "")
        name = docker_reference(wanted.name, "").rpartition(":")[0]
        return Place(f"{REGISTRY}//{RegistryReference.parse(render(template, name, labels.items(), ACI))}", "")
    urls = [render(template, wanted.name, labels.items(), ext) for ext in (ACI, SIGNATURE)]
    if not local and "file" in map(scheme_of, urls):
        raise InvalidValue(f"{template} is a file, which no page may name")
    return Place(*urls)


def signature_url(url: str) -> str:
    """Return where the signature of the image at `url` is: its path and `.asc`."""
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path}.asc", fragment="").geturl()


def check(network: Network, place: Place) -> None:
    """Raise AppcError for what nothing here can or may fetch."""
    if place.aci.startswith(REGISTRY):
        return
    transport_for(place.aci)
    if scheme_of(place.aci) == "http" and "http" not in network.insecure:
        raise UsageError("plain http can be read and changed on its way", place.aci, "--insecure http")


def _of_mirror(network: Network, mirror: str, wanted: ImageReference, defaults: Labels) -> Iterator[Place]:
    url = f"file://{quote(mirror, safe='/{}')}" if mirror.startswith("/") else mirror
    if "{" in mirror or mirror.startswith(REGISTRY):
        yield of_template(url, wanted, defaults)
        return
    directory = mirror if mirror.startswith("/") and os.path.isdir(mirror) else ""
    if directory and not os.path.exists(f"{directory}/{_INDEX}"):
        entries, base = _scan(directory), f"{url}/"
    else:
        base = f"{url.rstrip('/')}/{_INDEX}" if directory or not mirror.endswith(".json") else url
        entries = _index(network, base)
    for entry in matching(entries, wanted.name, wanted.labels, defaults):
        place = Place(joined(base, entry.aci), joined(base, entry.asc))
        if not base.startswith("file:") and "file" in (scheme_of(place.aci), scheme_of(place.asc)):
            raise InvalidValue(f"{base} names a file of this host, which only the configuration may")
        yield place


def _index(network: Network, url: str) -> list[Entry]:
    with transport_for(url).open(url, Context(network)) as download:
        pieces, size = [], 0
        while data := download.stream.read(1 << 20):
            pieces.append(data)
            size += len(data)
            if size > MAX_INDEX:
                raise NetworkError(f"is larger than {MAX_INDEX} bytes", url)
    try:
        return parse(b"".join(pieces))
    except ManifestError as error:
        raise ManifestError(list(error.faults[:5]), url) from None


def _scan(directory: str) -> list[Entry]:
    """Make an index of the image files in a directory, by their manifests; what is no image is passed over."""
    from appc.formats.aci import read_manifest
    from appc.images.fetch import open_file
    from appc.schema.image import ImageManifest

    found = []
    for name in sorted(os.listdir(directory))[:_MOST_FILES]:
        if not name.endswith(".aci") or name[0] == ".":
            continue
        try:
            with open_file(f"{directory}/{name}") as stream:
                manifest = ImageManifest.parse(read_manifest(stream))
        except AppcError:
            continue
        found.append(Entry(manifest.name, manifest.labels, quote(name), f"{quote(name)}.asc"))
    return found
