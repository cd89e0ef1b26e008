"""`appc serve`: host a directory of images."""

from __future__ import annotations

from appc.cli.options import LIST, REPEAT, Args, Operand, Option, Verb
from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.values import ACIdentifier

_DEFAULT_LISTEN = "127.0.0.1:8080"
_NOT_WITH_EXPORT = (
    "--listen",
    "--tls-cert",
    "--tls-self-signed",
    "--access-log",
    "--cache",
    "--upload-token-file",
)


def _address(text: str) -> tuple[str, int]:
    """Parse ADDR:PORT, where ADDR may be [IPv6], a name, or nothing for every address."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, as in [::1]:8080")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not ADDR:PORT, such as 0.0.0.0:8080")
    return host, int(port)


def _url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if scheme not in ("http", "https") or not separator or not rest or set(rest) & set(' "<>{}?#\\'):
        raise ValueError(f"{text!r} is no URL to put before paths, such as https://example.com")
    return text.rstrip("/")


def _size(text: str) -> int:
    from appc.quantity import Quantity

    return Quantity.parse(text).value


VERB = Verb(
    "serve",
    "host images with signatures, keys and discovery pages for machines and people",
    description=(
        "Serves the ACIs below DIR, whatever their files are called, by the names and labels in their manifests. "
        "Signatures lie beside them (FILE.aci.asc), public keys in DIR/keys/*.asc or DIR/pubkeys.gpg. New files are "
        "served when they are there. Only what is in DIR is served: links that lead out of it and images that are not "
        "valid are listed and left out.\n\n"
        "Clients find images when https://DOMAIN of their names leads here; see docs/hosting.md. SIGHUP opens the "
        "access log and the certificate again; SIGTERM lets transfers end first."
    ),
    options=(
        Option("--listen", metavar="ADDR:PORT", parse=_address, help=f"where to listen ({_DEFAULT_LISTEN})"),
        Option(
            "--tls-cert", metavar="FILE", complete="file", help="the certificate and those between it and a root, PEM"
        ),
        Option("--tls-key", metavar="FILE", complete="file", help="its key, PEM"),
        Option("--tls-self-signed", help="make a certificate that nobody vouches for"),
        Option(
            "--url", metavar="URL", parse=_url, help="what clients reach this by, when that is not the host they name"
        ),
        Option(
            "--name-prefix",
            metavar="NAME",
            kind=REPEAT,
            help="serve only images called that or something below it (several times: any of them)",
        ),
        Option(
            "--access-log", metavar="FILE", complete="file", help="add a line for each request; - is standard output"
        ),
        Option(
            "--upload-token-file",
            metavar="FILE",
            complete="file",
            help="take images from whoever has the token in FILE (its first line)",
        ),
        Option("--upload-limit", metavar="SIZE", parse=_size, help="the most bytes an uploaded image may have (16Gi)"),
        Option("--insecure", metavar="WHAT", kind=LIST, choices=("http",), help="http: take uploads over plain http"),
        Option("--export", metavar="OUT", complete="dir", help="write static files for any web server instead"),
        Option("--cache", metavar="DIR", complete="dir", help="where to keep what can be made again"),
    ),
    operands=(Operand("directory", "DIR", complete="dir", help="where the images are"),),
    exclusive=(
        ("--tls-cert", "--tls-self-signed"),
        ("--tls-key", "--tls-self-signed"),
        *(("--export", name) for name in _NOT_WITH_EXPORT),
    ),
    examples=(
        ("appc serve images", "look at it at http://127.0.0.1:8080"),
        (
            "appc serve --listen :443 --tls-cert example.com.crt --tls-key example.com.key /srv/images",
            "images called example.com/…, for everybody",
        ),
        ("appc serve --export htdocs --name-prefix example.com images", "the same as static files"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Serve until SIGTERM or SIGINT, or write the static files."""
    import traceback

    from appc.serve.run import How, cache_directory, serve
    from appc.serve.uploads import LIMIT
    from appc.values import ACIdentifier

    prefixes = [ACIdentifier.parse(prefix) for prefix in args.name_prefix]
    if args.export:
        return _export(args, prefixes, context)
    if bool(args.tls_cert) != bool(args.tls_key):
        raise UsageError("--tls-cert and --tls-key go together", "serve")
    host, port = args.listen or _address(_DEFAULT_LISTEN)
    certificate, key = args.tls_cert or "", args.tls_key or ""
    token = _token(args, host, context)
    cache = cache_directory(args.cache or "")
    if args.tls_self_signed:
        from appc.serve import selfsigned

        certificate, key = selfsigned.certificate(cache, _names(host))
        context.info(f"has the SHA-256 fingerprint {selfsigned.fingerprint(certificate)}", certificate)
    how = How(
        host,
        port,
        cache=cache,
        certificate=certificate,
        key=key,
        prefixes=prefixes,
        url=args.url or "",
        access_log=args.access_log or "",
        token=token,
        limit=args.upload_limit or LIMIT,
    )

    def fault(error: Exception) -> None:
        context.error(f"a request failed: {type(error).__name__}: {error}")
        context.debug("".join(traceback.format_exception(error)).rstrip())

    serve(args.directory, how, lambda url: context.info(f"serving at {url}", args.directory), fault)
    return 0


def _token(args: Args, host: str, context: Context) -> str:
    """The token for uploads, "" when there are to be none. On its way it must not be read by others."""
    from appc.serve.uploads import read_token

    if not args.upload_token_file:
        return ""
    safe = args.tls_cert or args.tls_self_signed or (args.url or "").startswith("https:")
    if not safe and host not in ("127.0.0.1", "::1", "localhost"):
        if "http" not in args.insecure:
            hint = "use TLS, --url https://… behind a proxy that does, or --insecure http"
            raise UsageError("would send the token where others can read it", "--upload-token-file", hint)
        context.warn("uploads are taken over plain http: others can read the token on its way (--insecure http)")
    return read_token(args.upload_token_file)


def _export(args: Args, prefixes: list[ACIdentifier], context: Context) -> int:
    from appc.cli.output import Progress
    from appc.serve.export import export

    with Progress(f"writing {args.export}") as progress:
        catalog = export(args.directory, args.export, prefixes=prefixes, url=args.url or "", progress=progress.advance)
    for path, fault in catalog.faults:
        context.warn(f"is left out: {fault}", f"{args.directory}/{path}")
    return 0


def _names(host: str) -> tuple[str, ...]:
    """What a certificate of one's own is for: this machine, and the address that is listened on."""
    import socket

    own = {"localhost", "127.0.0.1", "::1", socket.gethostname()}
    return tuple(sorted(own | ({host} if host not in ("", "0.0.0.0", "::") else set())))
