"""`appc image decrypt`: make a plain image file of an encrypted one."""

from __future__ import annotations

from appc.cli.image_encrypt import OPERANDS, TARGET, done, target_of
from appc.cli.image_file import open_image
from appc.cli.options import Args, Verb
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image decrypt",
    "make a plain image file of an encrypted one",
    description=(
        "Writes OUT, or with --replace FILE itself, as it was before it was encrypted, by `appc image encrypt` or by "
        "`gpg --symmetric`. Nothing is written unless all of the file is authentic. Prints the file's name."
    ),
    options=(*PASSPHRASE, *TARGET),
    operands=OPERANDS,
    exclusive=(*PASSPHRASE_EXCLUSIVE, ("--replace", "--overwrite")),
    examples=(("appc image decrypt secret.aci app.aci --passphrase-file pass", "the plain image again"),),
)


def run(args: Args, context: Context) -> int:
    """Decrypt the file and print the name of the new one."""
    from appc.build.crypt import decrypt_file, mode_of

    target = target_of(args, "image decrypt")
    with open_image(args.file, "decrypting") as source:
        decrypt_file(
            source,
            passphrase(args, context),
            target,
            overwrite=args.replace or args.overwrite,
            mode=mode_of(args.file),
            where=args.file,
        )
    return done(args, target, context)
