"""From a request to its answer: pages, images, signatures and keys."""

from __future__ import annotations

import hashlib
import os
from urllib.parse import quote

from appc.serve import conditions, html, pages
from appc.serve.files import SIGNATURE_SUFFIX, SUFFIX, Unservable, identity
from appc.serve.image import read_small
from appc.serve.messages import HTML, FileBody, MethodNotAllowed, Refusal, Response
from appc.serve.view import DETAILS, IMAGES, KEYS, OWN, View
from appc.trust.packets import MAX_SIGNATURE, armor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.serve.catalog import Catalog
    from appc.serve.connection import Handler
    from appc.serve.files import Directory
    from appc.serve.image import ServedImage
    from appc.serve.index import Index
    from appc.serve.messages import Fields, Request
    from appc.serve.uploads import Uploads

IMAGE_TYPE = "application/octet-stream"
SIGNATURE_TYPE = "application/pgp-signature"
KEYS_TYPE = "application/pgp-keys"

_ALWAYS_ASK = ("Cache-Control", "no-cache")
_NEVER_CHANGES = ("Cache-Control", "public, max-age=31536000, immutable")
API = "/v2/"
"""Where the OCI distribution API is, whatever the host."""

_MOST_PAGES = 100
_RETRY = (("Retry-After", "2"),)


class Site:
    """Answers requests for what is in `index`. `url` is what absolute URLs begin with, "" for the host asked.

    `registry` answers what is asked below /v2/, and `uploads` takes images, if there are such.
    """

    def __init__(
        self,
        index: Index,
        directory: Directory,
        url: str = "",
        registry: Handler | None = None,
        uploads: Uploads | None = None,
    ) -> None:
        self._index = index
        self._registry = registry
        self._uploads = uploads
        self._directory = directory
        self._url = url.rstrip("/")
        self._pages: tuple[Catalog | None, dict[tuple[str, str, str], bytes]] = (None, {})

    async def respond(self, request: Request) -> Response:
        """Answer one request. Raises Refusal."""
        path = request.path
        if self._registry is not None and f"{path}/".startswith(API) and "ac-discovery" not in request.query:
            return await self._registry(request)
        if self._uploads is not None and path.startswith(IMAGES):
            if request.get("authorization"):
                # Also when only asked: whoever is about to upload learns early that the token is wrong.
                self._uploads.authorize(request)
            if request.method == "PUT":
                return await self._uploads.put(request, path.removeprefix(IMAGES))
            if request.method not in ("GET", "HEAD"):
                raise MethodNotAllowed("GET", "HEAD", "PUT")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET", "HEAD")
        if path.startswith(IMAGES):
            return await self._file(request, path.removeprefix(IMAGES))
        if path.startswith(DETAILS):
            return await self._details(request, path.removeprefix(DETAILS))
        if path == KEYS:
            return await self._keys(request)
        if path.startswith(OWN):
            raise Refusal(404, "there is no such thing here")
        return await self._page(request)

    def view(self, request: Request, catalog: Catalog) -> View:
        """The catalog as the host that was asked shows it."""
        return View(catalog, self._url or request.origin, request.domain, registry=self._registry is not None)

    async def _page(self, request: Request) -> Response:
        view = self.view(request, await self._index.fresh())
        name = self._name(view, request.path)
        if name is None or (view.catalog.pending and (request.path == "/" or "ac-discovery" in request.query)):
            view = self.view(request, await self._index.settled())
            name = self._name(view, request.path)
        if name is None:
            raise self._missing(view.catalog, "no image is called that")
        return _document(request, self._made(view, name), HTML, view.links(name))

    def _made(self, view: View, name: str) -> bytes:
        """The page of a name; made again only when something has changed."""
        if self._pages[0] is not view.catalog or len(self._pages[1]) >= _MOST_PAGES:
            self._pages = (view.catalog, {})
        key = (view.base, view.domain, name)
        if key not in self._pages[1]:
            self._pages[1][key] = pages.name_page(view, name)
        return self._pages[1][key]

    @staticmethod
    def _name(view: View, path: str) -> str | None:
        # At a host of another name, the first page shows everything, even when that is nothing yet.
        return view.top if path == "/" else view.name_at(path)

    async def _details(self, request: Request, image_id: str) -> Response:
        catalog, image = await self._find(lambda catalog: catalog.by_id.get(image_id))
        return _document(request, pages.image_page(self.view(request, catalog), image), HTML)

    async def _file(self, request: Request, name: str) -> Response:
        signature = name.endswith(SUFFIX + SIGNATURE_SUFFIX)
        stem = name.removesuffix(SIGNATURE_SUFFIX).removesuffix(SUFFIX)
        if not name.endswith((SUFFIX, SUFFIX + SIGNATURE_SUFFIX)):
            raise Refusal(404, "images end in .aci, their signatures in .aci.asc")
        unsigned = False
        for _ in range(2):
            _, image = await self._find(lambda catalog: catalog.by_id.get(stem) or catalog.route(stem))
            unsigned = signature and image.signature is None
            try:
                if signature and not unsigned:
                    return self._signature(request, image)
                response = None if signature else self._image(request, image, stem == image.image_id)
            except Unservable:
                response = None
            if response is not None:
                return response
            # It was replaced, or signed, a moment ago.
            await self._index.settled()
        if unsigned:
            raise Refusal(404, "the image is not signed")
        raise Refusal(503, "it is just being changed", _RETRY)

    async def _find(self, look: Callable[[Catalog], ServedImage | None]) -> tuple[Catalog, ServedImage]:
        catalog = await self._index.fresh()
        image = look(catalog)
        if image is None:
            catalog = await self._index.settled()
            image = look(catalog)
        if image is None:
            raise self._missing(catalog, "there is no such image")
        return catalog, image

    @staticmethod
    def _missing(catalog: Catalog, reason: str) -> Refusal:
        if catalog.pending:
            return Refusal(503, f"{reason} yet; {len(catalog.pending)} images are still being read", _RETRY)
        return Refusal(404, reason)

    def _image(self, request: Request, image: ServedImage, by_id: bool) -> Response | None:
        """The image's file, or None when that has become another one. Raises Refusal, Unservable."""
        fd = self._directory.open(image.path)
        try:
            if identity(os.fstat(fd)) != image.identity:
                return None
            fields = (
                ("Content-Type", IMAGE_TYPE),
                ("Content-Disposition", f"attachment; filename*=UTF-8''{quote(_file_name(image), safe='')}"),
                ("Repr-Digest", conditions.repr_digest(image.sha256)),
                _NEVER_CHANGES if by_id else _ALWAYS_ASK,
            )
            response = file_response(request, fd, image.size, image.tag, image.modified, fields)
            fd = -1
            return response
        finally:
            if fd >= 0:
                os.close(fd)

    def _signature(self, request: Request, image: ServedImage) -> Response:
        data = read_small(self._directory, image.path + SIGNATURE_SUFFIX, MAX_SIGNATURE)
        return _document(request, data, SIGNATURE_TYPE)

    async def _keys(self, request: Request) -> Response:
        catalog = await self._index.fresh()
        if not catalog.certificates:
            catalog = await self._index.settled()
        if not catalog.certificates:
            raise Refusal(404, "there are no keys here")
        return _document(request, keys_file(catalog), KEYS_TYPE)


def keys_file(catalog: Catalog) -> bytes:
    """All keys, armored, in one block: clients such as rkt read the first one only."""
    return armor(b"".join(one.data for one in catalog.certificates), "PUBLIC KEY BLOCK")


def _file_name(image: ServedImage) -> str:
    """What to call the file when a browser saves it."""
    return f"{image.name.replace('/', '_')}{'-' if image.version else ''}{image.version}{SUFFIX}"


def file_response(request: Request, fd: int, size: int, tag: str, modified: float, fields: Fields) -> Response:
    """Answer with a file or the part of it that was asked for. Takes `fd` over, unless it raises Refusal."""
    validators: Fields = (("ETag", tag), ("Last-Modified", conditions.http_date(modified)), ("Accept-Ranges", "bytes"))
    try:
        conditions.check(request, tag, modified)
    except Refusal as refusal:
        kept = tuple(field for field in fields if field[0] == "Cache-Control")
        raise Refusal(refusal.status, refusal.reason, (*validators, *kept)) from None
    offset, count = conditions.part(request, size, tag, modified)
    if (offset, count) == conditions.FULL:
        return Response(200, FileBody(fd, 0, size), (*fields, *validators))
    content_range = ("Content-Range", f"bytes {offset}-{offset + count - 1}/{size}")
    return Response(206, FileBody(fd, offset, count), (*fields, *validators, content_range))


def _document(request: Request, body: bytes, content_type: str, fields: Fields = ()) -> Response:
    """Answer with something small, unless the client has it already."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    fields = (*fields, ("ETag", tag), _ALWAYS_ASK)
    if content_type == HTML:
        fields = (*fields, ("Content-Security-Policy", html.HEADER_POLICY), ("Referrer-Policy", "no-referrer"))
    try:
        conditions.check(request, tag, 0)
    except Refusal as refusal:
        raise Refusal(refusal.status, refusal.reason, fields) from None
    return Response(200, body, (("Content-Type", content_type), *fields))
