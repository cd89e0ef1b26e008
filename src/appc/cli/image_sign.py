"""`appc image sign`: make the detached signature of an image file."""

from __future__ import annotations

from appc.cli.fetch_options import TRANSPORT, network_of
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.images.referrers import Key

VERB = Verb(
    "image sign",
    "make the detached signature of an image",
    description=(
        "Writes FILE.asc, ASCII-armored OpenPGP over the file as it is; the two belong side by side. gpg signs, with a "
        "key of the user's keyring, and asks for the passphrase; with --key-file a secret key is read from a file.\n\n"
        "FILE may be docker://REGISTRY/REPOSITORY[:TAG] or oci:DIR[:TAG]: then the manifest is signed, and the "
        "signature put beside it as an artifact that refers to it. It is found there by `appc fetch`, `run` and "
        "`image verify`, and covers everything that the manifest names."
    ),
    options=(
        Option("--key", metavar="KEY", help="which key of the gpg keyring (default: gpg's own choice)"),
        Option("--key-file", metavar="FILE", complete="file", help="a file that holds the secret key"),
        Option("--passphrase-file", metavar="FILE", complete="file", help="read the key's passphrase from this file"),
        Option("--output", metavar="FILE", complete="file", help="where to write the signature (default FILE.asc)"),
        Option("--overwrite", help="replace a signature that is there"),
        TRANSPORT,
    ),
    operands=(Operand("file", complete="file", help="the image file, or docker:// or oci:"),),
    exclusive=(("--key", "--key-file"),),
    examples=(
        ("appc image sign --key release@example.com app.aci", "makes app.aci.asc"),
        ("appc image sign docker://registry.example.com/app:1.0", "signs it where it is"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Sign the file and print the name of the signature, or its digest in a registry or layout."""
    from appc.build.sign import sign_beside
    from appc.images.referrers import Key

    key = Key(args.key or "", args.key_file or "", args.passphrase_file or "")
    if args.file.startswith(("docker:", "oci:", "oci-archive:")):
        return _oci(args, key, context)
    out(f"{sign_beside(args.file, key, args.output or '', args.overwrite)}\n")
    return 0


def _oci(args: Args, key: Key, context: Context) -> int:
    from appc.build.sign import sign_in_layout, sign_in_registry
    from appc.cli.image_convert import platform
    from appc.images.registry import Access

    for name in ("--output", "--overwrite"):
        if name in args.given:
            raise UsageError("has no meaning here: the signature is put beside the image", name)
    if not args.file.startswith("docker:"):
        out(f"{sign_in_layout(args.file, platform(None), key)}\n")
        return 0
    warnings: list[str] = []
    network = network_of(args, context)()
    out(f"{sign_in_registry(Access.through(network, warnings), args.file, key)}\n")
    for warning in dict.fromkeys((*warnings, *network.relaxed())):
        context.warn(warning, args.file)
    return 0
