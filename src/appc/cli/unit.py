"""`appc unit`: units of systemd that run a pod."""

from __future__ import annotations

import os

from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.cli.pod_options import APP_OPTIONS, EXCLUSIVE, POD_OPTIONS, REGISTER, Warnings, request
from appc.errors import UsageError
from appc.executor import unit
from appc.executor.prepare import discard, prepare
from appc.values import ACName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.cli.context import Context

_OWN = (
    Option(
        "--unit-name", metavar="NAME", parse=ACName.parse, help="the service's name (default: that of the first app)"
    ),
    Option("--output", metavar="DIR", complete="dir", help="write the files there instead of printing them"),
)
VERB = Verb(
    "unit",
    "make systemd units that run a pod",
    description=(
        "Takes the same words as `appc run` and prints a service that runs them: it is ready when the pod is "
        "(Type=notify), and stopping it stops the pod in order. For each port with socketActivated there is a socket "
        "unit. Pods are removed when they end (--rm); what their apps write goes to the journal. Nothing is run."
    ),
    options=(*POD_OPTIONS, REGISTER, *_OWN),
    app_options=APP_OPTIONS,
    operands=(Operand("image", count="*", complete="image", help="any IMAGE form; see appc(1)"),),
    exclusive=EXCLUSIVE,
    examples=(
        ("appc unit --output /etc/systemd/system example.com/web:1.0", "then systemctl daemon-reload, and start it"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Print the units, or write their files."""
    if args.interactive:
        raise UsageError("a service has no terminal", "--interactive")
    _refuse_relative_paths(args)
    warnings = Warnings(context)
    prepared = prepare(context, request(args, context), warnings.found)
    discard(prepared.pod)
    warnings.say()
    manifest = prepared.manifest
    name = args.unit_name or str(manifest.apps[0].name)
    words = _run_words(context.words)
    sockets = unit.sockets(name, manifest)
    images = ", ".join(str(app.image.name or app.name) for app in manifest.apps)
    command = unit.command(context, words if prepared.request.remove else ["--rm", *words])
    files = {
        f"{name}.service": unit.service(f"Pod of {images}", command, prepared.request.grace, list(sockets)),
        **sockets,
    }
    for file, text in files.items():
        if args.output:
            with open(os.path.join(args.output, file), "w") as stream:
                stream.write(text)
            out(f"{os.path.join(args.output, file)}\n")
        else:
            out(f"# {file}\n{text}\n")
    return 0


def _refuse_relative_paths(args: Args) -> None:
    """UsageError for what the service, whose working directory is another, would look for in vain."""
    named = [(app.image, os.path.exists(app.image)) for app in args.apps]
    for owner, options in ((args, POD_OPTIONS), *((app, APP_OPTIONS) for app in args.apps)):
        for option in options:
            if option.metavar == "FILE":
                given = getattr(owner, option.dest)
                named += [(path, True) for path in (given if isinstance(given, list) else [given]) if path]
    for path, is_file in named:
        if is_file and not path.startswith("/"):
            raise UsageError("is a path that depends on the working directory", path, "give the whole path")


def _run_words(words: Sequence[str]) -> list[str]:
    """Return the words without this verb's own options, which are none of an app's arguments."""
    found: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        if word == "--":
            end = rest.index("---") if "---" in rest else len(rest)
            found += [word, *rest[:end]]
            del rest[:end]
        elif name in {option.long for option in _OWN}:
            if not equals:
                rest.pop(0)
        else:
            found.append(word)
    return found
