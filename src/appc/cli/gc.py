"""`appc gc`: clear away pods that have ended."""

from __future__ import annotations

from appc.cli.options import Args, Option, Verb
from appc.cli.output import out
from appc.cli.values import duration
from appc.config import budget
from appc.errors import AppcError
from appc.host import cgroups, probe
from appc.oserrors import explain
from appc.pods import gc, layout
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "gc",
    "clear away pods that have ended",
    description=(
        "Removes exited pods after a grace period, prepared pods nobody ran within a day, and whatever interrupted "
        "commands or killed keepers left behind, and lets plugins of networks do the same. Running it twice, or twice "
        "at once, does no harm. Settings gc.* of the configuration are the defaults."
    ),
    options=(
        Option(
            "--grace-period", metavar="TIME", parse=duration, help="keep pods this long after their end (default 30m)"
        ),
        Option(
            "--expire-prepared",
            metavar="TIME",
            parse=duration,
            help="keep pods that were prepared and never run this long (default 24h)",
        ),
        Option(
            "--budget",
            metavar="SIZE|N%",
            parse=budget,
            help="when pods take more on disk, remove more that have ended, the first to end first (default: none)",
        ),
        Option("--dry-run", help="say what would be done and why, and do nothing"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Print one line for each pod that is (or would be) ended or removed."""
    failed = False
    settings = context.settings
    grace = settings.gc_pod_grace if args.grace_period is None else args.grace_period
    prepared = settings.gc_prepared_grace if args.expire_prepared is None else args.expire_prepared
    verdicts = gc.judge(context.root, grace, prepared_seconds=prepared)
    allowed = settings.gc_pod_budget if args.budget is None else args.budget
    if allowed:
        _apply_budget(verdicts, allowed, context.root)
    for verdict in verdicts:
        if verdict.action == "keep":
            context.debug(f"kept: {verdict.reason}", f"pod {verdict.pod.uuid}")
            continue
        try:
            done = args.dry_run or _carry_out(verdict, grace)
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            failed = True
            continue
        except OSError as error:
            # One pod that cannot be cleared is not to keep all others.
            _, where, what, hint = explain(error)
            context.error(what, where or f"pod {verdict.pod.uuid}", hint)
            failed = True
            continue
        if done:
            out(f"{verdict.pod.uuid} {verdict.action}: {verdict.reason}\n")
    # Interrupted imports; images themselves are `image gc`'s.
    for removed in ImageStore(context.root).gc(dry_run=args.dry_run):
        out(f"{removed.name} remove: {removed.kind}, {removed.reason}\n")
    if not args.dry_run:
        from appc.network.setup import collect

        collect(context, lambda uuid: any(pod.uuid == uuid for pod in layout.every(context.root)))
        failed = not _collect_attachments(context) or failed
        cgroups.remove_root(probe.facts())
    return 1 if failed else 0


def _apply_budget(verdicts: list[gc.Verdict], allowed: str, root: str) -> None:
    from appc.pods import budget as budgets
    from appc.store.budget import limit

    bytes_allowed = limit(allowed, root)
    assert bytes_allowed is not None
    budgets.apply(verdicts, bytes_allowed)


def _collect_attachments(context: Context) -> bool:
    """Let plugins clear what they hold for pods that are gone; False when one could not, which is said."""
    from appc.pods import attachments

    try:
        problems = attachments.collect(context)
    except AppcError as error:
        # No pod can be in a network that is not configured well; those in others have been taken care of one by one.
        context.warn(error.what, error.where, error.hint)
        return True
    for problem in problems:
        context.error(problem)
    return not problems


def _carry_out(verdict: gc.Verdict, grace: float) -> bool:
    """Carry a verdict out; a pod ended just now is removed at once when there is no grace period."""
    if not gc.carry_out(verdict):
        return False
    return verdict.action != "end" or grace > 0 or gc.remove(verdict.pod)
