"""`appc discover`: what discovery finds for a name, and every step on the way."""

from __future__ import annotations

from appc.cli.fetch_options import network_of
from appc.cli.options import FORMAT, LIST, Args, Operand, Option, Verb
from appc.cli.output import json_document, out, printable, style
from appc.errors import AppcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.cli.context import Context
    from appc.images.network import Network
    from appc.values import ImageReference

VERB = Verb(
    "discover",
    "show what discovery finds for names, step by step",
    description=(
        "Asks the discovery page of each name, and those of its parents, as `appc fetch` would, and shows what each "
        "said, where the image would be looked for and in which order, and where its keys are. Nothing else is "
        "fetched. The exit status is 1 when there is no place for one of the names."
    ),
    options=(
        FORMAT,
        Option(
            "--insecure",
            metavar="WHAT,...",
            kind=LIST,
            choices=("tls", "http"),
            help="tls: do not verify certificates; http: allow plain http",
        ),
    ),
    operands=(Operand("name", count="+", help="an image's name, with labels or without"),),
    examples=(("appc discover example.com/app:1.0,os=linux,arch=amd64", "for a platform other than this one"),),
)


def run(args: Args, context: Context) -> int:
    """Print a section for each name; 1 when one has no place."""
    from appc.values import ImageReference

    args.offline = False
    network = network_of(args, context)()
    records = [_discover(network, ImageReference.parse(name)) for name in args.name]
    if context.format == "json":
        json_document(records)
    else:
        for number, record in enumerate(records):
            out("\n" if number else "")
            _show(record)
    for text in network.relaxed():
        context.warn(text)
    return 0 if all(record["images"] for record in records) else 1


def _discover(network: Network, wanted: ImageReference) -> dict[str, Any]:
    from appc.formats.discovery import ENDPOINT, KEYS
    from appc.images.fetch import host_labels
    from appc.images.places import check, mirrors_for, of_template

    defaults = host_labels()
    found = network.discovery.search(wanted.name, ENDPOINT, KEYS)
    images, skipped = [], []
    for template in found.templates:
        try:
            place = of_template(template, wanted, defaults, local=False)
            check(network, place)
        except AppcError as error:
            skipped.append({"template": template, "reason": error.what})
        else:
            images.append({"template": template, "image": place.aci, "signature": place.asc or None})
    errors = [step.error for step in found.steps if step.error is not None]
    return {
        "name": str(wanted.name),
        "labels": dict([*defaults, *wanted.labels]),
        "mirrors": mirrors_for(network.settings.discovery_mirrors, wanted.name),
        "steps": [
            {
                "url": step.url,
                "redirects": [{"status": status, "to": url} for status, url in step.redirects],
                "result": str(step.error) if step.error is not None else step.said,
                "tags": [{"name": tag.kind, "prefix": tag.prefix, "target": tag.target} for tag in step.tags],
            }
            for step in found.steps
        ],
        "images": images,
        "skipped": skipped,
        "keys": found.keys,
        "error": str(errors[0]) if errors and not images else None,
    }


def _show(record: dict[str, Any]) -> None:
    before, after = style("1")
    labels = ",".join(f"{key}={value}" for key, value in record["labels"].items())
    out(f"{before}{printable(record['name'])}{after} {printable(labels)}\n")
    for mirror in record["mirrors"]:
        _line("mirror", mirror)
    for step in record["steps"]:
        _line("asked", step["url"])
        for redirect in step["redirects"]:
            _line("", f"sent on to {redirect['to']}")
        _line("", step["result"].removeprefix(f"{step['url']}: "))
    for image in record["images"]:
        _line("image", image["image"])
        _line("signature", image["signature"] or "(in the registry, beside the image)")
    for template in record["skipped"]:
        _line("skipped", f"{template['template']}: {template['reason']}")
    for url in record["keys"]:
        _line("keys", url)
    if not record["images"]:
        _line("image", "(no place found)")


def _line(heading: str, text: str) -> None:
    out(f"  {heading:<10} {printable(text)}\n")
