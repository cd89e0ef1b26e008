"""`appc image build from-deb`: Debian packages and what they depend on become an image."""

from __future__ import annotations

import os

from appc.cli.build_options import COMMAND, MANIFEST, OUT, OUTPUT, OUTPUT_EXCLUSIVE, build, own_times
from appc.cli.options import REPEAT, Args, Operand, Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image build from-deb",
    "make an image file from Debian packages",
    description=(
        "apt chooses the packages and all they depend on as it would on an empty system, downloads them and checks "
        "their signatures, with the sources and keys of this host. They are unpacked on a merged /usr, and none of "
        "their scripts runs: there are the users of base-passwd and no others, and no alternatives. The app executes "
        "PKG's program of the same name, if there is one, as user 0, or --exec, or the words after `--`. Each package "
        "is recorded as an annotation debian.org/deb/NAME with its architecture and version, and in "
        "/var/lib/dpkg/status.d. The other options for the manifest are those of `appc image patch`.\n\n"
        "Files have the times they have in their packages, so the same packages give the same image."
    ),
    options=(
        Option("--no-docs", help="leave out documentation; licences stay"),
        Option("--no-locales", help="leave out translations"),
        Option("--recommends", help="also packages that are recommended"),
        Option("--assume", metavar="PKG", kind=REPEAT, help="take PKG for installed: leave it out, and what it needs"),
        Option("--sources", metavar="FILE", complete="file", help="a sources.list to use instead of the host's"),
        *MANIFEST,
        *OUTPUT,
    ),
    operands=(Operand("packages", "PKG", count="+", help="packages, as apt-get takes them"), OUT, COMMAND),
    exclusive=OUTPUT_EXCLUSIVE,
    examples=(
        ("appc image build from-deb --no-docs redis-server redis.aci", "the program of the package's name"),
        ("appc image build from-deb nginx nginx.aci -- /usr/sbin/nginx -g 'daemon off;'", "with a command"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Build the image and print its ID."""
    from appc.build.deb import make_deb

    def make(directory: str, warnings: list[str]) -> tuple[str, bytes]:
        return make_deb(
            directory,
            args.packages,
            docs=not args.no_docs,
            locales=not args.no_locales,
            recommends=args.recommends,
            assumed=args.assume,
            sources=args.sources or "",
            warnings=warnings,
        )

    return build(args, context, make, times=own_times(args), owner_root=os.geteuid() != 0)
