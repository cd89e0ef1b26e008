"""`appc build enter`: look at the step of a build file that failed."""

from __future__ import annotations

import os

from appc.cli.build_options import NETWORKS, network
from appc.cli.options import Args, Operand, Option, Verb
from appc.errors import AppcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "build enter",
    "run a command in what a failed step of a build left",
    description=(
        "When a command of a build file fails, the files as it left them are kept, until the file is built again or "
        "`appc image gc` clears them away. The command is run there as the step was, in a pod with the step's user and "
        "environment. Its exit status is the result."
    ),
    options=(Option("--net", metavar="NET", parse=network, default="none", help=f"its network: {NETWORKS}"),),
    operands=(
        Operand("build", count="?", help="which build, as the failure named it (default: the last that failed)"),
        Operand("command", "CMD", count="--", help="the command and its arguments (default: /bin/sh)"),
    ),
    examples=(("appc build enter 3f9a12c0", "a shell, if the image has one"),),
)


def run(args: Args, context: Context) -> int:
    """Run the command and return its status."""
    from appc.build.failed import FailedBuild
    from appc.build.overlay import private_mounts
    from appc.executor.step import OURS, TERMINAL, run_step
    from appc.store import layers, locks
    from appc.store.layout import store_path

    known = layers.builds(context.root)
    name = args.build or (known[-1] if known else "")
    if name not in known:
        hint = f"there are {', '.join(known)}" if known else ""
        raise AppcError("no failed build is kept by that name" if name else "no failed build is kept", name, hint)
    directory = store_path(context.root, "builds", name)
    held = locks.hold_alone(directory)
    if held is None:
        raise AppcError("another command is in it", f"build {name}")
    with held:
        os.utime(directory)
        failed = FailedBuild.read(directory)
        app = failed.app.replace(exec=tuple(args.command) or ("/bin/sh",))
        overlay = failed.overlay(directory)
        private_mounts()
        overlay.mount()
        try:
            terminal = os.isatty(0) and os.isatty(1)
            return run_step(context, overlay.root, app, args.net, TERMINAL if terminal else OURS)
        finally:
            overlay.unmount()
