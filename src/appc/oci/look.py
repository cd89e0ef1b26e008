"""`state`, `list`, `ps`: what there is to see of containers, in the forms engines parse."""

from __future__ import annotations

import os
import sys

from appc.errors import HostError, UsageError
from appc.host import cgroupfs
from appc.oci.container import every, find
from appc.schema.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.oci.container import Container
    from appc.oci.main import Context
    from appc.oci.options import Args

_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def state(args: Args, context: Context) -> int:
    """Print the state of a container."""
    sys.stdout.write(dumps(find(context.root, args.words[0]).described(), 2) + "\n")
    return 0


def list_all(args: Args, context: Context) -> int:
    """Print all containers."""
    found = every(context.root)
    if args.flag("quiet"):
        sys.stdout.write("".join(f"{container.name}\n" for container in found))
        return 0
    rows = [{**container.described(), "owner": _owner(container)} for container in found]
    if _format(args) == "json":
        sys.stdout.write((dumps(rows) if rows else "null") + "\n")
        return 0
    table = [_COLUMNS, *(tuple(str(row[column.lower()]) for column in _COLUMNS) for row in rows)]
    widths = [max(11, *(len(line[at]) for line in table)) for at in range(len(_COLUMNS))]
    for line in table:
        sys.stdout.write(" ".join(f"{word:{width}}" for word, width in zip(line, widths, strict=True)).rstrip() + "\n")
    return 0


def processes(args: Args, context: Context) -> int:
    """Print the processes of a container: their pids, or what ps(1) says of them."""
    container = find(context.root, args.words[0])
    pids = sorted(_pids(container))
    if _format(args) == "json":
        sys.stdout.write(dumps(pids) + "\n")
        return 0
    from subprocess import run

    try:
        result = run(["ps", *(args.words[1:] or ["-ef"])], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise HostError("the program ps is missing", "ps", "--format json needs none") from None
    if result.returncode:
        raise HostError(result.stderr.strip(), "ps")
    title, *lines = result.stdout.splitlines()
    if "PID" not in title.split():
        raise UsageError("its output has no column PID", "ps")
    column, own = title.split().index("PID"), {str(pid) for pid in pids}
    shown = [line for line in lines if own & set(line.split()[column : column + 1])]
    sys.stdout.write("\n".join([title, *shown]) + "\n")
    return 0


def _pids(container: Container) -> list[int]:
    for path in container.cgroups:
        found = [pid for group in cgroupfs.tree(path) for pid in cgroupfs.processes(group)]
        if found:
            return found
    return []


def _format(args: Args) -> str:
    form = args.option("format") or "table"
    if form not in ("table", "json"):
        raise UsageError("invalid format option", "--format")
    return form


def _owner(container: Container) -> str:
    import pwd

    uid = container.record.get("owner", os.getuid())
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
