"""`appc image sign`: make the detached signature of an image file."""

from __future__ import annotations

import os

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image sign",
    "make the detached signature of an image file",
    description=(
        "Writes FILE.asc, ASCII-armored OpenPGP over the file as it is; the two belong side by side. gpg signs, with a "
        "key of the user's keyring, and asks for the passphrase; with --key-file a secret key is read from a file."
    ),
    options=(
        Option("--key", metavar="KEY", help="which key of the gpg keyring (default: gpg's own choice)"),
        Option("--key-file", metavar="FILE", complete="file", help="a file that holds the secret key"),
        Option("--passphrase-file", metavar="FILE", complete="file", help="read the key's passphrase from this file"),
        Option("--output", metavar="FILE", complete="file", help="where to write the signature (default FILE.asc)"),
        Option("--overwrite", help="replace a signature that is there"),
    ),
    operands=(Operand("file", complete="file", help="the image file"),),
    exclusive=(("--key", "--key-file"),),
    examples=(("appc image sign --key release@example.com app.aci", "makes app.aci.asc"),),
)


def run(args: Args, context: Context) -> int:
    """Sign the file and print the name of the signature."""
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
