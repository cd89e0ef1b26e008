"""`appc image push`: bring images into a registry, or to a host that serves images."""

from __future__ import annotations

from appc.cli.fetch_options import TRANSPORT, network_of
from appc.cli.image_convert import platform
from appc.cli.options import OPTIONAL, REPEAT, Args, Operand, Option, Verb
from appc.cli.output import Progress, out
from appc.cli.values import integer
from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.images.referrers import Key

_HOST_ONLY = ("--token-file", "--signature", "--overwrite")
_REGISTRY_ONLY = (
    "--artifact",
    "--platform",
    "--compress",
    "--level",
    "--sign",
    "--key-file",
    "--passphrase-file",
    "--mount-from",
)

VERB = Verb(
    "image push",
    "bring images into a registry, or to a host that serves images",
    description=(
        "TARGET docker://REGISTRY/REPOSITORY[:TAG] is a registry: IMAGE, in any of its forms, is there under that name "
        "then; the digest is printed. ACIs become OCI images, which podman and docker can run and appc makes the same "
        "ACIs of again; with --artifact they are stored as they are, with their own signatures. OCI images from "
        "layouts and registries are copied byte for byte, with the signatures beside them. Several images of different "
        "platforms are put under one tag, as an index. What the registry has is not sent again. Credentials are those "
        "that `podman login` or `docker login` keep, or those in auth.d of the configuration.\n\n"
        "TARGET https://HOST is a host where `appc serve` runs with --upload-token-file. IMAGE is a file then; its "
        "name and labels say where it goes, its signature, FILE.asc, goes along, and the URL that the image has there "
        "is printed."
    ),
    options=(
        Option("--artifact", help="store ACIs in a registry as they are, instead of as OCI images"),
        Option("--platform", metavar="OS/ARCH", help="which image of several to take; this host's by default"),
        Option("--compress", choices=("gzip", "zstd", "none"), help="how to compress layers that are made"),
        Option("--level", metavar="N", parse=integer(0, 19), help="compression level"),
        Option("--sign", kind=OPTIONAL, metavar="KEY", help="sign what comes into the registry with gpg"),
        Option("--key-file", metavar="FILE", complete="file", help="sign it with the secret key in this file"),
        Option("--passphrase-file", metavar="FILE", complete="file", help="read the key's passphrase from this file"),
        Option("--mount-from", metavar="REPOSITORY", kind=REPEAT, help="a repository there that may have the layers"),
        Option("--token-file", metavar="FILE", complete="file", help="the host's token for uploads (else from auth.d)"),
        Option("--signature", metavar="FILE", complete="file", help="the signature, when it is not FILE.asc"),
        Option("--overwrite", help="replace another image of the same name and labels on the host"),
        TRANSPORT,
    ),
    operands=(
        Operand("image", count="+", complete="image", help="any IMAGE form for registries, a file for hosts"),
        Operand("target", "TARGET", help="docker://REGISTRY/REPOSITORY[:TAG], or https://HOST[/PATH]"),
    ),
    exclusive=(("--sign", "--key-file"),),
    examples=(
        ("appc image push example.com/app docker://registry.example.com/app:1.0", "an image of the store"),
        ("appc image push --artifact app.aci docker://registry.example.com/app:1.0", "the ACI as it is"),
        ("appc image push amd64.aci arm64.aci docker://registry.example.com/app:1.0", "one tag for two platforms"),
        ("appc image push --token-file token app.aci https://example.com", "to an `appc serve` there"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Push the images and print where they are."""
    registry = args.target.startswith("docker:")
    if not registry and not args.target.startswith(("https://", "http://")):
        forms = "the forms are docker://REGISTRY/REPOSITORY[:TAG] and https://HOST"
        raise UsageError("is no place to push to", args.target, forms)
    for name in _HOST_ONLY if registry else _REGISTRY_ONLY:
        if name in args.given:
            raise UsageError(f"has no meaning for {'registries' if registry else 'hosts'}", name)
    return _to_registry(args, context) if registry else _to_host(args, context)


def _to_registry(args: Args, context: Context) -> int:
    from appc.build.convert import How
    from appc.build.push import PushHow, push
    from appc.images.registry import Access
    from appc.store.images import ImageStore

    warnings: list[str] = []
    network = network_of(args, context)()
    how = How(
        platform(args.platform),
        platform_given=bool(args.platform),
        compression=args.compress or "",
        level=args.level,
    )
    with Progress(f"pushing to {args.target}") as progress:
        pushing = PushHow(
            how,
            artifact=args.artifact,
            key=signing_key(args, args.sign),
            mount=args.mount_from,
            progress=progress.advance,
        )
        access = Access.through(network, warnings)
        digest = push(ImageStore(context.root), args.image, args.target, access, pushing, warnings)
    for warning in dict.fromkeys((*warnings, *network.relaxed())):
        context.warn(warning, args.target)
    out(f"{digest}\n")
    return 0


def signing_key(args: Args, name: str | None) -> Key | None:
    """The key that --sign and --key-file mean, None without them."""
    from appc.images.referrers import Key

    if name is None and not args.key_file:
        return None
    return Key(name or "", args.key_file or "", args.passphrase_file or "")


def _to_host(args: Args, context: Context) -> int:
    from appc.serve.push import push
    from appc.serve.uploads import read_token

    if len(args.image) > 1 and args.signature:
        raise UsageError("is for one image", "--signature")
    token = read_token(args.token_file) if args.token_file else ""
    network = network_of(args, context)()
    for file in args.image:
        with Progress(f"sending {file}") as progress:
            url = push(
                network.client,
                file,
                args.target,
                token=token,
                signature=args.signature or "",
                overwrite=args.overwrite,
                progress=progress.advance,
            )
        out(f"{url}\n")
    for said in network.relaxed():
        context.warn(said, args.target)
    return 0
