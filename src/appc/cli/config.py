"""`appc config`."""

from __future__ import annotations

from appc.cli.options import LISTING, Verb
from appc.cli.output import listing
from appc.config import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.cli.options import Args

VERB = Verb(
    "config",
    "show the settings in force and which file each comes from",
    description="""The files are read from /usr/lib/appc, /etc/appc and $XDG_CONFIG_HOME/appc, in this order, or from
    the directory given with --config alone. docs/configuration.md describes them.""",
    options=LISTING,
)


def run(args: Args, context: Context) -> int:
    """Print every setting."""
    settings = context.settings
    effective = {"paths.root": context.root, "paths.state": context.state}
    records = [
        {
            "key": row.key,
            "value": effective.get(row.key, getattr(settings, row.attribute)),
            "origin": settings.origin.get(row.key),
            "meaning": row.meaning,
        }
        for row in TABLE
    ]
    columns = [("KEY", "key"), ("VALUE", "value"), ("SET BY", "origin")]
    if context.full:
        columns.append(("MEANING", "meaning"))
    listing(context, records, columns)
    return 0
