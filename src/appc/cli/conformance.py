"""`appc conformance`: whether an executor does what the App Container specification demands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile

import appc
from appc.cli.options import Args, Option, Verb
from appc.cli.output import out, printable
from appc.conformance.checks import CHECKS, MUST
from appc.conformance.runner import Executor, Runner
from appc.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.cli.context import Context
    from appc.conformance.checks import Check

VERB = Verb(
    "conformance",
    "check an executor against the specification",
    description=(
        "Runs pods that ask an executor for what the specification's pages on executors, pods and operating systems "
        "demand, and tells of each MUST and SHOULD whether it is met. Without --executor it is this appc, with images "
        "and pods of its own. Another executor has to take rkt's words after its command: --volume, images, ---. The "
        "exit status is 1 when a MUST is not met."
    ),
    options=(
        Option("--executor", metavar="COMMAND", help="what runs images, such as 'rkt run --insecure-options=image'"),
        Option("--fetch", metavar="COMMAND", help="what puts an image into that executor's store"),
        Option("--format", choices=("table", "tap"), default="table", help="a table, or the Test Anything Protocol"),
        Option("--keep", metavar="DIR", complete="dir", help="leave images and answers in this new directory"),
    ),
    examples=(
        ("appc conformance", "this host, this appc"),
        ("appc conformance --executor 'rkt run OPTIONS' --fetch 'rkt fetch OPTIONS'", "another executor"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Run every check; 1 when a MUST is not met."""
    if bool(args.executor) != bool(args.fetch):
        raise UsageError("both or neither: an executor has a store of its own", "--executor, --fetch")
    if os.geteuid() != 0:
        raise HostError("this needs root", "conformance")
    base = tempfile.mkdtemp(prefix="appc-conformance-")
    ours = _ours(base)
    executor = Executor(
        shlex.split(args.executor) if args.executor else [*ours, "run", "--insecure", "image"],
        shlex.split(args.fetch) if args.fetch else [*ours, "fetch", "--insecure", "image"],
    )
    place = args.keep or f"{base}/pods"
    os.mkdir(place)
    try:
        return _report(Runner(executor, os.path.abspath(place)), args.format)
    except FileNotFoundError as error:
        raise UsageError("there is no such program", str(error.filename), "give the whole command") from None
    finally:
        subprocess.run([*ours, "gc", "--grace-period", "0s"], stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(base, ignore_errors=True)


def _ours(base: str) -> list[str]:
    """The words of this appc, with everything of its own below `base`."""
    config = f"{base}/config"
    os.mkdir(config)
    with open(f"{config}/config.json", "w") as stream:
        # The images are made here, so there is nothing to be fetched.
        stream.write('{"net": {"offline": true}}')
    entrance = os.path.join(os.path.dirname(os.path.abspath(appc.__file__)), "__main__.py")
    places = ("--root", f"{base}/root", "--state", f"{base}/state", "--config", config)
    return [sys.executable, "-I", "-S", entrance, *places]


def _report(runner: Runner, form: str) -> int:
    failed = 0
    if form == "tap":
        out(f"1..{len(CHECKS)}\n")
    for number, check in enumerate(CHECKS, 1):
        reason = printable(check.judge(runner.evidence(check.scenario)))
        failed += bool(reason) and check.level == MUST
        out(_tap(number, check, reason) if form == "tap" else _row(check, reason))
        sys.stdout.flush()
    met = sum(1 for check in CHECKS if not check.judge(runner.evidence(check.scenario)))
    if form == "table":
        out(f"{met} of {len(CHECKS)} are met\n")
    return 1 if failed else 0


def _tap(number: int, check: Check, reason: str) -> str:
    """A SHOULD that is not met is something to do, in the protocol's words, not a failure."""
    todo = f" # todo {reason}" if reason and check.level != MUST else f" # {reason}" if reason else ""
    return f"{'not ok' if reason else 'ok'} {number} - {check.page} {check.level}: {check.demand}{todo}\n"


def _row(check: Check, reason: str) -> str:
    fields: Sequence[str] = (("met", "NOT MET")[bool(reason)], check.level, check.page, check.demand)
    widths = (7, 6, 10)
    text = "  ".join(field.ljust(width) for field, width in zip(fields, widths, strict=False))
    return f"{text}  {check.demand}{': ' + reason if reason else ''}\n"
