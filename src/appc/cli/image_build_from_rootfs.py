"""`appc image build from-rootfs`: a root file system as other tools make it becomes an image."""

from __future__ import annotations

import os

from appc.cli.build_options import COMMAND, MANIFEST, OUT, OUTPUT, OUTPUT_EXCLUSIVE, build, own_times
from appc.cli.options import Args, Operand, Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image build from-rootfs",
    "make an image file from a root file system",
    description=(
        "SOURCE is a directory, or a tar archive, also compressed with gzip, bzip2, xz or zstd, as debootstrap, "
        "buildroot or OpenWrt make them. Owners, modes, times, extended attributes, hard links and device nodes are "
        "kept (device nodes and owners out of an archive only as root); sockets are left out. The manifest is that of "
        "--manifest or a new one, named after SOURCE; the other options for it are those of `appc image patch`. The "
        "app's command is --exec, or the words after `--`."
    ),
    options=(Option("--owner-root", help="everything belongs to user 0 and group 0"), *MANIFEST, *OUTPUT),
    operands=(Operand("source", complete="file", help="a directory or a tar archive"), OUT, COMMAND),
    exclusive=OUTPUT_EXCLUSIVE,
    examples=(
        ("appc image build from-rootfs --name example.com/debian --exec /bin/bash ./bookworm out.aci", "a directory"),
        ("appc image build from-rootfs --manifest app.yaml rootfs.tar.xz out.aci", "an archive"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Build the image and print its ID."""
    from appc.build.manifest import manifest, name_from
    from appc.build.rootfs import name_of, root_of

    def make(directory: str, warnings: list[str]) -> tuple[str, bytes]:
        rootfs = root_of(args.source, directory, args.out, warnings)
        return rootfs, manifest(name_from(name_of(args.source)))

    # Without privileges an archive's owners cannot be kept; those of whoever builds would make no sense.
    unowned = os.path.isfile(args.source) and os.geteuid() != 0
    return build(args, context, make, times=own_times(args), owner_root=args.owner_root or unowned)
