"""`appc image build from-binary`: a program becomes an image with the libraries it needs and nothing else."""

from __future__ import annotations

import os

from appc.cli.build_options import ARGUMENTS, MANIFEST, MANIFEST_NOTE, OUT, OUTPUT, OUTPUT_EXCLUSIVE, build, fixed_times
from appc.cli.options import REPEAT, Args, Operand, Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context


def _asset(text: str) -> tuple[str, str]:
    source, _, target = text.rpartition(":")
    if not source or not target.startswith("/"):
        raise ValueError("an asset is SRC:DST, a path here and an absolute one in the image")
    return source, target


VERB = Verb(
    "image build from-binary",
    "make an image file from a program",
    description=(
        "The image gets the program, its ELF interpreter and every shared library that the dynamic linker would load, "
        "found where it would find them; links are kept. A script gets its interpreter. The image's app executes the "
        "program as user 0; arguments go after `--`, or say --exec. A program that is installed keeps its path, "
        "another one goes to /usr/bin; --as says otherwise. Libraries that a program loads while it runs are named "
        "with --library.\n\n" + MANIFEST_NOTE
    ),
    options=(
        Option("--as", metavar="PATH", help="where the program goes in the image"),
        Option("--asset", metavar="SRC:DST", kind=REPEAT, parse=_asset, help="add a file or directory"),
        Option("--library", metavar="FILE", kind=REPEAT, complete="file", help="add a shared library at its path"),
        Option(
            "--unpacked", metavar="DIR", kind=REPEAT, complete="dir", help="look for files below DIR before the system"
        ),
        *MANIFEST,
        *OUTPUT,
    ),
    operands=(Operand("program", complete="file", help="an ELF program or a script"), OUT, ARGUMENTS),
    exclusive=OUTPUT_EXCLUSIVE,
    examples=(
        ("appc image build from-binary ./server server.aci -- --port 80", "a program of one's own"),
        ("appc image build from-binary --name example.com/jq /usr/bin/jq jq.aci", "an installed one"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Build the image and print its ID."""
    from appc.build.binary import make_binary
    from appc.build.tree import Tree

    command, args.command = list(args.command), []

    def make(directory: str, warnings: list[str]) -> tuple[str, bytes]:
        rootfs = f"{directory}/rootfs"
        os.mkdir(rootfs, 0o755)
        tree = Tree(rootfs, args.unpacked)
        target = getattr(args, "as")
        manifest = make_binary(
            tree, args.program, target=target or "", assets=args.asset, libraries=args.library, arguments=command
        )
        warnings += tree.warnings
        return rootfs, manifest

    return build(args, context, make, times=fixed_times(args))
