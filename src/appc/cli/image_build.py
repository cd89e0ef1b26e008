"""`appc image build`: a directory becomes an image file."""

from __future__ import annotations

from appc.cli.build_appfile import APPFILE, check, run_file
from appc.cli.build_options import LEVEL as LEVEL
from appc.cli.build_options import OUT, OUTPUT, OUTPUT_EXCLUSIVE, done, output, own_times, packed_size
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context


VERB = Verb(
    "image build",
    "make an image file from a directory or a build file",
    description=(
        "SOURCE is a layout (a file `manifest` and a directory `rootfs`) or, with --manifest, the root file system "
        "itself. The manifest is checked first. Prints the image ID.\n\n"
        "The same files with the same owners, modes, attributes and times give the same image, byte for byte, "
        "wherever and whenever it is built. Times are the files' own, to the nanosecond, unless --mtime sets them all "
        "or SOURCE_DATE_EPOCH in the environment sets those that are later. Names of users and groups, sparseness, "
        "access times and the host's security labels are not part of an image; sockets are left out.\n\n"
        "With --file a build file is performed, which says what the image begins with and which steps follow; SOURCE "
        "is then the directory that files are copied from, if it is not the build file's own. A step that is as it was "
        "in an earlier build is not performed again."
    ),
    options=(
        *APPFILE,
        Option("--manifest", metavar="FILE", complete="file", help="the image manifest: JSON, .yaml or .toml"),
        Option("--owner-root", help="everything belongs to user 0 and group 0"),
        *OUTPUT,
    ),
    operands=(
        Operand("source", count="?", complete="dir", help="a layout, or a root file system"),
        OUT,
    ),
    exclusive=OUTPUT_EXCLUSIVE,
    examples=(
        ("appc image build layout app.aci", "from layout/manifest and layout/rootfs"),
        ("appc image build --manifest app.yaml --owner-root tree app.aci", "from a bare root file system"),
        ("appc image build --file Appfile.toml --set VERSION=2 app.aci", "by the steps of a build file"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Build the image and print its ID."""
    from appc.build.image import build_file

    check(args)
    if args.file:
        return run_file(args, context)
    target = output(args, context, own_times(args))
    with Progress(f"building {args.out}", lambda: packed_size(args.source)) as progress:
        built = build_file(
            args.source,
            target,
            manifest=args.manifest or "",
            owner_root=args.owner_root,
            progress=progress.advance,
        )
    return done(args, context, built.warnings, built.image_id)
