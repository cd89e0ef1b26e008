"""`appc trust add`: accept images that a key has signed."""

from __future__ import annotations

import os
import sys

from appc.cli import key_review
from appc.cli.fetch_options import key_network
from appc.cli.options import LIST, Args, Operand, Option, Verb
from appc.cli.output import out
from appc.errors import SignatureError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.cli.context import Context
    from appc.trust.packets import Certificate

VERB = Verb(
    "trust add",
    "accept images that a key has signed",
    description=(
        "The key becomes trusted for the image PREFIX and all images below it (example.com covers example.com/app, "
        "not example.community). Without KEYFILE the keys are looked for by discovery, on the pages of PREFIX and its "
        "parents.\n\n"
        "On a terminal the fingerprint is shown and has to be confirmed: compare it with what the owner of the key "
        "says. Elsewhere --fingerprint says which key is meant; keys that come from a network are not trusted "
        "without either. Revoked, expired and weak keys are refused. Of the keys in an image bundle (`appc image "
        "export --bundle`) the one to trust has to be named, unless there is but one."
    ),
    options=(
        Option("--prefix", metavar="PREFIX", help="trust the key for these images"),
        Option("--root", help="trust the key for every image"),
        Option("--fingerprint", metavar="FINGERPRINT", kind="repeat", help="trust the key that has it, and do not ask"),
        Option("--skip-fingerprint-review", help="trust whatever key it is, and do not ask"),
        Option(
            "--insecure",
            metavar="WHAT,...",
            kind=LIST,
            choices=("pubkey", "tls"),
            help="pubkey: fetch keys over plain http; tls: do not verify certificates",
        ),
    ),
    operands=(
        Operand("keyfile", count="*", complete="file", help="public keys, a bundle, or a URL; - is standard input"),
    ),
    exclusive=(("--prefix", "--root"), ("--fingerprint", "--skip-fingerprint-review")),
    examples=(
        ("appc trust add --prefix example.com", "the keys that https://example.com names, after a look at them"),
        ("appc trust add --prefix example.com release.gpg", "images of example.com signed with that key"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Add the keys and print their fingerprints."""
    from appc.trust.keystore import Keystore
    from appc.trust.packets import read_certificates

    if not args.prefix and not args.root:
        raise UsageError("what are the keys to be trusted for?", "trust add", "--prefix example.com, or --root for all")
    if not args.keyfile and not args.prefix:
        raise UsageError("which key?", "trust add", "name a KEYFILE; keys for every image cannot be discovered")
    keystore = Keystore(context.config)
    prefix = args.prefix or ""
    wanted = [fingerprint.replace(" ", "").lower().removeprefix("0x") for fingerprint in args.fingerprint]
    added: set[str] = set()
    for source, data, foreign in _sources(args, context, prefix):
        certificates = _chosen(read_certificates(data, source), wanted, source, bool(args.keyfile))
        for certificate in certificates:
            if not wanted and not args.skip_fingerprint_review and not _confirmed(certificate, prefix, source, foreign):
                raise SignatureError("was not confirmed, and is not trusted", source)
            for key in keystore.add(certificate.data, prefix):
                context.info(f"trusted for {prefix or 'every image'}: {key.path}", f"key {key.certificate.label}")
                added.add(key.fingerprint)
                out(f"{key.fingerprint}\n")
    if missing := [fingerprint for fingerprint in wanted if fingerprint not in added]:
        raise SignatureError("was found nowhere", f"key {missing[0]}", "give all digits of the fingerprint")
    return 0


def _sources(args: Args, context: Context, prefix: str) -> Iterator[tuple[str, bytes, bool]]:
    """Yield (name, content, whether it comes from a network) of each file of keys."""
    network = key_network(args, context)
    if not args.keyfile:
        from appc.images.keys import discovered_keys

        for url, data in discovered_keys(network, prefix):
            yield url, data, True
    for path in args.keyfile:
        if path.startswith(("https://", "http://")):
            from appc.images.keys import fetched_key

            yield path, fetched_key(network, path), True
        else:
            yield path, _read(path, bool(args.fingerprint)), False
    for text in network.relaxed():
        context.warn(text)


def _read(path: str, named: bool) -> bytes:
    from appc.trust.keystore import read_file
    from appc.trust.packets import MAX_KEYS

    if path == "-":
        return sys.stdin.buffer.read(MAX_KEYS + 1)
    bundled = _bundled(path)
    if bundled is not None:
        if len(bundled) != 1 and not named:
            raise UsageError(f"holds {len(bundled)} keys", path, f"--fingerprint says which: {', '.join(bundled)}")
        return b"".join(bundled.values())
    try:
        return read_file(path, MAX_KEYS)
    except FileNotFoundError:
        raise SignatureError("there is no such file", path) from None


def _bundled(path: str) -> dict[str, bytes] | None:
    """The keys in an image bundle by fingerprint, None when the file is none."""
    from appc.images.bundle import keys_in

    try:
        return keys_in(path) if os.path.isfile(path) else None
    except OSError as error:
        raise SignatureError(f"cannot be read: {error.strerror}", path) from None


def _chosen(certificates: list[Certificate], wanted: list[str], source: str, named: bool) -> list[Certificate]:
    """Those of the keys that are wanted; a file that was named has to have one of them."""
    found = [one for one in certificates if not wanted or one.fingerprint in wanted]
    if not found and named:
        raise SignatureError("holds no key of that fingerprint", source)
    return found


def _confirmed(certificate: Certificate, prefix: str, source: str, foreign: bool) -> bool:
    """Ask. Without a terminal naming a file is the confirmation; a page of a network is none."""
    if key_review.possible():
        return key_review.confirmed(certificate, prefix, source if foreign else "")
    if foreign:
        raise SignatureError(
            f"has the key {certificate.fingerprint}, which nobody has confirmed",
            source,
            "compare the fingerprint with what the owner of the key says, then give it with --fingerprint",
        )
    return True
