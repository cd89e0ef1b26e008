"""`appc image convert`: from one form of image to another."""

from __future__ import annotations

import os

from appc.cli.fetch_options import INSECURE, network_of
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import Progress, out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.cli.values import integer
from appc.errors import InvalidValue, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image convert",
    "convert an image between ACI, OCI layout, docker archive and runtime bundle",
    description=(
        "SRC is any IMAGE form or bundle:DIR; DST is FILE.aci, oci:DIR[:TAG], oci-archive:FILE[:TAG], "
        "docker-archive:FILE[:NAME:TAG] or bundle:DIR. Prints the image ID (the digest of the manifest for OCI).\n\n"
        "What an OCI image has no place for goes along in it, so that an ACI made into an OCI image or a docker "
        "archive becomes the same ACI again, with the same image ID, as long as nobody changed it. Dependencies become "
        "layers. "
        "All layers of an OCI image become one ACI unless --layers makes one of each: then FILE.aci depends on "
        "FILE-1.aci and so on."
    ),
    options=(
        Option("--layers", help="make an image of each layer, each depending on the one below"),
        Option("--name", metavar="NAME", help="what to call the new image"),
        Option("--platform", metavar="OS/ARCH", help="which image of several to take; this host's by default"),
        Option(
            "--compress", choices=("gzip", "zstd", "bzip2", "xz", "none"), help="how to compress the archive or layers"
        ),
        Option("--level", metavar="N", parse=integer(0, 19), help="compression level"),
        Option("--overwrite", help="replace DST, or the tag in it, if it exists"),
        INSECURE,
        *PASSPHRASE,
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(
        Operand("source", "SRC", complete="image", help="any IMAGE form, or bundle:DIR"),
        Operand("target", "DST", complete="file", help="the file or directory to make"),
    ),
    examples=(
        ("appc image convert docker-archive:busybox.tar busybox.aci", "what `docker save` wrote, as an ACI"),
        ("appc image convert docker://busybox busybox.aci", "out of a registry"),
        ("appc image convert app.aci oci:layouts:1.0", "for skopeo, podman and registries"),
        ("appc image convert --insecure image oci:layouts:1.0 bundle:app", "for runc and its kin"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Convert the image and print what it is now known by."""
    from appc.build.convert import BUNDLE, How, convert_image
    from appc.images.registry import Access
    from appc.store.images import ImageStore

    if args.target.startswith(BUNDLE):
        return _to_bundle(args, context)
    _check(args)
    warnings: list[str] = []
    network = network_of(args, context)
    with Progress(f"converting {args.source}") as progress:
        how = How(
            platform(args.platform),
            platform_given=bool(args.platform),
            layered=args.layers,
            compression=args.compress or "",
            level=args.level,
            overwrite=args.overwrite,
            name=args.name or "",
            progress=progress.advance,
            access=lambda: Access.through(network(), warnings),
            passphrase=passphrase(args, context),
        )
        found = convert_image(ImageStore(context.root), args.source, args.target, how, warnings)
    for warning in warnings:
        context.warn(warning, args.source)
    out("".join(f"{one}\n" for one in found))
    return 0


def _check(args: Args) -> None:
    to_aci = args.target.endswith(".aci")
    kinds = ("gzip", "bzip2", "xz", "none") if to_aci else ("gzip", "zstd", "none")
    if args.compress and args.compress not in kinds:
        what = "image files" if to_aci else "layers"
        raise UsageError(f"{what} are compressed with {', '.join(kinds[:-1])} or not at all", "--compress")
    if args.layers and not to_aci:
        raise UsageError("only ACIs are made of single layers", "--layers", "give FILE.aci as DST")


def platform(text: str | None) -> tuple[str, str]:
    """The labels os and arch that OS/ARCH[/VARIANT] means, in the words of Go and the OCI or in appc's."""
    from appc.images.fetch import host_labels
    from appc.schema.common import OS_ARCH
    from appc.schema.platforms import from_go

    if text is None:
        labels = host_labels()
        return labels.get("os") or "", labels.get("arch") or ""
    system, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    if not variant and architecture in OS_ARCH.get(system, ()):
        return system, architecture
    try:
        return from_go(system, architecture, variant)
    except InvalidValue as error:
        raise UsageError(error.what, f"--platform {text}", "the form is OS/ARCH, as in linux/arm64") from None


def _to_bundle(args: Args, context: Context) -> int:
    """As `appc oci bundle` does it, without any of its options."""
    from appc.cli.pod_options import Warnings
    from appc.executor.bundle import bundle
    from appc.pods.request import AppRequest, PodRequest

    for name in ("--layers", "--name", "--platform", "--compress", "--level", "--overwrite"):
        if name in args.given:
            raise UsageError("has no meaning for a bundle", name)
    warnings = Warnings(context)
    network = network_of(args, context)
    request = PodRequest(
        (AppRequest(args.source),),
        insecure=tuple(args.insecure),
        network=network,
        passphrase=passphrase(args, context),
    )
    bundle(context, request, os.path.abspath(args.target.removeprefix("bundle:")), warnings.found)
    warnings.say()
    return 0
