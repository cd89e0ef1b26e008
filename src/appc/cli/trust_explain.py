"""`appc trust explain`: which keys may sign an image, and why others may not."""

from __future__ import annotations

from appc.cli.options import LISTING, Args, Operand, Verb
from appc.cli.output import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.cli.context import Context
    from appc.cli.output import Column
    from appc.trust.keystore import KeyFile

VERB = Verb(
    "trust explain",
    "say which keys an image may be signed with",
    description=(
        "Shows every key that the configuration knows, whether an image called NAME is accepted when the key has "
        "signed it, and the reason: for which prefix it is trusted, that it is trusted for other images only, that "
        "it was revoked, has expired or is weak, or that it was removed here. The exit status is 1 when no key is "
        "accepted."
    ),
    options=LISTING,
    operands=(Operand("name", help="an image's name; a version and labels are passed over"),),
    examples=(("appc trust explain example.com/app", "who may sign it"),),
)


def run(args: Args, context: Context) -> int:
    """Print the verdict on each key, the accepted ones first."""
    from appc.trust.keystore import Keystore
    from appc.values import ImageReference

    name = str(ImageReference.parse(args.name).name)
    records = [_record(name, entry) for entry in Keystore(context.config).files()]
    records.sort(key=lambda record: not record["accepted"])
    columns: list[Column] = [
        ("FINGERPRINT", lambda key: key["fingerprint"] if context.full else key["fingerprint"][-16:]),
        ("ACCEPTED", lambda key: "yes" if key["accepted"] else "no"),
        ("WHY", "reason"),
        ("USER", lambda key: key["users"][0] if key["users"] else ""),
    ]
    if context.full:
        columns.append(("FILE", "file"))
    listing(context, records, columns)
    if any(record["accepted"] for record in records):
        return 0
    context.warn(f"no key is accepted for {name}", "", f"appc trust add --prefix {name} looks for its keys")
    return 1


def _record(name: str, entry: KeyFile) -> dict[str, Any]:
    accepted, reason = _verdict(name, entry)
    return {
        "fingerprint": entry.fingerprint,
        "accepted": accepted,
        "reason": reason,
        "prefix": entry.prefix,
        "users": entry.key.certificate.user_ids if entry.key else [],
        "file": entry.path,
    }


def _verdict(name: str, entry: KeyFile) -> tuple[bool, str]:
    from appc.errors import SignatureError
    from appc.trust.policy import certificate_fault

    place = f"for {entry.prefix} and all below" if entry.prefix else "for every image"
    if entry.masked_by:
        return False, f"was trusted {place}, and removed by {entry.masked_by}"
    try:
        key = entry.read()
    except SignatureError as error:
        return False, f"its file {error.what}"
    fault = certificate_fault(key.certificate)
    if not key.covers(name):
        return False, f"is trusted {place} only" + (f"; besides, {fault}" if fault else "")
    if fault:
        return False, f"is trusted {place}, but {fault}"
    return True, f"is trusted {place}"
