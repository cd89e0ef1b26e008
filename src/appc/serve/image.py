"""One image file as it is served: read once, whole, and known from then on."""

from __future__ import annotations

import hashlib
import os

from appc.errors import AppcError, ManifestError, SignatureError
from appc.formats.aci import read_aci
from appc.schema.image import ImageManifest
from appc.serve.files import SIGNATURE_SUFFIX, Content, Unservable, Unsettled, identity
from appc.serve.templates import LATEST, place
from appc.trust import engines
from appc.trust.packets import MAX_SIGNATURE, read_signatures
from appc.trust.policy import certificate_fault, signature_fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appc.serve.files import Directory, Identity
    from appc.trust.engines import Engine
    from appc.trust.packets import Certificate, Signature
    from appc.values import ImageID, Labels

_CHUNK = 1 << 20


class Signer:
    """Who signed an image. `verified`: the key is hosted too, and the signature holds for the file.

    `fault` says why clients will refuse it all the same (an expired key …), "" when nothing speaks against it.
    """

    __slots__ = ("fault", "fingerprint", "user_id", "verified")

    def __init__(self, fingerprint: str, user_id: str, verified: bool, fault: str = "") -> None:
        self.fingerprint = fingerprint
        self.user_id = user_id
        self.verified = verified
        self.fault = fault


class ServedImage:
    """An image file that can be served. `path` is relative to the directory, `modified` in seconds since the epoch.

    `size` is the file's in bytes, `content_size` the uncompressed archive's, `sha256` of the file, in hexadecimal.
    """

    __slots__ = (
        "compression",
        "content_size",
        "identity",
        "image_id",
        "manifest",
        "manifest_bytes",
        "path",
        "sha256",
        "signature",
        "signers",
    )

    def __init__(
        self,
        path: str,
        file: Identity,
        manifest_bytes: bytes,
        image_id: ImageID,
        content_size: int,
        compression: str,
        sha256: str,
        signature: Identity | None = None,
        signers: Sequence[Signer] = (),
    ) -> None:
        """Raises ManifestError."""
        self.path = path
        self.identity = file
        self.manifest_bytes = manifest_bytes
        self.manifest = ImageManifest.parse(manifest_bytes)
        self.image_id = image_id
        self.content_size = content_size
        self.compression = compression
        self.sha256 = sha256
        self.signature = signature
        self.signers = tuple(signers)

    @property
    def name(self) -> str:
        """What the image is called."""
        return self.manifest.name

    @property
    def labels(self) -> Labels:
        """Its labels."""
        return self.manifest.labels

    @property
    def version(self) -> str:
        """Its version, "" when it has none."""
        return self.labels.get("version") or ""

    @property
    def place(self) -> str:
        """What its own template renders to, without the extension."""
        return place(self.name, self.version or LATEST, self.labels)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.identity[2]

    @property
    def modified(self) -> float:
        """When the file was changed last."""
        return self.identity[3] / 1e9

    @property
    def tag(self) -> str:
        """The entity tag: the image ID, and what tells the same image compressed in another way apart."""
        return f'"{self.image_id}.{self.sha256[:16]}"'


def read_image(
    directory: Directory, path: str, signature: Identity | None, certificates: Sequence[Certificate]
) -> ServedImage:
    """Read an image file to its end and judge it, its manifest and, if its key is among `certificates`, its signature.

    Raises Unservable.
    """
    fd = directory.open(path)
    with os.fdopen(fd, "rb", buffering=0) as file:
        before = identity(os.fstat(fd))
        checks = _checks(directory, path, certificates) if signature is not None else []
        try:
            source = _Tee(Content(directory, file).read, checks)
            try:
                found = read_aci(source)
                image = ServedImage(
                    path,
                    before,
                    found.manifest_bytes,
                    found.image_id,
                    found.size,
                    found.compression,
                    source.finish(),
                    signature,
                )
            except ManifestError as error:
                field, fault = error.faults[0]
                raise Unservable(f"its manifest: {field}{': ' if field else ''}{fault}") from None
            except AppcError as error:
                raise Unservable(str(error).replace("\n", "; ")) from None
            except OSError as error:
                raise Unsettled(f"cannot be read: {error.strerror}") from None
            image.signers = tuple(check.finish() for check in checks)
        finally:
            for check in checks:
                check.close()
        if identity(os.fstat(fd)) != before:
            raise Unsettled("was changed while it was read")
        return image


class _Tee:
    """A file whose bytes are hashed, and seen by those who check signatures, as they are read."""

    def __init__(self, read: Callable[[int], bytes], checks: list[_Check]) -> None:
        self._read = read
        self._checks = checks
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        data = self._read(size)
        self._hash.update(data)
        for check in self._checks:
            check.feed(data)
        return data

    def finish(self) -> str:
        """Read what is left; return the hash of everything."""
        while self.read(_CHUNK):
            pass
        return self._hash.hexdigest()


class _Check:
    """One signature on the way to being verified, as far as its key is at hand."""

    def __init__(self, claim: Signature, certificate: Certificate | None) -> None:
        self._claim = claim
        self._certificate = certificate
        self._engine: Engine | None = None
        if certificate is not None:
            try:
                self._engine = engines.start(claim, certificate)
            except SignatureError:
                # Nothing on this host can verify signatures, which is not the image's fault.
                pass

    def feed(self, data: bytes) -> None:
        if self._engine is not None:
            self._engine.feed(data)

    def finish(self) -> Signer:
        """Raises Unservable when the signature does not hold."""
        claim, certificate = self._claim, self._certificate
        if self._engine is None or certificate is None:
            return Signer(claim.shown_issuer, claim.user_id, False)
        try:
            self._engine.finish()
        except SignatureError as error:
            raise Unservable(error.what) from None
        user_id = certificate.user_ids[0] if certificate.user_ids else ""
        fault = certificate_fault(certificate, certificate.made(claim)) or signature_fault(claim)
        return Signer(certificate.fingerprint, user_id, True, fault)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


def _checks(directory: Directory, path: str, certificates: Sequence[Certificate]) -> list[_Check]:
    try:
        claims = read_signatures(read_small(directory, path + SIGNATURE_SUFFIX, MAX_SIGNATURE))
        return [_Check(claim, next((one for one in certificates if one.made(claim)), None)) for claim in claims]
    except SignatureError as error:
        raise Unservable(f"its signature {error.what}") from None


def read_small(directory: Directory, path: str, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes. Raises Unservable."""
    fd = directory.open(path)
    try:
        with os.fdopen(fd, "rb", buffering=0) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Unservable(f"cannot be read: {error.strerror}") from None
    if data is None or len(data) > limit:
        raise Unservable(f"is larger than {limit} bytes")
    return data
