"""`appc image build from-dockerfile`: a Dockerfile and its context become an image."""

from __future__ import annotations

import os

from appc.cli.build_base import FETCH, Bases
from appc.cli.build_options import (
    COMMAND,
    MANIFEST,
    NETWORKS,
    OUT,
    OUTPUT,
    OUTPUT_EXCLUSIVE,
    build,
    network,
    own_times,
)
from appc.cli.options import REPEAT, Args, Operand, Option, Verb
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
        "names. FROM takes any image: by its name in the store or, failing that, in a registry, or as `appc run` does; "
        "and scratch. Each RUN is a pod whose root is an overlay on what came before, by default without a network. "
        "What an instruction did is kept, and not done again as long as nothing changes that it depends on. The result "
        "is one flat image; ENTRYPOINT and CMD become its app's exec, EXPOSE its ports, VOLUME its mount points, LABEL "
        "its user labels. ADD downloads nothing. The options for the manifest are those of `appc image patch`.\n\n"
        "Everything that the build made has the time 1970-01-01, or the one that --mtime names, so commands that do "
        "the same each time give the same image each time."
    ),
    options=(
        Option("--file", "-f", metavar="FILE", complete="file", help="the Dockerfile, if it is not DIR/Dockerfile"),
        Option("--build-arg", metavar="N=V", kind=REPEAT, parse=_argument, help="give an ARG a value"),
        Option("--target", metavar="STAGE", help="build up to this stage"),
        Option("--net", metavar="NET", parse=network, default="none", help=f"the network of RUN: {NETWORKS}"),
        Option("--no-cache", help="perform every instruction, although nothing changed"),
        *FETCH,
        *MANIFEST,
        *OUTPUT,
    ),
    operands=(Operand("directory", "DIR", complete="dir", help="the context"), OUT, COMMAND),
    exclusive=OUTPUT_EXCLUSIVE,
    examples=(("appc image build from-dockerfile --net default --build-arg VERSION=2 . app.aci", "with a network"),),
)


def run(args: Args, context: Context) -> int:
    """Build the image and print its ID."""
    from appc.build.dockerbuild import Builder
    from appc.build.failed import build_name
    from appc.build.overlay import private_mounts
    from appc.executor.step import run_step
    from appc.images.render import copy_rootfs, rootfs_for
    from appc.store import layers
    from appc.store.images import ImageStore
    from appc.store.layout import store_path
    from appc.store.staging import Staging

    if not os.path.isdir(args.directory):
        raise UsageError("is not a directory", args.directory)
    store = ImageStore(context.root)
    bases = Bases(store, args, context)
    held = []

    def base(reference: str, directory: str) -> tuple[tuple[str, ...], str, bytes]:
        image = _base(store, bases, reference, args.offline)
        rootfs = rootfs_for(store, image)
        held.append(rootfs)
        key = " ".join((image.id, *rootfs.image_ids))
        if rootfs.overlay:
            return rootfs.lowers, key, image.manifest_bytes
        os.mkdir(f"{directory}/copy", 0o755)
        for warning in copy_rootfs(store, image, f"{directory}/copy"):
            context.warn(warning)
        return (f"{directory}/copy",), key, image.manifest_bytes

    def step(root: str, app: App) -> int:
        return run_step(context, root, app, args.net)

    file = args.file or f"{args.directory}/Dockerfile"
    private_mounts()
    with Staging(store.root) as staging:
        builders: list[Builder] = []

        def make(directory: str, warnings: list[str]) -> tuple[str, bytes]:
            builder = Builder(
                args.directory,
                args.file or "",
                staging.path,
                root=store.root,
                network=args.net,
                cached=not args.no_cache,
                run=step,
                base=base,
                say=context.info,
                arguments=dict(args.build_arg),
                warnings=warnings,
            )
            builders.append(builder)
            return builder.build(args.target or "")

        try:
            build(args, context, make, times=own_times(args), owner_root=False)
        finally:
            for builder in builders:
                builder.close()
    layers.trim(store.root, context.settings.build_cache_size)
    layers.discard(store.root, store_path(store.root, "builds", build_name(file)))
    return 0


def _base(store: ImageStore, bases: Bases, reference: str, offline: bool) -> StoredImage:
    """The image that FROM means; a name that is not in the store is one that docker knows, not one to discover."""
    from appc.images.fetch import REGISTRY, classify, resolve

    if classify(reference) != "name":
        return bases.image(reference)
    try:
        return resolve(store, reference)
    except (ImageNotFound, InvalidValue):
        if offline:
            raise ImageNotFound("is not in the store, and the network is not to be used", reference) from None
        return bases.image(f"{REGISTRY}//{reference}")
