"""`appc image id`: compute the image ID of image files."""

from __future__ import annotations

from appc.cli.context import printable
from appc.cli.image_file import open_image
from appc.cli.options import Args, Operand, Verb
from appc.cli.output import out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import AppcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image id",
    "compute the image ID of image files",
    description=(
        "The image ID is the SHA-512 of the uncompressed archive. With several files each ID is followed by two "
        "spaces and the file's name, as sha512sum does. The images are not checked otherwise."
    ),
    options=PASSPHRASE,
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(Operand("file", count="+", complete="file", help="an image file"),),
)


def run(args: Args, context: Context) -> int:
    """Print the ID of each file; go on after one that cannot be read."""
    from appc.formats.aci import read_image_id

    secret = passphrase(args, context)
    status = 0
    for path in args.file:
        try:
            with open_image(path, "hashing", secret) as source:
                image_id = read_image_id(source, where=path)
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            status = max(status, error.exit_status)
        else:
            out(f"{image_id}  {printable(path)}\n" if len(args.file) > 1 else f"{image_id}\n")
    return status
