"""`appc image sign`: make the detached signature of an image file."""

from __future__ import annotations

import os

from appc.cli.fetch_options import TRANSPORT, network_of
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

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
    if args.file.startswith(("docker:", "oci:", "oci-archive:")):
        return _oci(args, context)
    from appc.trust.sign import sign_file

    target = args.output or f"{args.file}.asc"
    if os.path.exists(target) and not args.overwrite:
        raise UsageError("exists", target, "--overwrite replaces it")
    signature = sign_file(args.file, args.key or "", args.key_file or "", args.passphrase_file or "")
    temporary = f"{target}.{os.getpid()}.part"
    try:
        with open(temporary, "xb") as stream:
            stream.write(signature)
        os.rename(temporary, target)
    except OSError as error:
        raise HostError(f"cannot be written: {error.strerror}", target) from error
    out(f"{target}\n")
    return 0


def _oci(args: Args, context: Context) -> int:
    from appc.build.sign import sign_in_layout, sign_in_registry
    from appc.cli.image_convert import platform
    from appc.images.referrers import Key
    from appc.images.registry import Access

    for name in ("--output", "--overwrite"):
        if name in args.given:
            raise UsageError("has no meaning here: the signature is put beside the image", name)
    key = Key(args.key or "", args.key_file or "", args.passphrase_file or "")
    if not args.file.startswith("docker:"):
        out(f"{sign_in_layout(args.file, platform(None), key)}\n")
        return 0
    warnings: list[str] = []
    network = network_of(args, context)()
    out(f"{sign_in_registry(Access.through(network, warnings), args.file, key)}\n")
    for warning in dict.fromkeys((*warnings, *network.relaxed())):
        context.warn(warning, args.file)
    return 0
