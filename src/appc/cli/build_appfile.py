"""`appc image build --file`: from the options to a build file that has been performed."""

from __future__ import annotations

import os

from appc.cli.build_base import FETCH, Bases
from appc.cli.build_options import NETWORKS, network
from appc.cli.options import REPEAT, Option
from appc.cli.values import pair
from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.build.appbuild import Base
    from appc.build.appfile import Appfile
    from appc.cli.context import Context
    from appc.cli.options import Args
    from appc.images.render import Rootfs
    from appc.schema.image import App
    from appc.store.images import ImageStore, StoredImage

APPFILE = (
    Option("--file", "-f", metavar="FILE", complete="file", help="perform this build file: TOML, .yaml or .json"),
    Option("--set", metavar="N=V", kind=REPEAT, parse=pair, help="give an argument of the build file a value"),
    Option(
        "--network",
        metavar="NET",
        parse=network,
        help=f"the network of all commands, whatever the build file says: {NETWORKS}",
    ),
    Option("--no-cache", help="perform every step, although nothing changed"),
    *FETCH,
)
_ONLY = ("--set", "--network", "--no-cache", "--insecure", "--offline")
_NOT = ("--manifest", "--owner-root")


def check(args: Args) -> None:
    """Refuse options that go with build files alone, or not with them."""
    wrong = [name for name in (_NOT if args.file else _ONLY) if name in args.given]
    if wrong:
        what = "cannot go together with --file" if args.file else "means something for --file alone"
        raise UsageError(what, f"image build: {wrong[0]}")
    if not args.file and args.source is None:
        raise UsageError("SOURCE is missing", "image build", "name a layout, or a build file with --file FILE")


def run_file(args: Args, context: Context) -> int:
    """Perform the build file and print the image's ID."""
    from appc.build import appfile
    from appc.build.appbuild import Builder
    from appc.build.dockercopy import context as directory_of
    from appc.build.failed import build_name
    from appc.build.overlay import private_mounts
    from appc.cli.build_options import finish, own_times
    from appc.cli.manifest_edits import from_table
    from appc.executor.step import run_step
    from appc.store import layers
    from appc.store.images import ImageStore
    from appc.store.layout import store_path
    from appc.store.staging import Staging

    file = appfile.read(args.file, dict(args.set), from_table)
    if args.network:
        for one in file.steps:
            if one.action == "run":
                one.fields["network"] = args.network
    source = args.source or os.path.dirname(args.file) or "."
    if not os.path.isdir(source):
        raise UsageError("is not a directory", source)
    directory = os.path.realpath(source)
    store = ImageStore(context.root)
    warnings: list[str] = []
    held: list[Rootfs] = []

    def run(root: str, app: App, network: str) -> int:
        return run_step(context, root, app, network)

    private_mounts()
    with Staging(store.root) as staging:
        builders: list[Builder] = []

        def make(_: str) -> tuple[str, bytes]:
            base, manifest = _base(store, file, source, staging.path, args, context, held, warnings)
            builder = Builder(
                file,
                base,
                directory_of(directory, os.path.realpath(args.file), (*file.exclude, *_output(directory, args.out))),
                staging.path,
                root=store.root,
                run=run,
                say=context.info,
                cached=not args.no_cache,
                warnings=warnings,
            )
            builders.append(builder)
            return builder.build(manifest)

        try:
            finish(args, context, make, warnings, times=own_times(args), owner_root=False)
        finally:
            for builder in builders:
                builder.close()
    layers.trim(store.root, context.settings.build_cache_size)
    layers.discard(store.root, store_path(store.root, "builds", build_name(args.file)))
    return 0


def _output(directory: str, out: str) -> tuple[str, ...]:
    """What to leave out of the context so that no image holds the one that was built before it."""
    path = os.path.relpath(
        os.path.join(os.path.realpath(os.path.dirname(out) or "."), os.path.basename(out)), directory
    )
    return () if path.startswith("../") else (path, f"{path}.asc")


def _base(
    store: ImageStore,
    file: Appfile,
    source: str,
    directory: str,
    args: Args,
    context: Context,
    held: list[Rootfs],
    warnings: list[str],
) -> tuple[Base, bytes]:
    """What the build begins with, and the manifest that the image's is made of."""
    from appc.build.appbuild import Base
    from appc.build.manifest import NO_APP, manifest, name_from
    from appc.images.render import copy_of, rootfs_of
    from appc.schema.json import dumps, loads

    document = loads(manifest(name_from(os.path.basename(os.path.realpath(source))), app=NO_APP))
    bases = Bases(store, args, context)
    images: list[StoredImage] = []
    dependencies = []
    if file.base:
        image = bases.image(file.base)
        images.append(image)
        dependencies.append(_pinned(image))
        document["labels"] = [label for label in dependencies[0]["labels"] if label["name"] in ("os", "arch")]
        document["app"] = loads(image.manifest_bytes).get("app") or NO_APP
    images += bases.dependencies(file.dependencies, f"{file.path}: dependencies")
    dependencies += [dependency.to_dict() for dependency in file.dependencies]
    if not images:
        os.mkdir(f"{directory}/nothing", 0o755)
        return Base((f"{directory}/nothing",), "", ()), dumps(document).encode()
    rootfs = rootfs_of(store, images)
    held.append(rootfs)
    key = f"{' '.join(image.id for image in images)} {' '.join(rootfs.image_ids)}"
    lowers = rootfs.lowers
    if not rootfs.overlay:
        os.mkdir(f"{directory}/copy", 0o755)
        warnings += copy_of(store, images, f"{directory}/copy")
        lowers = (f"{directory}/copy",)
    return Base(lowers, key, dependencies), dumps(document).encode()


def _pinned(image: StoredImage) -> dict[str, Any]:
    """The dependency that is just this image."""
    from appc.schema.json import loads

    labels = loads(image.manifest_bytes).get("labels") or []
    return {"imageName": str(image.name), "imageID": str(image.id), "labels": labels}
