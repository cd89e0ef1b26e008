"""One repository of a registry, for reading: manifests, blobs and referrers (distribution-spec 1.1).

Nothing a registry says is believed that its digest does not prove. What it answers is bounded: documents by their
size, lists by their length, authentication by one attempt and one more with a fresh token.
"""

from __future__ import annotations

import threading
from urllib.parse import urljoin, urlsplit

from appc.errors import HttpStatus, ImageNotFound, InvalidValue, ManifestError, NetworkError
from appc.net.tokens import NOBODY, Tokens
from appc.net.urls import joined, shown
from appc.schema.json import loads
from appc.schema.oci_image import INDEX_TYPES, MANIFEST_TYPES, MEDIA_INDEX, Index
from appc.schema.registry import referrers_tag
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from appc.net.http import Client
    from appc.net.logins import Login, Logins
    from appc.net.response import Response
    from appc.schema.oci_image import Descriptor
    from appc.schema.registry import RegistryReference

MAX_MANIFEST = 4 << 20
MAX_REFERRERS = 1000
_MAX_ERROR = 64 << 10
_MAX_WARNINGS = 4096
_MAX_PAGES = 20
_ACCEPT = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))


class Manifest:
    """A manifest or index as a registry gave it: `data` has the `digest`."""

    __slots__ = ("data", "digest", "media_type")

    def __init__(self, media_type: str, data: bytes, digest: Digest) -> None:
        self.media_type = media_type
        self.data = data
        self.digest = digest


class Registry:
    """A repository in a registry. Several threads may use one.

    `actions` are what tokens are asked for: ("pull",) or ("pull", "push"). `also` are repositories of the same
    registry that blobs are mounted from. `warn` is called with what the registry wants people to know, once for each.
    """

    def __init__(
        self,
        client: Client,
        logins: Logins,
        reference: RegistryReference,
        *,
        actions: tuple[str, ...] = ("pull",),
        also: tuple[str, ...] = (),
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.reference = reference
        self.where = f"docker://{reference}"
        self._client = client
        self._logins = logins
        self._scopes = (
            f"repository:{reference.repository}:{','.join(actions)}",
            *(f"repository:{name}:pull" for name in also),
        )
        self._tokens = Tokens(client)
        self._authorization = ""
        self._login: Login | None = None
        self._asked = False
        self._base = ""
        self._warned: set[str] = set()
        self._warn = warn
        self._lock = threading.Lock()

    # -- reading -------------------------------------------------------------------------------

    def manifest(self, version: str) -> Manifest:
        """The manifest of a tag or digest. Raises ImageNotFound, NetworkError."""
        with self.request("GET", self.path("manifests", version), headers={"accept": _ACCEPT}) as answer:
            if answer.status == 404:
                raise self._missing(answer, version)
            self.expect(answer, 200)
            data = answer.read(MAX_MANIFEST)
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            claimed = self._claimed(answer)
        wanted = Digest.parse(version) if ":" in version else None
        for digest in filter(None, (wanted, claimed)):
            found = Digest.of(data, digest.algorithm)
            if found != digest:
                where = f"docker://{self.reference.registry}/{self.reference.repository}"
                raise NetworkError(f"the registry sent a manifest with the digest {found} for {digest}", where)
        return Manifest(media_type, data, wanted or Digest.of(data))

    def digest(self, version: str) -> Digest | None:
        """The digest of a tag by the registry's word alone, None when it does not say; ImageNotFound without one."""
        with self.request("HEAD", self.path("manifests", version), headers={"accept": _ACCEPT}) as answer:
            if answer.status == 404:
                raise self._missing(answer, version)
            return self._claimed(answer) if answer.status == 200 else None

    def blob(self, digest: Digest, offset: int = 0, size: int = -1) -> tuple[Response, int]:
        """Open a blob, from byte `offset` on if the registry can do that; returns it with where it begins.

        `size` is what it should have; a registry that says another is refused before anything is read.
        """
        headers = {"range": f"bytes={offset}-"} if offset else {}
        answer = self.request("GET", self.path("blobs", digest), headers=headers)
        try:
            if offset and answer.status == 416:
                answer.close()
                return self.blob(digest, 0, size)
            start = 0
            if offset and answer.status == 206:
                start = self._start(answer, offset)
            elif answer.status != 206:
                self.expect(answer, 200)
            else:
                raise NetworkError("the registry sends a part of a blob of which all was asked for", self.where)
            if size >= 0 and answer.length not in (None, size - start):
                raise NetworkError(
                    f"blob {digest[:19]} has {start + (answer.length or 0)} bytes instead of {size}", self.where
                )
            return answer, start
        except BaseException:
            answer.close()
            raise

    def small(self, digest: Digest, size: int, most: int) -> bytes:
        """A blob of at most `most` bytes, whole and verified. Raises NetworkError."""
        if size > most:
            raise NetworkError(f"blob {digest[:19]} has {size} bytes, more than the {most} allowed", self.where)
        answer, _ = self.blob(digest, 0, size)
        with answer:
            data = answer.read(most)
        found = Digest.of(data, digest.algorithm)
        if found != digest:
            raise NetworkError(f"the registry sent a blob with the digest {found}", self.where)
        return data

    def referrers(self, digest: Digest, artifact_type: str) -> list[Descriptor]:
        """The manifests of type `artifact_type` that refer to `digest`, by the API or else by the tag instead of it."""
        path = f"{self.path('referrers', digest)}?artifactType={artifact_type}"
        found: list[Descriptor] = []
        for _ in range(_MAX_PAGES):
            with self.request("GET", path, headers={"accept": MEDIA_INDEX}) as answer:
                if answer.status == 404 and not found:
                    found = self._tagged_referrers(digest)
                    break
                self.expect(answer, 200)
                found += self.index(answer.read(MAX_MANIFEST)).manifests
                path = self._next(answer)
            if not path or len(found) > MAX_REFERRERS:
                break
        return [one for one in found if one.artifact_type == artifact_type][:MAX_REFERRERS]

    def _tagged_referrers(self, digest: Digest) -> list[Descriptor]:
        try:
            manifest = self.manifest(referrers_tag(digest))
            return list(self.index(manifest.data).manifests)
        except (ImageNotFound, NetworkError) as error:
            if isinstance(error, HttpStatus) and error.status not in (400, 404):
                raise
            # What is no index there means that there are none ("Listing Referrers").
            return []

    def index(self, data: bytes) -> Index:
        """Read an index that was sent. Raises NetworkError."""
        try:
            return Index.parse(data)
        except ManifestError as error:
            raise NetworkError(f"sent no index: {': '.join(filter(None, error.faults[0]))}", self.where) from None

    # -- requests ------------------------------------------------------------------------------

    def path(self, kind: str, name: str) -> str:
        """The path of a manifest, blob or list of referrers; all that goes into it has been parsed."""
        return f"/v2/{self.reference.repository}/{kind}/{name}"

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | BinaryIO | None = None,
    ) -> Response:
        """Send a request to a path, or to a URL that the registry gave, as whoever we are to this registry."""
        base = self._find_base()
        url = urljoin(base, path)
        # Upload URLs may lead to another host, for which nothing of ours is meant.
        ours = urlsplit(url)[:2] == urlsplit(base)[:2]
        fresh = False
        while True:
            sent = dict(headers or {})
            if ours and self._authorization:
                sent["authorization"] = self._authorization
            answer = self._client.request(method, url, headers=sent, body=body, credentials=NOBODY)
            self._note_warnings(answer)
            # After a redirect it is another host that asks, which has to do without.
            asked_by_us = ours and urlsplit(answer.url)[:2] == urlsplit(base)[:2]
            if answer.status != 401 or not asked_by_us or fresh:
                return answer
            with answer:
                fresh = "authorization" in sent
                self._authorization = self._tokens.answer(answer, self._find_login(), self._scopes, fresh)
            # A token of another request may have run out; one that is fresh and refused will not do.

    def expect(self, answer: Response, *statuses: int) -> None:
        """Raise HttpStatus, with what the registry says about it, unless the answer has one of the statuses."""
        if answer.status in statuses:
            return
        said = self._said(answer)
        hint = ""
        if answer.status in (401, 403):
            hint = "is the name right, and may these credentials do that? `podman login` keeps others"
        elif answer.wait and answer.status in (429, 503):
            hint = f"it asks to come back in {answer.wait:.0f} s"
        reason = f": {said}" if said else ""
        raise HttpStatus(answer.status, f"the registry answers {answer.status}{reason}", self.where, hint)

    def _find_base(self) -> str:
        """The URL of the registry: https, or http where that is allowed and nobody speaks TLS there."""
        with self._lock:
            if self._base:
                return self._base
            host = self.reference.host
            if "http" in self._client.settings.insecure:
                try:
                    self._client.request("GET", f"https://{host}/v2/", credentials=NOBODY).close()
                except NetworkError:
                    self._base = f"http://{host}"
                    return self._base
            self._base = f"https://{host}"
            return self._base

    def _find_login(self) -> Login | None:
        with self._lock:
            if not self._asked:
                self._login = self._logins.find(self.reference.registry, self.reference.repository)
                self._asked = True
            return self._login

    def _claimed(self, answer: Response) -> Digest | None:
        text = answer.headers.get("docker-content-digest", "")
        try:
            return Digest.parse(text) if text else None
        except InvalidValue:
            raise NetworkError("the registry names a digest that is none", shown(answer.url)) from None

    def _start(self, answer: Response, offset: int) -> int:
        unit, _, rest = answer.headers.get("content-range", "").partition(" ")
        start = rest.partition("-")[0]
        if unit != "bytes" or start != str(offset):
            raise NetworkError("the registry sends another part of a blob than was asked for", self.where)
        return offset

    def _next(self, answer: Response) -> str:
        """Where the next page is (RFC 5988): only ever in the same registry."""
        link = answer.headers.get("link", "")
        target, _, rest = link.partition(">")
        if not target.startswith("<") or 'rel="next"' not in rest.replace("rel=next", 'rel="next"'):
            return ""
        url = joined(answer.url, target[1:])
        if urlsplit(url)[:2] != urlsplit(answer.url)[:2]:
            raise NetworkError("continues a list at another host", shown(answer.url))
        return url

    def _missing(self, answer: Response, version: str) -> ImageNotFound:
        said = self._said(answer) if answer.status != 404 else ""
        where = f"docker://{self.reference.registry}/{self.reference.repository}"
        return ImageNotFound(f"has no image {version}{f' ({said})' if said else ''}", where)

    def _said(self, answer: Response) -> str:
        """What the errors of a response say, in one line."""
        try:
            errors = loads(answer.read(_MAX_ERROR))["errors"]
            pieces = [f"{one['code']}: {one.get('message') or ''}" for one in errors[:3]]
        except (NetworkError, ManifestError, KeyError, TypeError, IndexError):
            return ""
        line = "; ".join(piece.rstrip(": ") for piece in pieces)[:300]
        return "".join(c if c.isprintable() else " " for c in line)

    def _note_warnings(self, answer: Response) -> None:
        for one in answer.headers.get("warning", "")[:_MAX_WARNINGS].split("299 - ")[1:]:
            text = "".join(c if c.isprintable() else " " for c in one.strip(' ",'))
            if text and text not in self._warned:
                self._warned.add(text)
                self._warn(f"the registry says: {text}")
