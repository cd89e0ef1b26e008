"""`appc image encrypt`: encrypt an image file with a passphrase."""

from __future__ import annotations

import os

from appc.cli.image_file import open_image
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

TARGET = (
    Option("--replace", help="put the new file in the place of the old one"),
    Option("--overwrite", help="replace OUT if it exists"),
)
OPERANDS = (
    Operand("file", complete="file", help="the image file"),
    Operand("out", "OUT.aci", count="?", complete="file", help="the file to make"),
)

VERB = Verb(
    "image encrypt",
    "encrypt an image file with a passphrase",
    description=(
        "Writes OUT, or with --replace FILE itself, as OpenPGP encrypts with a passphrase (AES-256, changes detected); "
        "`gpg --decrypt` reads it. Fetching, running and verifying it asks for the passphrase; its image ID stays the "
        "same. A signature covers the file as it is distributed, so sign it afterwards. Prints the file's name.\n\n"
        "The size of an encrypted file shows how well its content compresses; --no-compress avoids that."
    ),
    options=(
        *PASSPHRASE,
        Option("--no-compress", help="decompress the archive before it is encrypted"),
        *TARGET,
    ),
    operands=OPERANDS,
    exclusive=(*PASSPHRASE_EXCLUSIVE, ("--replace", "--overwrite")),
    examples=(
        ("appc image encrypt app.aci secret.aci --passphrase-file pass", "what `gpg --decrypt secret.aci` undoes"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Encrypt the file and print the name of the new one."""
    from appc.build.crypt import encrypt_file, mode_of

    target = target_of(args, "image encrypt")
    with open_image(args.file, "encrypting") as source:
        encrypt_file(
            source,
            passphrase(args, context, twice=True),
            target,
            compressed=not args.no_compress,
            overwrite=args.replace or args.overwrite,
            mode=mode_of(args.file),
            where=args.file,
        )
    return done(args, target, context)


def target_of(args: Args, verb: str) -> str:
    """Return the path of the file to make, from OUT or --replace."""
    if args.replace == (args.out is not None):
        what = "cannot go together with OUT" if args.replace else "OUT.aci is missing"
        raise UsageError(what, f"{verb}: --replace" if args.replace else verb, "give either")
    if args.replace:
        return os.path.realpath(str(args.file))
    if not args.out.endswith(".aci"):
        raise UsageError("an image's name must end with .aci", args.out)
    return str(args.out)


def done(args: Args, target: str, context: Context) -> int:
    """Print the name of the new file; say so when the signature beside it is not its own."""
    if os.path.exists(f"{target}.asc"):
        hint = f"appc image sign --overwrite {target} makes a new one"
        context.warn("does not hold for the new file", f"{target}.asc", hint)
    out(f"{args.file if args.replace else target}\n")
    return 0
