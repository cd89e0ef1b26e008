"""`appc image push`: bring an image file to a host."""

from __future__ import annotations

from appc.cli.options import LIST, Args, Operand, Option, Verb
from appc.cli.output import Progress, out
from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context

VERB = Verb(
    "image push",
    "bring an image to a host that serves images",
    description=(
        "TARGET is https://HOST, where `appc serve` runs with --upload-token-file. The image's name and labels say "
        "where it goes; its signature, FILE.asc, goes along. Prints the URL that the image has there."
    ),
    options=(
        Option("--token-file", metavar="FILE", complete="file", help="the host's token for uploads (else from auth.d)"),
        Option("--signature", metavar="FILE", complete="file", help="the signature, when it is not FILE.asc"),
        Option("--overwrite", help="replace another image of the same name and labels"),
        Option(
            "--insecure",
            metavar="WHAT",
            kind=LIST,
            choices=("http", "tls"),
            help="http: send it, and the token, over plain http; tls: whoever has the certificate",
        ),
    ),
    operands=(
        Operand("file", "FILE", complete="file", help="the image file"),
        Operand("target", "TARGET", help="https://HOST[/PATH]"),
    ),
    examples=(("appc image push --token-file token app.aci https://example.com", "to an `appc serve` there"),),
)


def run(args: Args, context: Context) -> int:
    """Push the image and print where it is."""
    if not args.target.startswith(("https://", "http://")):
        raise UsageError("is no URL to push to", args.target, "the form is https://HOST")
    from appc.net.credentials import Credentials
    from appc.net.http import Client, Settings
    from appc.serve.push import push
    from appc.serve.uploads import read_token

    client = Client(Settings(insecure=args.insecure), Credentials(context.config, context.warn))
    try:
        with Progress(f"sending {args.file}") as progress:
            url = push(
                client,
                args.file,
                args.target,
                token=read_token(args.token_file) if args.token_file else "",
                signature=args.signature or "",
                overwrite=args.overwrite,
                progress=progress.advance,
            )
    finally:
        client.close()
    for relaxed in sorted(client.used):
        context.warn(f"was sent with --insecure {relaxed}", args.file)
    out(f"{url}\n")
    return 0
