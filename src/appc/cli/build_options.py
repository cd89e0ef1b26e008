"""What the verbs that make an image file have in common: options, and from a builder to a printed image ID."""

from __future__ import annotations

import os

from appc.cli.options import OPTIONAL, Operand, Option
from appc.cli.output import Progress, out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import SignatureError, UsageError
from appc.schema.json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appc.build.outfile import Output
    from appc.cli.context import Context
    from appc.cli.options import Args
    from appc.formats.acibuild import Times


def _level(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("a level is a number from 0 to 9")
    return int(text)


def seconds(text: str) -> int:
    """Parse a time in seconds since 1970."""
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 12:
        raise ValueError("a time is a whole number of seconds since 1970-01-01 UTC")
    return int(text)


def network(text: str) -> str:
    """Parse the network of commands: none, host, or names as `appc run --net` takes them."""
    if text not in ("none", "host"):
        from appc.network.setup import parse

        parse(text)
    return text


NETWORKS = "none, host, default (built in), or networks of net.d: NAME[:K=V;...],..."
LEVEL = Option(
    "--level",
    metavar="N",
    parse=_level,
    help="compression level: 1 to 9, for xz also 0; for gzip 1 to 3 are fast and 5 is usual",
)
OUTPUT = (
    Option("--compress", choices=("gzip", "bzip2", "xz", "none"), default="gzip", help="how to compress the archive"),
    LEVEL,
    Option("--mtime", metavar="SECONDS", parse=seconds, help="modification time of everything, since 1970"),
    Option("--overwrite", help="replace OUT if it exists"),
    Option("--sign", kind=OPTIONAL, metavar="KEY", help="sign the image with gpg, making OUT.asc too"),
    Option("--encrypt", help="encrypt the image with a passphrase"),
    *PASSPHRASE,
)
OUTPUT_EXCLUSIVE = PASSPHRASE_EXCLUSIVE
OUT = Operand("out", "OUT.aci", complete="file", help="the image file to make")
ARGUMENTS = Operand("command", "ARG", count="--", help="arguments of the app's program")
COMMAND = Operand("command", "COMMAND", count="--", help="the app's command, word by word")


def _edits() -> tuple[Option, ...]:
    from appc.cli.manifest_edits import EDITS

    return tuple(option for option in EDITS if not option.long.startswith("--remove-"))


# What a new manifest is given: as for `image patch`, which can also remove.
MANIFEST = _edits()
MANIFEST_NOTE = (
    "The options for the manifest are those of `appc image patch`, which can change the rest later. All times are "
    "1970-01-01, or the one that --mtime or SOURCE_DATE_EPOCH in the environment names, and everything belongs to "
    "user 0: the same input gives the same image."
)


def source_date_epoch() -> int | None:
    """SOURCE_DATE_EPOCH of the environment, in seconds; UsageError when it is no time."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    try:
        return seconds(text)
    except ValueError as error:
        raise UsageError(str(error), f"SOURCE_DATE_EPOCH={text}") from None


def output(args: Args, context: Context, times: Times | None = None) -> Output:
    """The file that the options of OUTPUT describe."""
    from appc.build.outfile import Output

    def sign(path: str) -> bytes:
        from appc.trust.sign import sign_file

        try:
            return sign_file(path, args.sign)
        except SignatureError as error:
            if error.where == path:
                error.where = args.out
            raise

    if not args.encrypt and not hasattr(args, "insecure") and not args.given.isdisjoint(PASSPHRASE_EXCLUSIVE[0]):
        raise UsageError("a passphrase means something with --encrypt alone", args.out)
    return Output(
        args.out,
        compression=args.compress,
        level=args.level,
        times=times,
        overwrite=args.overwrite,
        passphrase=passphrase(args, context, twice=True) if args.encrypt else None,
        sign=sign if args.sign is not None else None,
    )


def fixed_times(args: Args) -> Times:
    """One time for everything."""
    from appc.formats.acibuild import Times

    return Times(args.mtime if args.mtime is not None else source_date_epoch() or 0)


def own_times(args: Args) -> Times:
    """Each file's own time, unless the user says otherwise."""
    from appc.formats.acibuild import Times

    return Times(args.mtime, source_date_epoch())


def edited(args: Args) -> Callable[[bytes], bytes]:
    """What the options of MANIFEST make of a manifest; a file they name is read at once."""
    from appc.cli.manifest_edits import EDITS, editor

    for option in EDITS:
        if option.long.startswith("--remove-"):
            setattr(args, option.dest, [])
    edit = editor(args, args.out)

    def complete(data: bytes) -> bytes:
        document = loads(data)
        if (args.exec or args.command) and not args.manifest and "app" not in document:
            # A command makes an app, and whoever builds an image seldom thinks of another user than root.
            document["app"] = {"exec": [], "user": "0", "group": "0"}
        return edit(dumps(document).encode())

    return complete


def build(
    args: Args,
    context: Context,
    make: Callable[[str, list[str]], tuple[str, bytes]],
    *,
    times: Times,
    owner_root: bool = True,
) -> int:
    """Make the image that OUTPUT and MANIFEST describe of what `make(directory, warnings)` puts together.

    `make` returns the root file system, which it made in `directory`, and the manifest to begin with. Prints the ID.
    """
    edit = edited(args)
    warnings: list[str] = []

    def complete(directory: str) -> tuple[str, bytes]:
        rootfs, manifest = make(directory, warnings)
        return rootfs, edit(manifest)

    return finish(args, context, complete, warnings, times=times, owner_root=owner_root)


def finish(
    args: Args,
    context: Context,
    make: Callable[[str], tuple[str, bytes]],
    warnings: list[str],
    *,
    times: Times,
    owner_root: bool,
) -> int:
    """Make the image that OUTPUT describes of the root and the manifest that `make` returns; see `build`."""
    from appc.build.image import build_generated

    roots: list[str] = []

    def made(directory: str) -> tuple[str, bytes]:
        rootfs, manifest = make(directory)
        roots.append(rootfs)
        return rootfs, manifest

    with Progress(f"packing {args.out}", lambda: packed_size(roots[-1])) as progress:
        built = build_generated(
            output(args, context), made, context.root, owner_root=owner_root, times=times, progress=progress.advance
        )
    return done(args, context, (*warnings, *built.warnings), built.image_id)


def done(args: Args, context: Context, warnings: Iterable[str], image_id: str) -> int:
    """Say what there is to say of a finished image, and print its ID."""
    for warning in warnings:
        context.warn(warning)
    signature = f"{args.out}.asc"
    if args.sign is None and os.path.lexists(signature):
        context.warn("may be of the image that was replaced; `appc image sign` makes a new one", signature)
    out(f"{image_id}\n")
    return 0


def packed_size(directory: str) -> int:
    """About how many bytes the archive of a directory has: contents and a header for each file."""
    total = 0
    for path, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size + 512
            except OSError:
                pass
    return total
