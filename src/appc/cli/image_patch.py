"""`appc image patch`: change an image's manifest and nothing else."""

from __future__ import annotations

import os

from appc.cli.fetch_options import TRANSPORT, network_of
from appc.cli.image_build import LEVEL
from appc.cli.image_file import file_path, is_encrypted, open_image
from appc.cli.manifest_edits import EDITS, EXCLUSIVE, asked, editor
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import UsageError
from appc.images.borrow import must_be_borrowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.cli.context import Context
    from appc.formats.acipatch import Patched
    from appc.store.images import StoredImage

VERB = Verb(
    "image patch",
    "change an image's manifest and nothing else",
    description=(
        "Makes an image with another manifest: the file OUT, or with --replace one in the place of IN. Every other "
        "entry of the archive stays as it is, byte for byte, and so do fields of the manifest that no option names. "
        "Options that set something replace what has the same name; removing what is not there is an error. Nothing "
        "is made when the result would be invalid, and all its faults are named. Prints the new image ID.\n\n"
        "The words after `--` become the app's command, or its arguments when --exec names the program. An image in "
        "the store that is replaced stays there when a pod or, by its ID, another image needs it. OCI layouts and "
        "docker archives are converted on the way, and a file that was encrypted is encrypted again with the same "
        "passphrase. No signature holds for the new image."
    ),
    options=(
        *EDITS,
        Option("--replace", help="put the new image in the place of the old one"),
        Option("--overwrite", help="replace OUT if it exists"),
        Option(
            "--compress",
            choices=("gzip", "bzip2", "xz", "none"),
            help="how to compress the archive (default: as it was)",
        ),
        LEVEL,
        TRANSPORT,
        *PASSPHRASE,
    ),
    operands=(
        Operand("image", "IN", complete="image", help="any IMAGE form: a file, one in the store, oci:DIR …"),
        Operand("out", "OUT.aci", count="?", complete="file", help="the image file to make"),
        Operand("command", "COMMAND", count="--", help="the app's command, word by word"),
    ),
    exclusive=(*EXCLUSIVE, ("--replace", "--overwrite"), *PASSPHRASE_EXCLUSIVE),
    examples=(
        ("appc image patch app.aci new.aci --label version=1.1 --env LANG=C.UTF-8", "another version, one variable"),
        ("appc image patch app.aci --replace --user 1000 --group 1000 -- /bin/app -v", "in its place"),
        ("appc image patch example.com/app new.aci --remove-port http", "from an image in the store"),
        ("appc image patch oci:layout:1.0 new.aci --caps-retain CAP_NET_BIND_SERVICE", "of what another tool built"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Make the image and print its ID."""
    if args.replace == (args.out is not None):
        what = "cannot go together with OUT" if args.replace else "OUT.aci is missing"
        raise UsageError(what, "image patch: --replace" if args.replace else "image patch", "or give --replace")
    if not asked(args) and not args.compress:
        raise UsageError("nothing is to be changed", "image patch", "see `appc help image patch`")
    edit = editor(args, args.image)
    path = file_path(args.image)
    if must_be_borrowed(args.image):
        _borrowed(edit, args, context)
    elif path:
        _file(path, edit, args, context)
    else:
        _stored(edit, args, context)
    return 0


def _file(path: str, edit: Callable[[bytes], bytes], args: Args, context: Context) -> None:
    from appc.build.patch import patch_file

    target = os.path.realpath(path) if args.replace else args.out
    secret = passphrase(args, context)
    with open_image(path, "reading", secret) as source:
        patched = patch_file(
            source,
            edit,
            target,
            compression=args.compress or "",
            level=args.level,
            overwrite=args.replace or args.overwrite,
            mode=os.stat(path).st_mode & 0o777 if args.replace else 0o666,
            where=path,
            encrypt=lambda: secret if is_encrypted(source) else None,
        )
    _say_unsigned(path, target, context)
    _done(patched, context)


def _stored(edit: Callable[[bytes], bytes], args: Args, context: Context) -> None:
    from appc.build.patch import replace_stored
    from appc.images.use import find_stored, in_use
    from appc.store.images import ImageStore

    store = ImageStore(context.root)
    image = find_stored(store, args.image)
    if args.replace:
        if args.compress or args.level is not None:
            raise UsageError("means nothing for an image in the store", "image patch: --compress")
        new, kept = replace_stored(store, image, edit, lambda: in_use(context.root))
        if kept:
            context.warn(f"was not removed: {kept}", f"image {image.id.short}")
        if image.signer and new.id != image.id:
            context.warn("is not signed, unlike the image it replaces", f"image {new.id.short}")
        out(f"{new.id}\n")
        return
    _to_file(image, edit, args, context)
    if image.signer:
        context.warn("is not signed: the signature of the stored image does not hold for it", args.out)
    if image.meta.get("encrypted"):
        context.warn("is not encrypted, as the file was that was imported", args.out, f"appc image encrypt {args.out}")


def _borrowed(edit: Callable[[bytes], bytes], args: Args, context: Context) -> None:
    from appc.images.borrow import borrowed
    from appc.store.images import ImageStore

    if args.replace:
        raise UsageError("cannot be replaced, only ACIs can", args.image, "give OUT.aci")
    warnings: list[str] = []
    with borrowed(
        ImageStore(context.root), args.image, warnings, passphrase(args, context), network_of(args, context)
    ) as (_, image):
        for warning in warnings:
            context.warn(warning, args.image)
        _to_file(image, edit, args, context)


def _to_file(image: StoredImage, edit: Callable[[bytes], bytes], args: Args, context: Context) -> None:
    from appc.build.patch import patch_stored

    patched = patch_stored(
        image, edit, args.out, compression=args.compress or "", level=args.level, overwrite=args.overwrite
    )
    _done(patched, context)


def _say_unsigned(path: str, target: str, context: Context) -> None:
    """Say that no signature goes with the new file, if there was one of the old, or is one beside the new."""
    hint = f"appc image sign --overwrite {target} makes a new one"
    if os.path.exists(f"{target}.asc"):
        context.warn("does not hold for the new image", f"{target}.asc", hint)
    elif os.path.exists(f"{path}.asc"):
        context.warn(f"is not signed: {path}.asc does not hold for it", target, hint.replace(" --overwrite", ""))


def _done(patched: Patched, context: Context) -> None:
    for warning in patched.warnings:
        context.warn(warning)
    out(f"{patched.image_id}\n")
