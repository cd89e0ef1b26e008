"""`appc oci validate`: say everything that is wrong with an OCI runtime bundle."""

from __future__ import annotations

from appc.cli.options import Args, Operand, Verb
from appc.errors import AppcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "oci validate",
    "check OCI runtime bundles",
    description=(
        "Checks each BUNDLE, a directory with a config.json and a root, against the OCI runtime specification. All "
        "faults are reported, each with the property it is about; what is sound is passed over in silence. The exit "
        "status is 1 when there was any fault. `appc image validate` does the same, beside images."
    ),
    operands=(Operand("bundle", count="+", complete="dir", help="what to check"),),
)


def run(args: Args, context: Context) -> int:
    """Check every bundle; 1 when one of them has a fault."""
    from appc.images.convert_check import check_bundle

    status = 0
    for path in args.bundle:
        try:
            check_bundle(path)
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            status = max(status, error.exit_status)
        else:
            context.debug("is a valid OCI runtime bundle", path)
    return status
