"""`appc run`: prepare a pod and run it."""

from __future__ import annotations

import os

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.pod_options import APP_OPTIONS, EXCLUSIVE, POD_OPTIONS, REGISTER, Warnings, request, save_uuid
from appc.errors import AppcError, HostError
from appc.executor import launch, recording
from appc.executor.prepare import discard, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.executor.prepare import Prepared

VERB = Verb(
    "run",
    "run images as a pod",
    description=(
        "Runs the images together in one pod: they share its network, processes, IPC and hostname, each in a root of "
        "its own. Without --detach the pod's output comes here, Ctrl-C stops it (a second one kills it), and the exit "
        "status is that of the first app that failed (128+N when signal N ended it), else 0. Arguments after -- are "
        "appended to the image's command; --- begins the next image."
    ),
    options=(
        *POD_OPTIONS,
        REGISTER,
        Option("--detach", "-d", help="return when all apps run, and print the pod's UUID"),
    ),
    app_options=APP_OPTIONS,
    operands=(Operand("image", count="*", complete="image", help="any IMAGE form; see appc(1)"),),
    exclusive=(*EXCLUSIVE, ("--detach", "--interactive")),
    examples=(
        ("appc run example.com/worker:1.0 --memory 256Mi -- --queue mail", "one app with a limit and arguments"),
        ("appc run --volume data,kind=empty db.aci --- web.aci --env DB=/data/socket", "two apps that share a volume"),
    ),
)


def run(args: Args, context: Context) -> int:
    """In the foreground this process becomes the pod's keeper and never returns."""
    warnings = Warnings(context)
    prepared = prepare(context, request(args, context), warnings.found)
    save_uuid(args.uuid_file_save, prepared.pod)
    return start(prepared, args, warnings, context)


def start(prepared: Prepared, args: Args, warnings: Warnings, context: Context) -> int:
    """Become the keeper of a prepared pod, or with --detach start one beside this process and print the pod's UUID."""
    _check(prepared, args)

    def before(entered: launch.Entered) -> None:
        recording.keep(context.words, entered, context)
        if args.register:
            from appc.executor import machine

            machine.register(prepared, os.getpid())
        warnings.say()

    if not args.detach:
        launch.replace_process(prepared, context, before, service=True)
    try:
        keeper = launch.launch(prepared, context)
        if args.register:
            _register(prepared, keeper)
    finally:
        warnings.say()
    from appc.cli.output import out

    out(f"{prepared.pod.uuid}\n")
    return 0


def _check(prepared: Prepared, args: Args) -> None:
    """Refuse a pod that cannot be registered, or has not the sockets it was to be given, before anything of it runs."""
    try:
        if args.register:
            from appc.executor import machine

            machine.check(prepared)
        if "LISTEN_FDS" in os.environ:
            from appc.executor.sockets import given

            prepared.given = given()
    except AppcError:
        if not prepared.again:
            discard(prepared.pod)
        raise


def _register(prepared: Prepared, keeper: int) -> None:
    """Register a detached pod, which ends where that fails."""
    from appc.executor import control, machine

    try:
        machine.register(prepared, keeper)
    except HostError:
        control.stop(prepared.pod.refresh())
        raise
