"""`appc fetch`: bring images into the store."""

from __future__ import annotations

import os
import sys

from appc.cli.fetch_options import INSECURE_KEYS, OFFLINE, key_network, network_of, pull_option
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import Progress, out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import AppcError, UntrustedKey, UsageError
from appc.images import fetch
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.cli.context import Context
    from appc.store.images import StoredImage

VERB = Verb(
    "fetch",
    "bring images into the store and print their IDs",
    description=(
        "A name is looked up by discovery, or at the mirrors that the configuration names, and fetched with its "
        "signature, which a key has to have made that is trusted for the name (`appc trust`); the image at a URL is "
        "verified by the signature at URL.asc, a file by FILE.asc. It is read once, while it arrives, and nothing "
        "becomes visible before it is verified. What the image depends on is fetched as well. A download that was "
        "broken off is gone on with. A file that was imported before and has not changed is not read again.\n\n"
        "A bundle (`appc image export --bundle`) brings all its images, each verified by its own signature. OCI "
        "images, docker://REGISTRY/REPOSITORY[:TAG] and oci:DIR[:TAG] among them, are converted; their signatures "
        "stand beside their manifests (`appc image sign`), and docker archives, which have none, need "
        "--insecure image."
    ),
    options=(
        pull_option("update"),
        Option("--signature", metavar="FILE", complete="file", help="the detached signature, when it lies elsewhere"),
        INSECURE_KEYS,
        OFFLINE,
        *PASSPHRASE,
    ),
    operands=(
        Operand(
            "image",
            count="+",
            complete="image",
            help=(
                "a name, a URL, an image file, a bundle or an ID; docker://REGISTRY/REPOSITORY[:TAG|@DIGEST], "
                "oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]"
            ),
        ),
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    examples=(
        ("appc fetch example.com/app:1.0", "found by discovery"),
        ("appc fetch docker://registry.example.com/app:1.0", "an OCI image, signed where it is"),
        ("appc fetch app-1.0.aci", "verified with app-1.0.aci.asc"),
        ("appc fetch --insecure image https://example.com/app.aci", "whoever made it"),
        ("appc fetch --insecure image oci:layouts:1.0", "an image that skopeo or buildah wrote"),
    ),
)

# Images that are fetched at once.
AT_ONCE = 4


def run(args: Args, context: Context) -> int:
    """Fetch the images, several at once, and print their IDs; 1 when one could not be had."""
    if args.signature and len(args.image) > 1:
        raise UsageError("can be that of one image only", "--signature")
    fetching = _Fetching(args, context)
    if len(args.image) == 1:
        try:
            return fetching.alone(args.image[0])
        finally:
            fetching.close()
    from concurrent.futures import ThreadPoolExecutor

    status = 0
    with ThreadPoolExecutor(AT_ONCE, "appc-fetch") as pool:
        waiting = [(reference, pool.submit(fetching.one, reference)) for reference in args.image]
        try:
            for reference, image in waiting:
                try:
                    fetching.tell(reference, image.result)
                except AppcError as error:
                    context.error(error.what, error.where, error.hint)
                    status = max(status, error.exit_status)
        finally:
            for _, image in waiting:
                image.cancel()
            fetching.close()
    return status


class _Fetching:
    """The images of one command."""

    def __init__(self, args: Args, context: Context) -> None:
        from appc.cli.progress import LINES

        self._args = args
        self._context = context
        self._store = ImageStore(context.root)
        self._secret = passphrase(args, context)
        self._network = network_of(args, context)
        self._lines = LINES
        self._warnings: dict[str, list[str]] = {}
        # Read now: threads would each read it for themselves.
        self._keep = context.settings.images_keep_original

    def one(self, reference: str) -> StoredImage:
        """Bring one image into the store."""
        warnings = self._warnings[reference] = []
        alone = len(self._args.image) == 1
        with Progress(f"importing {reference}", _size(reference) if alone else None) as progress:
            return fetch.resolve(
                self._store,
                reference,
                config=self._context.config,
                pull=self._args.pull,
                insecure=self._args.insecure,
                signature=self._args.signature or "",
                keep=self._keep,
                progress=progress.advance if alone else None,
                passphrase=self._secret,
                warnings=warnings,
                network=self._network,
                started=self._lines.begin,
            )

    def alone(self, reference: str) -> int:
        """Bring in the only image that was asked for; where its key is not known yet, people may look at it."""
        try:
            return self.tell(reference, lambda: self.one(reference))
        except UntrustedKey as error:
            if not self._trusted_now(reference, error):
                raise
        return self.tell(reference, lambda: self.one(reference))

    def _trusted_now(self, reference: str, refusal: UntrustedKey) -> bool:
        from appc.cli import key_review

        if fetch.classify(reference) != "name" or not key_review.possible():
            return False
        from appc.images.keys import discovered_keys
        from appc.trust.keystore import Keystore
        from appc.trust.packets import read_certificates
        from appc.values import ImageReference

        self._context.error(refusal.what, refusal.where)
        name = str(ImageReference.parse(reference).name)
        if not key_review.asked(f"Look for the keys of {name}?"):
            return False
        keystore = Keystore(self._context.config)
        added = False
        for url, data in discovered_keys(key_network(self._args, self._context), name):
            for certificate in read_certificates(data, url):
                if key_review.confirmed(certificate, name, url):
                    keystore.add(certificate.data, name)
                    added = True
        return added

    def tell(self, reference: str, result: Callable[[], StoredImage]) -> int:
        """Print the ID of the image, and what there is to say about it."""
        try:
            image = result()
        finally:
            for warning in self._warnings.get(reference, ()):
                self._warn(warning, reference)
        for warning in image.meta["warnings"]:
            self._warn(warning, reference)
        if "image" in self._args.insecure and not image.signer:
            self._context.warn("was not verified (--insecure image)", reference)
        out(f"{image.id}\n")
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0

    def _warn(self, warning: str, reference: str) -> None:
        self._context.warn(warning, "" if warning.startswith((reference, "http")) else reference)

    def close(self) -> None:
        """Take the progress lines away, and say what was less than safe."""
        self._lines.close()
        for text in self._network().relaxed():
            self._context.warn(text)


def _size(reference: str) -> int | None:
    try:
        return os.stat(reference).st_size
    except OSError:
        return None
