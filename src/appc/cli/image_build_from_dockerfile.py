"""`appc image build from-dockerfile`: a Dockerfile and its context become an image."""

from __future__ import annotations

import os

from appc.cli.build_options import COMMAND, MANIFEST, OUT, OUTPUT, OUTPUT_EXCLUSIVE, build, own_times
from appc.cli.fetch_options import INSECURE, network_of
from appc.cli.options import REPEAT, Args, Operand, Option, Verb
from appc.cli.passphrase import passphrase
from appc.errors import ImageNotFound, InvalidValue, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.schema.image import App
    from appc.store.images import ImageStore, StoredImage


def _argument(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name:
        raise ValueError("a build argument is NAME=VALUE, or NAME for a variable of the environment")
    return name, value if sign else os.environ.get(name, "")


VERB = Verb(
    "image build from-dockerfile",
    "make an image file from a Dockerfile",
    description=(
        "DIR holds the Dockerfile and is the context that COPY and ADD take files from, without what .dockerignore "
        "names. FROM takes images of the store, image files, scratch and, with --net host, what registries have. Each "
        "RUN is a pod whose root is an overlay on "
        "what came before, by default without a network. The result is one flat image; ENTRYPOINT and CMD become its "
        "app's exec, EXPOSE its ports, VOLUME its mount points, LABEL its user labels. ADD downloads nothing. The "
        "options for the manifest are those of `appc image patch`.\n\n"
        "Everything that the build made has the time 1970-01-01, or the one that --mtime names, so commands that do "
        "the same each time give the same image each time."
    ),
    options=(
        Option("--file", "-f", metavar="FILE", complete="file", help="the Dockerfile, if it is not DIR/Dockerfile"),
        Option("--build-arg", metavar="N=V", kind=REPEAT, parse=_argument, help="give an ARG a value"),
        Option("--target", metavar="STAGE", help="build up to this stage"),
        Option("--net", choices=("none", "host"), default="none", help="the network of RUN"),
        INSECURE,
        *MANIFEST,
        *OUTPUT,
    ),
    operands=(Operand("directory", "DIR", complete="dir", help="the context"), OUT, COMMAND),
    exclusive=OUTPUT_EXCLUSIVE,
    examples=(("appc image build from-dockerfile --net host --build-arg VERSION=2 . app.aci", "with a network"),),
)


def run(args: Args, context: Context) -> int:
    """Build the image and print its ID."""
    from appc.build.dockerbuild import Builder
    from appc.build.overlay import private_mounts
    from appc.executor.step import run_step
    from appc.images.render import copy_rootfs, rootfs_for
    from appc.store.images import ImageStore
    from appc.store.staging import Staging

    if os.geteuid():
        raise UsageError("needs root", "image build from-dockerfile")
    if not os.path.isdir(args.directory):
        raise UsageError("is not a directory", args.directory)
    store = ImageStore(context.root)
    held = []

    def base(reference: str, directory: str) -> tuple[tuple[str, ...], bytes]:
        image = _base(store, reference, args, context)
        rootfs = rootfs_for(store, image)
        held.append(rootfs)
        if rootfs.overlay:
            return rootfs.lowers, image.manifest_bytes
        os.mkdir(f"{directory}/copy", 0o755)
        for warning in copy_rootfs(store, image, f"{directory}/copy"):
            context.warn(warning)
        return (f"{directory}/copy",), image.manifest_bytes

    def step(root: str, app: App) -> int:
        return run_step(context, root, app, args.net)

    private_mounts()
    with Staging(store.root) as staging:
        builders: list[Builder] = []

        def make(directory: str, warnings: list[str]) -> tuple[str, bytes]:
            builder = Builder(
                args.directory,
                args.file or "",
                staging.path,
                run=step,
                base=base,
                say=context.info,
                arguments=dict(args.build_arg),
                warnings=warnings,
            )
            builders.append(builder)
            return builder.build(args.target or "")

        try:
            return build(args, context, make, times=own_times(args), owner_root=False)
        finally:
            for builder in builders:
                builder.close()


def _base(store: ImageStore, reference: str, args: Args, context: Context) -> StoredImage:
    """The image that FROM means: with a network also one that is in a registry, by the names that docker knows."""
    from appc.images.fetch import REGISTRY, classify, resolve

    network = network_of(args, context) if args.net == "host" else None
    secret = passphrase(args, context)

    def find(name: str) -> StoredImage:
        return resolve(store, name, config=context.config, insecure=args.insecure, passphrase=secret, network=network)

    kind = classify(reference)
    try:
        # A name is docker's rather than one to look for by discovery.
        return find(reference) if kind != "name" else resolve(store, reference, config=context.config)
    except (ImageNotFound, InvalidValue):
        if kind != "name" or network is None:
            raise
    return find(f"{REGISTRY}//{reference}")
