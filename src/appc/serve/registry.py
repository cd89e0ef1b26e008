"""The reading half of the OCI distribution specification 1.1, over the same images.

A repository is called as its image: the whole name, or what follows the domain when the domain is the host that was
asked. A tag is a version. An image that there is for several platforms is an index. The ACI itself goes along as an
artifact that refers to the OCI image made of it, with its signature: so it can be had from registries this one is
copied to as well.
"""

from __future__ import annotations

import os
import re

from appc.errors import AppcError, InvalidValue
from appc.formats import ociartifact
from appc.formats.convert_image_oci import ANNOTATION_PREFIX
from appc.formats.ocilayout_write import docker_reference, docker_tag
from appc.schema.json import dumps
from appc.schema.oci_image import MEDIA_INDEX, MEDIA_MANIFEST
from appc.serve.files import SIGNATURE_SUFFIX, Unservable, identity
from appc.serve.image import read_small
from appc.serve.messages import JSON, Refusal, Response
from appc.serve.site import API, IMAGE_TYPE, file_response
from appc.serve.templates import LATEST
from appc.trust.packets import MAX_SIGNATURE
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from appc.serve.catalog import Catalog
    from appc.serve.files import Directory
    from appc.serve.image import ServedImage
    from appc.serve.index import Index
    from appc.serve.layers import Conversions, Converted
    from appc.serve.messages import Fields, Request

_ENDPOINT = re.compile(r"/v2/(?P<name>.+)/(?P<what>manifests|blobs|referrers|tags)/(?P<which>[^/]+)")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_VERSION: Fields = (("Docker-Distribution-Api-Version", "registry/2.0"),)
_RETRY: Fields = (("Retry-After", "2"),)
_MOST_TAGS = 10_000


class Fault(Refusal):
    """An error of the API, answered in its form of JSON; `code` is one of the specification's."""

    def __init__(self, status: int, code: str, reason: str, fields: Fields = ()) -> None:
        super().__init__(status, reason, fields)
        self.code = code

    def response(self) -> Response:
        body = dumps({"errors": [{"code": self.code, "message": self.reason}]}).encode()
        return Response(self.status, body, (("Content-Type", JSON), *_VERSION, *self.fields))


class Registry:
    """Answers what is asked below /v2/ for the images in `index`."""

    def __init__(self, index: Index, directory: Directory, conversions: Conversions) -> None:
        self._index = index
        self._directory = directory
        self._conversions = conversions
        self._named: tuple[Catalog | None, dict[str, list[ServedImage]]] = (None, {})

    async def respond(self, request: Request) -> Response:
        """Answer one request. Raises Refusal."""
        if request.method not in ("GET", "HEAD"):
            raise Fault(405, "UNSUPPORTED", "images can only be read here", (("Allow", "GET, HEAD"),))
        if request.path in (API, API.rstrip("/")):
            return _json({})
        asked = _ENDPOINT.fullmatch(request.path)
        if asked is None:
            raise Fault(404, "NAME_INVALID", "there is no such endpoint")
        name, what, which = asked.group("name", "what", "which")
        repository = await self._repository(request, name)
        try:
            if what == "tags" and which == "list":
                return repository.tags(request)
            if what == "manifests":
                return await repository.manifest(request, which)
            if what == "blobs":
                return await repository.blob(request, which)
            if what == "referrers":
                return repository.referrers(request, which)
        except Unservable as error:
            raise Fault(404, "MANIFEST_UNKNOWN", str(error)) from None
        except AppcError as error:
            raise Fault(500, "MANIFEST_UNKNOWN", f"it cannot be converted: {error.what}") from None
        raise Fault(404, "NAME_INVALID", "there is no such endpoint")

    async def _repository(self, request: Request, name: str) -> _Repository:
        for look in (self._index.fresh, self._index.settled):
            catalog = await look()
            known = self._repositories(catalog)
            images = known.get(f"{request.domain}/{name}") or known.get(name)
            if images:
                return _Repository(name, images, catalog, self._directory, self._conversions)
        if catalog.pending:
            raise Fault(503, "TOOMANYREQUESTS", "images are still being read", _RETRY)
        raise Fault(404, "NAME_UNKNOWN", "no image is called that")

    def _repositories(self, catalog: Catalog) -> dict[str, list[ServedImage]]:
        if self._named[0] is not catalog:
            self._named = catalog, repositories(catalog)
        return self._named[1]


def repositories(catalog: Catalog) -> dict[str, list[ServedImage]]:
    """The images by what a repository may be called, the highest version first."""
    found: dict[str, list[ServedImage]] = {}
    for name, images in catalog.by_name.items():
        found.setdefault(repository_name(name), []).extend(images)
    return found


def repository_name(name: str) -> str:
    """What the repository of the images called `name` is called."""
    return docker_reference(name, "").removesuffix(f":{LATEST}")


class _Repository:
    """The images of one name, for one request."""

    def __init__(
        self,
        name: str,
        images: Sequence[ServedImage],
        catalog: Catalog,
        directory: Directory,
        conversions: Conversions,
    ) -> None:
        self._name = name
        self._images = images
        self._catalog = catalog
        self._directory = directory
        self._conversions = conversions

    def tags(self, request: Request) -> Response:
        """The list of tags, in order, or the part of it that was asked for."""
        tags = sorted({docker_tag(image.version) for image in self._images} | {LATEST})
        last, asked = request.query.get("last", ""), request.query.get("n", "")
        if asked and not (asked.isascii() and asked.isdigit() and len(asked) < 10):
            raise Fault(400, "UNSUPPORTED", "n is no number")
        rest = [tag for tag in tags if tag > last] if last else tags
        listed = rest[: min(int(asked or _MOST_TAGS), _MOST_TAGS)]
        fields: Fields = ()
        if listed and len(listed) < len(rest):
            fields = (("Link", f'</v2/{self._name}/tags/list?n={len(listed)}&last={listed[-1]}>; rel="next"'),)
        return _json({"name": self._name, "tags": listed}, fields)

    async def manifest(self, request: Request, reference: str) -> Response:
        """A manifest, by tag or digest."""
        digest = _digest(reference) if ":" in reference else ""
        if digest:
            data, media_type = await self._by_digest(digest)
        else:
            data, media_type = await self._by_tag(reference)
        actual = Digest.of(data)
        fields: Fields = (("Docker-Content-Digest", actual), *_VERSION)
        if f'"{actual}"' in request.get("if-none-match"):
            raise Refusal(304, "you have it", (("ETag", f'"{actual}"'), *fields))
        return Response(200, data, (("Content-Type", media_type), ("ETag", f'"{actual}"'), *fields))

    async def _by_tag(self, tag: str) -> tuple[bytes, str]:
        if not _TAG.fullmatch(tag):
            raise Fault(404, "MANIFEST_UNKNOWN", "that is neither a tag nor a digest")
        images = self._tagged(tag)
        if not images:
            raise Fault(404, "MANIFEST_UNKNOWN", "no image has that version")
        converted = [await self._conversions.get(self._catalog, image) for image in images]
        if len(converted) == 1:
            return converted[0].manifest, MEDIA_MANIFEST
        return _index(converted), MEDIA_INDEX

    def _tagged(self, tag: str) -> list[ServedImage]:
        """The images of a version, one for each platform: of several the one with the fewest further labels."""
        images = [image for image in self._images if docker_tag(image.version) == tag]
        if not images and tag == LATEST and self._images:
            # They are ordered, the highest version first.
            images = [image for image in self._images if image.version == self._images[0].version]
        by_platform: dict[tuple[str | None, str | None], ServedImage] = {}
        for image in sorted(images, key=lambda image: (len(image.labels), -image.modified, image.image_id)):
            by_platform.setdefault((image.labels.get("os"), image.labels.get("arch")), image)
        return sorted(by_platform.values(), key=lambda image: (str(image.labels), image.image_id))

    async def _by_digest(self, digest: str) -> tuple[bytes, str]:
        for complete in (False, True):
            for data, media_type in self._manifests(await self._converted(complete)):
                if Digest.of(data) == digest:
                    return data, media_type
        raise Fault(404, "MANIFEST_UNKNOWN", "no manifest has that digest")

    def _manifests(self, converted: dict[ServedImage, Converted]) -> list[tuple[bytes, str]]:
        """Every manifest of the repository, as far as it was made."""
        found = [(one.manifest, MEDIA_MANIFEST) for one in converted.values()]
        for image, one in converted.items():
            found += [(data, MEDIA_MANIFEST) for _, data, _ in self._artifacts(image, one)]
        for tag in {docker_tag(image.version) for image in self._images} | {LATEST}:
            images = self._tagged(tag)
            if len(images) > 1 and all(image in converted for image in images):
                found.append((_index([converted[image] for image in images]), MEDIA_INDEX))
        return found

    async def _converted(self, complete: bool) -> dict[ServedImage, Converted]:
        """The OCI forms that there are already or, `complete`, of every image that has one.

        The latter for digests that another server of the same images gave out, or this one with another cache.
        """
        found = {}
        for image in self._images:
            one = self._conversions.known(self._catalog, image)
            if one is None and complete:
                try:
                    one = await self._conversions.get(self._catalog, image)
                except Unservable:
                    pass
            if one is not None:
                found[image] = one
        return found

    async def blob(self, request: Request, reference: str) -> Response:
        """A blob: from the cache, or the file of an image itself."""
        digest = _digest(reference)
        fields: Fields = (
            ("Content-Type", IMAGE_TYPE),
            ("Docker-Content-Digest", digest),
            ("Cache-Control", "public, max-age=31536000, immutable"),
            *_VERSION,
        )
        tag = f'"{digest}"'
        for image in self._images:
            if digest == f"sha256:{image.sha256}":
                return self._file(request, image, tag, fields)
        # What is asked for most is the cheapest to find, and what has to be made comes last.
        path = await self._in_cache(digest, complete=False)
        if not path and (data := self._small(digest)) is not None:
            return Response(200, data, (*fields, ("ETag", tag)))
        path = path or await self._in_cache(digest, complete=True)
        if not path:
            raise Fault(404, "BLOB_UNKNOWN", "no blob has that digest")
        return _cached(request, path, tag, fields)

    async def _in_cache(self, digest: str, complete: bool) -> str:
        """The path of a blob of the OCI forms, "" when there is none; see `_converted`."""
        return next(
            (one.blobs[digest] for one in (await self._converted(complete)).values() if digest in one.blobs), ""
        )

    def _small(self, digest: str) -> bytes | None:
        """What artifacts consist of besides the image's file."""
        for image in self._images:
            for data in (ociartifact.EMPTY, image.manifest_bytes, self._signature(image)):
                if digest == Digest.of(data):
                    return data
        return None

    def _file(self, request: Request, image: ServedImage, tag: str, fields: Fields) -> Response:
        fd = self._directory.open(image.path)
        if identity(os.fstat(fd)) != image.identity:
            os.close(fd)
            raise Fault(404, "BLOB_UNKNOWN", "it has just been changed")
        return _owned(request, fd, tag, fields)

    def _signature(self, image: ServedImage) -> bytes:
        """The signature's bytes; b"" for an image that has none, or whose signature has just been taken away."""
        if image.signature is None:
            return b""
        try:
            return read_small(self._directory, image.path + SIGNATURE_SUFFIX, MAX_SIGNATURE)
        except Unservable:
            return b""

    def referrers(self, request: Request, reference: str) -> Response:
        """What refers to a manifest: the ACI that it was made of, and what brings that back from the layers."""
        digest = _digest(reference)
        wanted = request.query.get("artifactType", "")
        found = []
        for image in self._images:
            one = self._conversions.known(self._catalog, image)
            if one is not None and one.digest == digest:
                for kind, data, annotations in self._artifacts(image, one):
                    if wanted in ("", kind):
                        noted = {"annotations": annotations} if annotations else {}
                        found.append({**ociartifact.entry(data, kind), **noted})
        fields: Fields = (("OCI-Filters-Applied", "artifactType"),) if wanted else ()
        return _json({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": found}, fields, MEDIA_INDEX)

    def _artifacts(self, image: ServedImage, converted: Converted) -> list[tuple[str, bytes, dict[str, str]]]:
        """(type, manifest, annotations) of each artifact that refers to the OCI form of `image`."""
        subject = _descriptor(MEDIA_MANIFEST, converted.manifest)
        file = {"mediaType": ociartifact.ACI_LAYER, "digest": f"sha256:{image.sha256}", "size": image.size}
        layers = [file]
        if image.signature is not None:
            layers.append(_descriptor(ociartifact.PGP_SIGNATURE, self._signature(image)))
        config = _descriptor(ociartifact.ACI_CONFIG, image.manifest_bytes)
        annotations = {
            f"{ANNOTATION_PREFIX}image-id": str(image.image_id),
            f"{ANNOTATION_PREFIX}name": image.name,
            "org.opencontainers.image.title": image.path.rpartition("/")[2],
        }
        found = [(ociartifact.ACI_TYPE, ociartifact.aci(config, layers, annotations, subject), annotations)]
        if converted.headers:
            empty = _descriptor(ociartifact.EMPTY_TYPE, ociartifact.EMPTY)
            logs = [{"mediaType": IMAGE_TYPE, "digest": digest, "size": size} for digest, size in converted.headers]
            found.append(
                (ociartifact.HEADERS_TYPE, ociartifact.about(ociartifact.HEADERS_TYPE, subject, empty, logs), {})
            )
        return found


def _index(converted: Sequence[Converted]) -> bytes:
    entries = [{**_descriptor(MEDIA_MANIFEST, one.manifest), "platform": one.platform} for one in converted]
    return dumps({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": entries}).encode()


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}


def _digest(text: str) -> str:
    try:
        return Digest.parse(text)
    except InvalidValue as error:
        raise Fault(400, "DIGEST_INVALID", error.what) from None


def _cached(request: Request, path: str, tag: str, fields: Fields) -> Response:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise Fault(404, "BLOB_UNKNOWN", "it has just been removed from the cache") from None
    return _owned(request, fd, tag, fields)


def _owned(request: Request, fd: int, tag: str, fields: Fields) -> Response:
    status = os.fstat(fd)
    try:
        return file_response(request, fd, status.st_size, tag, status.st_mtime, fields)
    except Refusal:
        os.close(fd)
        raise


def _json(document: dict[str, Any], fields: Fields = (), media_type: str = JSON) -> Response:
    return Response(200, dumps(document).encode(), (("Content-Type", media_type), *_VERSION, *fields))
