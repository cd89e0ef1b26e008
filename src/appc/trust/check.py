"""Deciding whether an image's signature makes it acceptable, and saying why not.

The decision comes in two parts. Before the image is read the signature must be one that a trusted key made, by what
it says of itself. When it has been read the signature must hold for its bytes, and the key must be trusted for the name
that the manifest in it gives.
"""

from __future__ import annotations

from appc.errors import SignatureError, UntrustedKey
from appc.trust import engines
from appc.trust.packets import Signature, read_signatures
from appc.trust.policy import certificate_fault, signature_fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.trust.keystore import Keystore, TrustedKey


class SignatureCheck:
    """The check of one image file, called `where` in messages, against its detached signature.

    `name` is the image's name where it is known beforehand; where it is not, `claimed_name` is asked for it, but only
    to word a refusal; so is `offered`, for the words by which `appc trust add` finds the key that made a signature, ""
    where that did not come along. Making one raises SignatureError when no trusted key can have made the signature.
    Bytes go to `feed`; `finish` decides; `close` must be called in the end.
    """

    def __init__(
        self,
        keystore: Keystore,
        signature: bytes,
        where: str,
        name: str = "",
        claimed_name: Callable[[], str] = str,
        offered: Callable[[Signature], str] = lambda claim: "",
    ) -> None:
        self.signature = signature
        self._claimed_name = claimed_name
        self._offered = offered
        self._keystore = keystore
        self._where = where
        try:
            claims = read_signatures(signature)
        except SignatureError as error:
            raise SignatureError(f"its signature {error.what}", where, error.hint) from None
        self._claim, self._key = self._choose(claims, name)
        try:
            self._engine = engines.start(self._claim, self._key.certificate)
        except SignatureError as error:
            raise SignatureError(f"its signature: {error.what}", where, error.hint) from None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the image file."""
        self._engine.feed(data)

    def finish(self, name: str) -> str:
        """Return the signer's fingerprint if the signature holds and its key may sign the image `name`.

        Raises SignatureError.
        """
        try:
            self._engine.finish()
        except SignatureError as error:
            raise SignatureError(
                error.what,
                self._where,
                f"it claims to be made by key {self._key.certificate.label}; fetch the image and its signature again",
            ) from None
        self.admit(name)
        return self._key.fingerprint

    def admit(self, name: str) -> None:
        """Raise SignatureError when the key that the signature names may not sign the image `name`."""
        if not any(key.fingerprint == self._key.fingerprint for key in self._keystore.trusted(name)):
            raise self._untrusted(self._claim, name, self._key)

    def close(self) -> None:
        """Let go of everything."""
        self._engine.close()

    def _choose(self, claims: list[Signature], name: str) -> tuple[Signature, TrustedKey]:
        """The first signature that is worth verifying, and the key that should have made it."""
        keys = self._keystore.keys()
        refusal: SignatureError | None = None
        for claim in claims:
            for key in sorted(keys, key=lambda key: not (name and key.covers(name))):
                made_by = key.certificate.made(claim)
                if made_by is None:
                    continue
                if name and not key.covers(name):
                    refusal = refusal or self._untrusted(claim, name, key)
                    continue
                fault = certificate_fault(key.certificate, made_by) or signature_fault(claim)
                if not fault:
                    return claim, key
                refusal = SignatureError(
                    f"signed by key {key.certificate.label}: {fault}",
                    self._where,
                    "sign it again with a good key, or accept it unverified with --insecure image",
                )
        raise refusal or self._untrusted(claims[0], name, None)

    def _untrusted(self, claim: Signature, name: str, key: TrustedKey | None) -> SignatureError:
        """The refusal of a key that is not trusted, or not for this name: who, who else would do, and the command."""
        name = name or self._claimed_name()
        signer = key.certificate.label if key else claim.shown_issuer or "(the signature does not say which)"
        if not key and claim.user_id:
            signer += f" (says it is {claim.user_id})"
        purpose = f" for {name}" if name else ""
        what = f"signed by key {signer}, which is not trusted{purpose}"
        if key:
            what += f", only for {key.prefix}"
        return UntrustedKey(what, self._where, f"{self._accepted(name)}; {self._command(claim, name, key)}")

    def _accepted(self, name: str) -> str:
        keys = self._keystore.trusted(name)
        purpose = f" for {name}" if name else ""
        if not keys:
            return f"no key is trusted{purpose} yet"
        shown = [
            f"{key.certificate.label}{'' if name else ' for ' + (key.prefix or 'every image')}" for key in keys[:5]
        ]
        more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
        return f"accepted{purpose}: {', '.join(shown)}{more}"

    def _command(self, claim: Signature, name: str, key: TrustedKey | None) -> str:
        prefix = name or "NAME"
        if key:
            return f"to accept this one too: appc trust add --prefix {prefix} {key.path}"
        offered = self._offered(claim)
        if offered:
            return f"its key came along; if you know that it is theirs: appc trust add --prefix {prefix} {offered}"
        known = claim.issuer or claim.issuer_id
        export = f" (from gpg: gpg --export --armor {known.upper()} > KEYFILE)" if known else ""
        found = "; without KEYFILE the keys are looked for by discovery" if name else ""
        return f"to trust it, with its public key in KEYFILE: appc trust add --prefix {prefix} KEYFILE{export}{found}"
