"""`appc oci bundle`: an image as a bundle for any OCI runtime."""

from __future__ import annotations

import os

from appc.cli.fetch_options import INSECURE, network_of
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.cli.pod_options import APP_OPTIONS, VOLUME, Warnings, app_request
from appc.executor.bundle import bundle
from appc.pods.request import PodRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "oci bundle",
    "write an image as an OCI runtime bundle",
    description=(
        "Makes DIR with a copy of the image's root (its dependencies and whitelist honoured) and the config.json that "
        "appc itself would compile: `runc run -b DIR ID` then runs the same app with the same limits."
    ),
    options=(
        *APP_OPTIONS,
        VOLUME,
        INSECURE,
        *PASSPHRASE,
        Option("--hostname", metavar="NAME", help="the container's hostname"),
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(
        Operand("image", complete="image", help="any IMAGE form; see appc(1)"),
        Operand("dir", complete="dir", help="the directory to make"),
        Operand("args", count="rest", help="arguments to append to the command"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Write the bundle."""
    warnings = Warnings(context)
    request = PodRequest(
        (app_request(args),),
        volumes=tuple(args.volume),
        hostname=args.hostname or "",
        insecure=tuple(args.insecure),
        network=network_of(args, context),
        passphrase=passphrase(args, context),
    )
    bundle(context, request, os.path.abspath(args.dir), warnings.found)
    warnings.say()
    return 0
