"""`appc trust rm`: no longer accept what a key has signed."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "trust rm",
    "no longer accept what a key has signed",
    description=(
        "A key that comes with the system is masked by an empty file in the local configuration. Images in the store "
        "stay there; files of images that the key has signed are verified again before they are run."
    ),
    options=(
        Option("--prefix", metavar="PREFIX", help="only what the key may sign below this"),
        Option("--root", help="only that the key may sign every image"),
    ),
    operands=(Operand("fingerprint", count="+", help="of each key, or any unique end of it"),),
    exclusive=(("--prefix", "--root"),),
)


def run(args: Args, context: Context) -> int:
    """Remove the keys and print their fingerprints."""
    from appc.trust.keystore import Keystore

    keystore = Keystore(context.config)
    for fingerprint in args.fingerprint:
        for key in keystore.remove(fingerprint, "" if args.root else args.prefix):
            context.info(f"no longer trusted for {key.prefix or 'every image'}", f"key {key.certificate.label}")
            out(f"{key.fingerprint}\n")
    return 0
