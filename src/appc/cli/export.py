"""`appc export`: the root of an app whose pod has ended, as an image file."""

from __future__ import annotations

from appc.cli.build_options import MANIFEST, OUT, OUTPUT, OUTPUT_EXCLUSIVE, build, own_times
from appc.cli.options import Args, Operand, Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "export",
    "make an image of what an app left",
    description=(
        "The image holds what the app's image and its dependencies brought, as the app changed it, and depends on "
        "nothing. Volumes are not part of it. The manifest is that of the app's image; the options for it are those of "
        "`appc image patch`. The pod has to have ended."
    ),
    options=(
        Option("--app", metavar="NAME", help="the app (needed when the pod has several)"),
        *MANIFEST,
        *OUTPUT,
    ),
    operands=(Operand("uuid", complete="pod", help="any unique beginning of it"), OUT),
    exclusive=OUTPUT_EXCLUSIVE,
    examples=(("appc export 6f2a --label version=1.1 app-1.1.aci", "what a session in a pod made, as a new version"),),
)


def run(args: Args, context: Context) -> int:
    """Build the image and print its ID."""
    from appc.build.export import exported_manifest, exported_root
    from appc.errors import UsageError
    from appc.executor import control
    from appc.pods import layout

    pod = layout.find(context.root, args.uuid)
    names = control.chosen_apps(pod, (args.app,) if args.app else ())
    if len(names) > 1:
        raise UsageError("has several apps", f"pod {pod.uuid}", f"name one with --app: {', '.join(names)}")
    args.command = []
    if pod.phase == "exited":
        # Its keeper may be about to let go of it.
        control.wait(pod, control.LETTING_GO)
    with exported_root(pod, names[0]) as rootfs:
        manifest = exported_manifest(pod, names[0])
        return build(args, context, lambda *_: (rootfs, manifest), times=own_times(args), owner_root=False)
