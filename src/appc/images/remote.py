"""Images from elsewhere: verified by signature and manifest while they arrive, and in the store when they are here."""

from __future__ import annotations

import time
from functools import partial

from appc.errors import (
    AppcError,
    ArchiveError,
    ImageMismatch,
    ImageNotFound,
    ManifestError,
    NetworkError,
    SignatureError,
    StoreError,
    UsageError,
)
from appc.images.arrival import Arrival, Changed
from appc.images.expected import Expected
from appc.images.fetch import REGISTRY, host_labels
from appc.images.places import Place, places, signature_url
from appc.images.transport import Context, transport_for
from appc.net.urls import scheme_of, shown
from appc.store import downloads
from appc.trust.check import SignatureCheck
from appc.trust.keystore import Keystore, read_file
from appc.trust.packets import MAX_SIGNATURE
from appc.values import ImageID, ImageReference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.images.fetch import Wish
    from appc.images.network import Network
    from appc.images.transport import Download
    from appc.store.images import ImageStore, StoredImage, Verifier

# What another place may do better; UsageError is what the client says of a URL that is not allowed.
_OTHERWHERE = (
    ArchiveError,
    ImageMismatch,
    ImageNotFound,
    ManifestError,
    NetworkError,
    SignatureError,
    UsageError,
)


class Remote:
    """Fetches images into `store` as `wish` says, over `network`."""

    def __init__(self, store: ImageStore, network: Network, wish: Wish) -> None:
        self._store = store
        self._network = network
        self._wish = wish
        self._verify = "image" not in wish.insecure

    def by_name(self, wanted: ImageReference, *, size: int = 0, image_id: str = "") -> StoredImage:
        """Return the image that is found under a name, trying one place after the other.

        `size` and `image_id`, when given, have to be its own. Places that failed, other than by not having it, become
        warnings. Raises ImageNotFound when no place has it; otherwise, when all fail, what the first of them failed by.
        """
        defaults = host_labels()
        expected = Expected(wanted.name, wanted.labels, defaults, size)
        skipped: list[AppcError] = []
        failed: list[AppcError] = []
        tried = 0
        try:
            for place in places(self._network, wanted, defaults, skipped=skipped.append):
                tried += 1
                try:
                    image = self.by_place(place, expected, str(wanted), image_id)
                except ImageNotFound as error:
                    missing = error
                except _OTHERWHERE as error:
                    failed.append(error)
                else:
                    self._wish.warnings += map(str, failed)
                    return image
        except (NetworkError, ImageNotFound) as ended:
            failed.append(ended)
        # What discovery says counts when there was nothing else; a place that was passed over, when no place was left.
        reasons = failed or ([] if tried else skipped)
        if reasons:
            self._wish.warnings += map(str, reasons[1:])
            raise reasons[0]
        if tried == 1:
            raise missing
        raise ImageNotFound(f"none of the {tried} places that may have it does", str(wanted), str(missing))

    def by_url(self, url: str) -> StoredImage:
        """Return the image at a URL, whatever it is called; its signature is expected beside it."""
        try:
            scheme_of(url)
        except NetworkError as error:
            raise UsageError(error.what, error.where) from None
        return self.by_place(Place(url, signature_url(url)), Expected(), shown(url))

    def by_place(self, place: Place, expected: Expected, label: str, image_id: str = "") -> StoredImage:
        """Return the image at `place` if it is as `expected`; nothing becomes visible else.

        `label` is what progress is shown under. Raises AppcError of many kinds.
        """
        if place.aci.startswith(REGISTRY):
            from appc.images.registry_place import fetch_place

            return fetch_place(self._store, self._network, self._wish, place, expected, label, image_id)
        known, record = self._known(place.aci, expected, image_id)
        if known is not None and self._still_fresh(record):
            return known
        if self._network.offline and not place.aci.startswith("file:"):
            what = "was not fetched before, and the network is not to be used (--offline)"
            raise ImageNotFound(what, shown(place.aci))
        transport = transport_for(place.aci)
        first: Download | None = None
        if known is not None:
            first = transport.open(place.aci, Context(self._network, known=record))
            if first.unchanged:
                self._remember(place.aci, known, record, first.fresh)
                return known
        try:
            signature, late = self._signature(place) if self._verify else (b"", False)
            if self._verify and not late:
                # No trusted key: nothing has to be read to know that.
                self._verifier(signature, place, expected).close()
            with downloads.download(self._store.root, place.aci) as held:
                again, _ = self._known(place.aci, expected, image_id)
                if again is not None and known is None:
                    return again  # somebody else fetched it while we waited
                return self._arrive(place, expected, label, image_id, held, signature if not late else None, first)
        finally:
            if first is not None:
                first.close()

    # ------------------------------------------------------------------------------------------

    def _arrive(
        self,
        place: Place,
        expected: Expected,
        label: str,
        image_id: str,
        held: downloads.Download,
        signature: bytes | None,
        first: Download | None,
    ) -> StoredImage:
        transport = transport_for(place.aci)
        started = partial(self._wish.started, label) if self._wish.started is not None else None
        where = shown(place.aci)
        for attempt in (1, 2):
            try:
                with Arrival(
                    transport, place.aci, self._network, held, first=first, limit=expected.limit, started=started
                ) as arrival:
                    if signature is None:
                        arrival.read_all()
                        signature = self._late_signature(place)
                    image = self._store.import_stream(
                        arrival,
                        where=where,
                        verifier=partial(self._verifier, signature, place, expected) if self._verify else None,
                        admit=partial(expected.admit, where),
                        expected_id=image_id,
                        keep=self._wish.keep,
                        copy=held.path,
                        unlock=lambda source: self._wish.unlocked(source, where),
                    )
                    self._remember(place.aci, image, arrival.validators, arrival.fresh)
                break
            except Changed:
                if attempt == 2:
                    raise
                first = None
            except (ArchiveError, ManifestError, SignatureError, ImageMismatch, StoreError):
                # Going on with these bytes would end in the same way.
                held.forget()
                raise
        held.forget()
        return image

    def _known(self, url: str, expected: Expected, image_id: str) -> tuple[StoredImage | None, dict[str, str]]:
        """The image in the store that came from `url`, if it would still be taken, and what is known of its source."""
        record = downloads.recall(self._store.root, url)
        if not record:
            return None, {}
        image = self._store.lookup(ImageID.parse(record["image"]))
        if image is None or image_id not in ("", image.id) or not expected.fits(image.name, image.labels):
            return None, {}
        if self._verify and not self._wish.trusted(image):
            return None, {}
        return image, record

    def _still_fresh(self, record: dict[str, str]) -> bool:
        if self._wish.pull == "new" or self._network.offline:
            return True
        until = record.get("fresh", "0")
        return until.isdecimal() and time.time() < int(until[:12])

    def _remember(self, url: str, image: StoredImage, validators: dict[str, str], fresh: int) -> None:
        about = {key: value for key, value in validators.items() if key in ("etag", "modified", "settled")}
        if fresh:
            about["fresh"] = str(int(time.time()) + fresh)
        downloads.remember(self._store.root, url, image.id, about)

    def _verifier(self, signature: bytes, place: Place, expected: Expected) -> Verifier:
        return SignatureCheck(Keystore(self._wish.config), signature, shown(place.aci), expected.name)

    def _signature(self, place: Place) -> tuple[bytes, bool]:
        """The signature, or b"" and True when the server is still to make it."""
        if self._wish.signature:
            try:
                return read_file(self._wish.signature, MAX_SIGNATURE), False
            except FileNotFoundError:
                raise SignatureError(f"there is no {self._wish.signature}", shown(place.aci)) from None
        try:
            with transport_for(place.asc).open(place.asc, Context(self._network)) as download:
                if download.pending:
                    return b"", True
                return self._read_all(download, place.asc), False
        except ImageNotFound as error:
            # Where the image is not there either, that is the news.
            self._probe(place)
            hint = "--insecure image accepts it unverified"
            raise SignatureError(f"is not signed: {error.where}: {error.what}", shown(place.aci), hint) from None

    def _late_signature(self, place: Place) -> bytes:
        signature, late = self._signature(place)
        if late:
            raise NetworkError("its signature is not ready yet: the server answers 202", place.asc, "try again later")
        return signature

    def _probe(self, place: Place) -> None:
        """Raise ImageNotFound unless there is an image at `place`."""
        transport_for(place.aci).open(place.aci, Context(self._network)).close()

    @staticmethod
    def _read_all(download: Download, url: str) -> bytes:
        pieces, size = [], 0
        while data := download.stream.read(MAX_SIGNATURE + 1):
            pieces.append(data)
            size += len(data)
            if size > MAX_SIGNATURE:
                raise SignatureError(f"is larger than {MAX_SIGNATURE} bytes, which no signature is", shown(url))
        return b"".join(pieces)
