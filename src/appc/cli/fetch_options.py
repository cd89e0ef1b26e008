"""The words that say how images are fetched, shared by `fetch`, `run`, `prepare` and `plan`."""

from __future__ import annotations

from appc.cli.options import LIST, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.cli.context import Context
    from appc.cli.options import Args
    from appc.images.network import Network

INSECURE = Option(
    "--insecure",
    metavar="WHAT,...",
    kind=LIST,
    choices=("image", "tls", "http"),
    help="image: accept unverified images; tls: do not verify certificates; http: allow plain http",
)
# For who may be asked about keys.
INSECURE_KEYS = Option(
    "--insecure",
    metavar="WHAT,...",
    kind=LIST,
    choices=(*INSECURE.choices, "pubkey"),
    help=f"{INSECURE.help}; pubkey: look for keys over plain http",
)
# Where nothing is verified anyway, or nothing that is fetched is kept.
TRANSPORT = Option(
    "--insecure",
    metavar="WHAT,...",
    kind=LIST,
    choices=("tls", "http"),
    help="tls: do not verify certificates; http: allow plain http",
)
OFFLINE = Option("--offline", help="do not use the network")


def pull_option(default: str) -> Option:
    """The option --pull with its default for one verb."""
    return Option(
        "--pull",
        choices=("new", "update", "never"),
        default=default,
        help="new: fetch what is not in the store; update: ask whether there is a newer one; never: fetch nothing",
    )


def network_of(args: Args, context: Context) -> Callable[[], Network]:
    """Return what gives the one Network of a command, made when it is first asked for."""
    made: list[Network] = []

    def network() -> Network:
        if not made:
            from appc.images.network import Network

            offline = getattr(args, "offline", False)
            made.append(Network(context.config, context.settings, args.insecure, context.warn, offline=offline))
        return made[0]

    return network


def key_network(args: Args, context: Context) -> Network:
    """Return the network by which keys are fetched: over plain http only if that was said of keys."""
    from appc.images.network import Network

    insecure = {"tls"} & set(args.insecure) | ({"http"} if "pubkey" in args.insecure else set())
    return Network(context.config, context.settings, insecure, context.warn)
