"""`appc app add`: start another app in a running pod."""

from __future__ import annotations

from appc.cli.fetch_options import INSECURE, OFFLINE, network_of, pull_option
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.cli.pod_options import APP_OPTIONS, PORT, VOLUME, Warnings, app_request, started
from appc.errors import UsageError
from appc.pods import layout
from appc.pods.request import PodRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "app add",
    "start more apps in a running pod",
    usage="UUID [options] IMAGE [app options] [-- ARGS...] [--- IMAGE ...]",
    description=(
        "The apps share the pod's namespaces, volumes, limits and names, as if they had been started with it, and the "
        "pod's manifest has them from then on. Their output goes to their logs. Ports of the host that are opened for "
        "them go with them. Prints the apps' names. When one cannot be started, none stays."
    ),
    options=(
        VOLUME,
        PORT,
        Option("--strict", help="refuse the apps when an isolator cannot be enforced"),
        pull_option("new"),
        INSECURE,
        OFFLINE,
        *PASSPHRASE,
        Option("--verify", help="refuse images whose files in the store are not as they were imported"),
    ),
    app_options=APP_OPTIONS,
    operands=(
        Operand("uuid", complete="pod", help="any unique beginning of it"),
        Operand("image", count="+", complete="image", help="any IMAGE form; see appc(1)"),
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    examples=(("appc app add 6f2a example.com/shell --name debug -- -x", "a helper beside the others"),),
)


def run(args: Args, context: Context) -> int:
    """Start the apps and print their names."""
    from appc.executor.addition import add

    pod = layout.find(context.root, args.uuid)
    if not args.apps:
        raise UsageError("no image is named", "app add", "name one after the UUID")
    request = PodRequest(
        tuple(app_request(app) for app in args.apps),
        volumes=tuple(args.volume),
        ports=tuple(args.port),
        strict=args.strict,
        insecure=tuple(args.insecure),
        pull=args.pull,
        network=network_of(args, context),
        started=started,
        verify=args.verify,
        passphrase=passphrase(args, context),
    )
    warnings = Warnings(context)
    try:
        names = add(pod, context, request, warnings.found)
    finally:
        warnings.say()
    out("".join(f"{name}\n" for name in names))
    return 0
