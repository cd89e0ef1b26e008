"""`appc enter`: run a command beside an app, in its root and with its limits."""

from __future__ import annotations

import os
import sys

from appc.cli.options import Args, Operand, Option, Verb
from appc.errors import UsageError
from appc.executor import control
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "enter",
    "run a command in a running app's surroundings",
    description=(
        "The command joins the app's namespaces, control groups, user, capabilities and system call filter. Without "
        "one, the first of /bin/bash and /bin/sh that the image has is run. Its exit status is the result.\n\n"
        "With --user or --group it runs as somebody else, by the /etc/passwd and /etc/group that the app has now, in "
        "no further groups; root gets the capabilities that the app may have at most, other users none."
    ),
    options=(
        Option("--app", metavar="NAME", help="the app (needed when the pod has several)"),
        Option(
            "--user", metavar="USER", default="", help="name, number or path whose owner is meant (default: the app's)"
        ),
        Option(
            "--group",
            metavar="GROUP",
            default="",
            help="name, number or path whose group is meant (default: the user's)",
        ),
        Option("--tty", "-t", help="give the command a terminal (the default when this one is a terminal)"),
    ),
    operands=(
        Operand("uuid", complete="pod", help="any unique beginning of it"),
        Operand("command", "CMD", count="rest", help="the command and its arguments"),
    ),
    examples=(
        ("appc enter 6f2a", "a shell, as the app's user"),
        ("appc enter --user root 6f2a /bin/ls -l /root", "one command, as root of the app"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Become the keeper of the command; returns only by raising."""
    from appc.executor.enter import enter

    pod = layout.find(context.root, args.uuid)
    names = control.chosen_apps(pod, (args.app,) if args.app else ())
    if len(names) > 1:
        raise UsageError("has several apps", f"pod {pod.uuid}", f"name one with --app: {', '.join(names)}")
    tty = args.tty if "--tty" in args.given else os.isatty(0) and os.isatty(1)
    sys.stdout.flush()
    enter(pod, names[0], tuple(args.command), tty, context.state, args.user, args.group)
