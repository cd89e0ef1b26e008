"""`appc pod kube`: a pod as Kubernetes would be told of it."""

from __future__ import annotations

import os

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import json_document, out
from appc.errors import AppcError
from appc.formats.kube_write import to_kube
from appc.formats.layout import read_small
from appc.pods import layout
from appc.schema.pod import PodManifest
from appc.schema.record import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.cli.context import Context

VERB = Verb(
    "pod kube",
    "print a pod as a Kubernetes Pod",
    description=(
        "Writes what a pod's manifest says as a Pod of Kubernetes (core/v1): apps are containers, pre-start handlers "
        "init containers, isolators resources and security contexts. What Kubernetes has nothing for is told on "
        "stderr. `appc run --kube` goes the other way."
    ),
    options=(
        Option("--format", choices=("yaml", "json"), default="yaml", help="how it is written"),
        Option("--name", metavar="NAME", default="", help="what the Pod is called (default: as its first app)"),
    ),
    operands=(Operand("pod", complete="pod", help="a pod's UUID, or a file that holds a reified pod manifest"),),
    examples=(("appc pod kube 4d889d9b | kubectl apply -f -", "run it in a cluster as well"),),
)


def run(args: Args, context: Context) -> int:
    """Print the document; what it does not say becomes warnings."""
    beside: dict[str, Any] = {}
    if "/" in args.pod or os.path.isfile(args.pod):
        manifest = PodManifest.parse(read_small(None, args.pod, args.pod), where=args.pod)
    else:
        pod = layout.find(context.root, args.pod)
        manifest = PodManifest.parse(pod.read("pod"))
        request = pod.read_json("request")
        beside = {
            "host_network": request["net"] == "host",
            "hostname": request["hostname"],
            "grace": request["grace"],
        }
    manifest.check_executable()
    document, lost = to_kube(manifest, args.name or str(manifest.apps[0].name), **beside)
    for path, why in lost:
        context.warn(f"is left out: {why}", path)
    if args.format == "json":
        json_document(document)
    else:
        out(_yaml(encoded(document)))
    return 0


def _yaml(document: dict[str, Any]) -> str:
    try:
        import yaml
    except ImportError:
        hint = "install the Python package PyYAML; --format json does without, and Kubernetes takes it as well"
        raise AppcError("this installation cannot write it", "YAML", hint) from None
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text
