"""`appc version`."""

from __future__ import annotations

import sys

from appc.cli.options import FORMAT, Verb
from appc.cli.output import record
from appc.version import APPC_SPEC, OCI_RUNTIME_SPEC, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.cli.options import Args

VERB = Verb(
    "version",
    "show the version, and which specifications it implements",
    options=(FORMAT,),
)


def run(args: Args, context: Context) -> int:
    """Print the versions."""
    values = {
        "appc": VERSION,
        "appc-spec": APPC_SPEC,
        "oci-runtime-spec": OCI_RUNTIME_SPEC,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    record(context, values)
    return 0
