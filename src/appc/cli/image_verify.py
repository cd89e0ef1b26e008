"""`appc image verify`: check an image file against its signature."""

from __future__ import annotations

from appc.cli.fetch_options import TRANSPORT, network_of
from appc.cli.options import FORMAT, Args, Operand, Option, Verb
from appc.cli.output import record
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image verify",
    "check an image file against its signature",
    description=(
        "Does what `appc fetch` does before it stores an image: the signature has to hold for the file, and a key that "
        "is trusted for the name in its manifest has to have made it. Nothing is stored.\n\n"
        "Of docker://REGISTRY/REPOSITORY[:TAG] and oci:DIR[:TAG] the manifest is verified, by the signatures beside it."
    ),
    options=(
        FORMAT,
        Option("--signature", metavar="FILE", complete="file", help="the detached signature, when it is not FILE.asc"),
        TRANSPORT,
        *PASSPHRASE,
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(Operand("file", complete="file", help="the image file, or docker:// or oci:"),),
)


def run(args: Args, context: Context) -> int:
    """Print what the image is and who signed it."""
    from appc.images.verify import verify, verify_oci

    if args.file.startswith(("docker:", "oci:", "oci-archive:")):
        from appc.cli.image_convert import platform
        from appc.images.registry import Access
        from appc.store.images import ImageStore

        warnings: list[str] = []
        network = network_of(args, context)
        found = verify_oci(
            ImageStore(context.root),
            args.file,
            context.config,
            platform(None),
            lambda: Access.through(network(), warnings),
        )
        for warning in dict.fromkeys((*warnings, *network().relaxed())):
            context.warn(warning, args.file)
        record(context, {"name": found.name, "digest": found.image_id, "signer": found.signer})
        return 0
    found = verify(args.file, context.config, args.signature or "", passphrase(args, context))
    record(context, {"name": found.name, "id": found.image_id, "signer": found.signer})
    return 0
