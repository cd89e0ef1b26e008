"""`appc trust add`: accept images that a key has signed."""

from __future__ import annotations

import os
import sys
import time

from appc.cli.context import printable
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.errors import SignatureError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.trust.packets import Certificate

VERB = Verb(
    "trust add",
    "accept images that a key has signed",
    description=(
        "The key becomes trusted for the image PREFIX and all images below it (example.com covers example.com/app, "
        "not example.community). On a terminal the fingerprint is shown and has to be confirmed: compare it with "
        "what the owner of the key says. Revoked, expired and weak keys are refused. Of the keys in an image bundle "
        "(`appc image export --bundle`) the one to trust has to be named with --key, unless there is but one."
    ),
    options=(
        Option("--prefix", metavar="PREFIX", help="trust the key for these images"),
        Option("--root", help="trust the key for every image"),
        Option("--key", metavar="FINGERPRINT", help="of several keys in the files only this one"),
        Option("--skip-fingerprint-review", help="do not ask"),
    ),
    operands=(Operand("keyfile", count="+", complete="file", help="public keys, a bundle; - is standard input"),),
    exclusive=(("--prefix", "--root"),),
    examples=(("appc trust add --prefix example.com release.gpg", "images of example.com signed with that key"),),
)


def run(args: Args, context: Context) -> int:
    """Add the keys and print their fingerprints."""
    from appc.trust.keystore import Keystore
    from appc.trust.packets import read_certificates

    if not args.prefix and not args.root:
        raise UsageError("what are the keys to be trusted for?", "trust add", "--prefix example.com, or --root for all")
    keystore = Keystore(context.config)
    prefix = args.prefix or ""
    for path in args.keyfile:
        data = _read(path, (args.key or "").lower())
        certificates = read_certificates(data, path)
        if not args.skip_fingerprint_review and not _confirmed(certificates, prefix):
            raise SignatureError("was not confirmed, and is not trusted", path)
        for key in keystore.add(data, prefix):
            context.info(f"trusted for {prefix or 'every image'}: {key.path}", f"key {key.certificate.label}")
            out(f"{key.fingerprint}\n")
    return 0


def _read(path: str, wanted: str) -> bytes:
    """The key file, or what of it is `wanted`: all of it ("") or the key of that fingerprint."""
    from appc.trust.keystore import read_file
    from appc.trust.packets import MAX_KEYS, read_certificates

    if path == "-":
        data = sys.stdin.buffer.read(MAX_KEYS + 1)
    elif path.startswith(("https://", "http://")):
        raise UsageError("keys cannot be fetched by this version", path, "download the key, and give the path")
    elif (bundled := _bundled(path)) is not None:
        if len(bundled) != 1 and not wanted:
            raise UsageError(f"holds {len(bundled)} keys", path, f"--key says which: {', '.join(bundled)}")
        data = b"".join(bundled.values())
    else:
        try:
            data = read_file(path, MAX_KEYS)
        except FileNotFoundError:
            raise SignatureError("there is no such file", path) from None
    if not wanted:
        return data
    for certificate in read_certificates(data, path):
        if certificate.fingerprint == wanted:
            return certificate.data
    raise SignatureError("holds no key of that fingerprint", path)


def _bundled(path: str) -> dict[str, bytes] | None:
    """The keys in an image bundle by fingerprint, None when the file is none."""
    from appc.images.bundle import keys_in

    try:
        return keys_in(path) if os.path.isfile(path) else None
    except OSError as error:
        raise SignatureError(f"cannot be read: {error.strerror}", path) from None


def _confirmed(certificates: list[Certificate], prefix: str) -> bool:
    """Show the keys and ask; without a terminal the command itself is the confirmation."""
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        return True
    for certificate in certificates:
        key = certificate.primary
        bits = f" {key.bits}" if key.bits else ""
        made = time.strftime("%Y-%m-%d", time.gmtime(key.created))
        sys.stderr.write(f"{grouped(key.fingerprint)}\n  {key.algorithm}{bits}, made {made}\n")
        for user_id in certificate.user_ids:
            sys.stderr.write(f"  {printable(user_id)}\n")
    sys.stderr.write(f"Trust for {prefix or 'every image'}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def grouped(fingerprint: str) -> str:
    """A fingerprint in groups of four digits, as people compare them."""
    return " ".join(fingerprint[start : start + 4].upper() for start in range(0, len(fingerprint), 4))
