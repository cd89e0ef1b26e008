"""`appc fetch`: bring images into the store."""

from __future__ import annotations

import os

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import Progress, out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.cli.pod_options import INSECURE
from appc.errors import AppcError
from appc.images import fetch
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "fetch",
    "bring images into the store and print their IDs",
    description=(
        "A file is verified against the signature beside it, FILE.asc, which a key has to have made that is trusted "
        "for the image's name (`appc trust`). It is read once, and nothing becomes visible before it is verified. A "
        "file that was imported before and has not changed is not read again. A name or an ID has to be in the "
        "store.\n\n"
        "A bundle (`appc image export --bundle`) brings all its images, each verified by its own signature. OCI "
        "layouts and docker archives are converted; they carry no signature, and so need --insecure image."
    ),
    options=(
        Option("--pull", choices=("new", "update", "never"), default="new", help="never: only what is in the store"),
        Option("--signature", metavar="FILE", complete="file", help="the detached signature, when it is not FILE.asc"),
        INSECURE,
        *PASSPHRASE,
    ),
    operands=(
        Operand(
            "image",
            count="+",
            complete="image",
            help=(
                "an image file, a bundle, a name or an ID; oci:DIR[:TAG], oci-archive:FILE[:TAG] or "
                "docker-archive:FILE[:NAME:TAG]"
            ),
        ),
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    examples=(
        ("appc fetch app-1.0.aci", "verified with app-1.0.aci.asc"),
        ("appc fetch --insecure image app.aci", "whoever made it"),
        ("appc fetch --insecure image oci:layouts:1.0", "an image that skopeo or buildah wrote"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Fetch each image and print its ID; 1 when one could not be had."""
    store = ImageStore(context.root)
    secret = passphrase(args, context)
    status = 0
    for reference in args.image:
        warnings: list[str] = []
        try:
            with Progress(f"importing {reference}", _size(reference)) as progress:
                image = fetch.resolve(
                    store,
                    reference,
                    config=context.config,
                    pull=args.pull,
                    insecure=args.insecure,
                    signature=args.signature or "",
                    keep=context.settings.images_keep_original,
                    progress=progress.advance,
                    passphrase=secret,
                    warnings=warnings,
                )
        except AppcError as error:
            if len(args.image) == 1:
                raise
            context.error(error.what, error.where, error.hint)
            status = max(status, error.exit_status)
            continue
        for warning in (*warnings, *image.meta["warnings"]):
            context.warn(warning, "" if warning.startswith(reference) else reference)
        if "image" in args.insecure and not image.signer:
            context.warn("was not verified (--insecure image)", reference)
        out(f"{image.id}\n")
    return status


def _size(reference: str) -> int | None:
    try:
        return os.stat(reference).st_size
    except OSError:
        return None
