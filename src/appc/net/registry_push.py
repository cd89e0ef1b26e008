"""Bringing blobs and manifests into a repository (distribution-spec 1.1, "Push").

A blob that is there is not sent again, one of another repository of the registry is mounted from there if the registry
can do that. Small blobs go in one piece and large ones in chunks, which go on where the registry says they ended.
"""

from __future__ import annotations

from io import BytesIO
from urllib.parse import quote

from appc.errors import AppcError, ArchiveError, HttpStatus, ImageNotFound, NetworkError
from appc.net.urls import joined
from appc.schema.json import dumps
from appc.schema.oci_image import MEDIA_INDEX
from appc.schema.registry import referrers_tag
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from appc.formats.compress import Source
    from appc.net.http import Response
    from appc.net.registry import Registry

    class Opened(Protocol):
        """A stream of bytes to be sent."""

        def read(self, size: int, /) -> bytes: ...
        def __enter__(self) -> Source: ...
        def __exit__(self, *_: Any) -> object: ...

    # Opens what is to be sent, from its beginning.
    Open = Callable[[], Opened]

CHUNK = 16 << 20
_MOST_CHUNK = 256 << 20
_ATTEMPTS = 4  # of sending one chunk
_BINARY = "application/octet-stream"
_RACES = 3  # of updating a list that somebody else may be updating


class Pusher:
    """Writes to the repository of `registry`, which was opened for push. Several threads may use one."""

    def __init__(self, registry: Registry, progress: Callable[[int], None] | None = None) -> None:
        self.registry = registry
        self._progress = progress

    # -- blobs ---------------------------------------------------------------------------------

    def blob(self, digest: Digest, size: int, open_blob: Open, mount: Sequence[str] = ()) -> str:
        """Make sure that a blob is there; return how: "exists", "mounted" or "sent".

        `mount` are repositories of the same registry that may have it. Raises NetworkError.
        """
        with self.registry.request("HEAD", self.registry.path("blobs", digest)) as answer:
            if answer.status == 200:
                return "exists"
            if answer.status != 404:
                self.registry.expect(answer, 404)
        start = f"{self.registry.path('blobs', 'uploads')}/"
        for name in mount:
            with self.registry.request("POST", f"{start}?mount={digest}&from={quote(name, safe='')}") as answer:
                if answer.status == 201:
                    return "mounted"
                if answer.status == 202:
                    self._cancel(self._location(answer))
        algorithm = "" if digest.algorithm == "sha256" else f"?digest-algorithm={digest.algorithm}"
        with self.registry.request("POST", f"{start}{algorithm}", headers={"content-length": "0"}) as answer:
            self.registry.expect(answer, 202)
            location = self._location(answer)
            least = _number(answer.headers.get("oci-chunk-min-length", ""))
        upload = _Upload(self, location, digest, size, max(CHUNK, min(least, _MOST_CHUNK)))
        try:
            with open_blob() as blob:
                upload.send(blob)
        except BaseException:
            self._cancel(upload.location)
            raise
        return "sent"

    def small(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Make sure that a blob of these bytes is there; return its descriptor."""
        digest = Digest.of(data)
        self.blob(digest, len(data), lambda: BytesIO(data))
        return {"mediaType": media_type, "digest": str(digest), "size": len(data)}

    def sent(self, count: int) -> None:
        """Tell who watches that so many bytes went out."""
        if self._progress is not None:
            self._progress(count)

    # -- manifests -----------------------------------------------------------------------------

    def manifest(self, data: bytes, media_type: str, version: str) -> bool:
        """Put a manifest under a tag or its digest; whether the registry took notice of its `subject`."""
        path = self.registry.path("manifests", version)
        with self.registry.request("PUT", path, headers={"content-type": media_type}, body=data) as answer:
            self.registry.expect(answer, 201, 200)
            claimed = answer.headers.get("docker-content-digest", "")
            found = Digest.of(data)
            if claimed.startswith("sha256:") and claimed != found:
                raise NetworkError(f"the registry stored {claimed} instead of {found}", self.registry.where)
            return "oci-subject" in answer.headers

    def refer(self, data: bytes, entry: dict[str, Any], subject: Digest) -> None:
        """Put an artifact about `subject`; `entry` is its descriptor, for the list where a registry keeps none."""
        if not self.manifest(data, entry["mediaType"], entry["digest"]):
            self._list(entry, subject)

    def _list(self, entry: dict[str, Any], subject: Digest) -> None:
        """Add to the index that stands in for the referrers API ("Pushing Manifests with Subject")."""
        tag = referrers_tag(subject)
        for _ in range(_RACES):
            try:
                there = self.registry.index(self.registry.manifest(tag).data).to_dict()["manifests"]
            except ImageNotFound:
                there = []
            if not any(one["digest"] == entry["digest"] for one in there):
                there = [*there, entry]
                index = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": there}
                self.manifest(dumps(index).encode(), MEDIA_INDEX, tag)
            # Somebody may have replaced it at the same time.
            now = self.registry.index(self.registry.manifest(tag).data).manifests
            if any(one.digest == entry["digest"] for one in now):
                return
        raise NetworkError("somebody else keeps changing the list of signatures", self.registry.where)

    # ------------------------------------------------------------------------------------------

    def _location(self, answer: Response) -> str:
        location = answer.headers.get("location", "")
        if not location:
            raise NetworkError("the registry does not say where to upload to", self.registry.where)
        return joined(answer.url, location)

    def _cancel(self, location: str) -> None:
        try:
            self.registry.request("DELETE", location, headers={"content-length": "0"}).close()
        except AppcError:
            pass  # it is for the registry's sake; what went wrong before matters more


class _Upload:
    """One blob on its way, to `location`, which every answer may change."""

    def __init__(self, pusher: Pusher, location: str, digest: Digest, size: int, chunk: int) -> None:
        self._pusher = pusher
        self._registry = pusher.registry
        self.location = location
        self._digest = digest
        self._size = size
        self._chunk = chunk
        self._where = f"blob {digest[:19]}"

    def send(self, blob: Source) -> None:
        first = self._read(blob, self._chunk)
        if len(first) == self._size:
            self._complete(first)
            self._pusher.sent(len(first))
            return
        at, data = 0, first
        while data:
            self._patch(data, at)
            self._pusher.sent(len(data))
            at += len(data)
            data = self._read(blob, self._chunk)
        if at != self._size:
            raise ArchiveError(f"has {at} bytes instead of {self._size}", self._where)
        self._complete(b"")

    def _read(self, blob: Source, size: int) -> bytes:
        pieces = []
        while size and (data := blob.read(min(size, 1 << 20))):
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)

    def _patch(self, data: bytes, at: int) -> None:
        """Send one chunk, whose first byte is the blob's byte `at`."""
        done = 0
        for attempt in range(1, _ATTEMPTS + 1):
            rest = data[done:]
            headers = {
                "content-type": _BINARY,
                "content-range": f"{at + done}-{at + len(data) - 1}",
                "content-length": str(len(rest)),
            }
            try:
                with self._registry.request("PATCH", self.location, headers=headers, body=rest) as answer:
                    if answer.status in (202, 201, 204):
                        self._move(answer)
                        return
                    if answer.status != 416 and answer.status < 500:
                        self._registry.expect(answer, 202)
                    failure: NetworkError = HttpStatus(
                        answer.status, f"the registry answers {answer.status} to a part of {self._where}"
                    )
            except NetworkError as error:
                if isinstance(error, HttpStatus):
                    raise
                failure = error
            if attempt == _ATTEMPTS:
                raise failure
            done = self._resume(at, len(data), failure)
            if done == len(data):
                return

    def _resume(self, at: int, size: int, failure: NetworkError) -> int:
        """How much of the chunk is there, as the registry says."""
        with self._registry.request("GET", self.location) as answer:
            if answer.status not in (204, 200, 202):
                raise failure
            there = answer.headers.get("range", "").removeprefix("bytes=").partition("-")[2]
            self._move(answer)
        # An upload of which nothing has arrived is said to have 0-0 by some and nothing by others.
        end = _number(there) + 1 if there and not (there == "0" and at == 0) else 0
        if not at <= end <= at + size:
            raise failure
        return end - at

    def _complete(self, data: bytes) -> None:
        joint = "&" if "?" in self.location else "?"
        url = f"{self.location}{joint}digest={quote(self._digest, safe=':')}"
        headers = {"content-type": _BINARY, "content-length": str(len(data))}
        with self._registry.request("PUT", url, headers=headers, body=data) as answer:
            self._registry.expect(answer, 201, 204)

    def _move(self, answer: Response) -> None:
        if answer.headers.get("location"):
            self.location = self._pusher._location(answer)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
