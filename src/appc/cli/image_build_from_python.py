"""`appc image build from-python`: a Python project becomes an image with an interpreter of its own."""

from __future__ import annotations

import os

from appc.cli.build_options import ARGUMENTS, MANIFEST, MANIFEST_NOTE, OUT, OUTPUT, OUTPUT_EXCLUSIVE, build, fixed_times
from appc.cli.options import REPEAT, Args, Operand, Option, Verb
from appc.schema.image import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context


def _port(text: str) -> Port:
    return Port.parse_string(f"http,protocol=tcp,port={text}" if text.isdigit() else text)


VERB = Verb(
    "image build from-python",
    "make an image file from a Python project",
    description=(
        "PROJECT is a directory. pip installs what its requirements.lock or requirements.txt lists, with hashes "
        "checked where the file has them, else what pyproject.toml names as dependencies. A project with a build "
        "system or commands is installed too; another one is copied to /app, from where it is started. The image gets "
        "an interpreter of its own with the standard library (without tests, Tk and tools), the shared libraries that "
        "it and all extension modules need, and bytecode of everything.\n\n"
        "The app executes --module, the command --script, the project's only command, or its __main__.py, app.py, "
        "main.py, server.py or wsgi.py, with the arguments after `--`. pip reads its configuration and environment as "
        "ever.\n\n" + MANIFEST_NOTE
    ),
    options=(
        Option("--module", metavar="NAME", help="execute this module"),
        Option("--script", metavar="NAME", help="execute this command that a package installs"),
        Option(
            "--port",
            metavar="N|NAME,protocol=tcp,port=N[,...]",
            kind=REPEAT,
            parse=_port,
            help="declare a port, called http if it has no name; the variable PORT tells the app the first one",
        ),
        Option("--python", metavar="PROGRAM", default="/usr/bin/python3", complete="file", help="the interpreter"),
        Option("--find-links", metavar="DIR", kind=REPEAT, help="where pip finds packages; a directory or URL"),
        Option("--no-index", help="pip uses no index, just --find-links"),
        Option("--index-url", metavar="URL", help="the index pip uses"),
        *(option for option in MANIFEST if option.long != "--port"),
        *OUTPUT,
    ),
    operands=(Operand("project", complete="dir", help="the project's directory"), OUT, ARGUMENTS),
    exclusive=(("--module", "--script"), *OUTPUT_EXCLUSIVE),
    examples=(
        ("appc image build from-python --port 8000 ./shop shop.aci", "a web application"),
        (
            "appc image build from-python --module flask . app.aci -- run --host 0.0.0.0",
            "a module of a dependency, with arguments",
        ),
    ),
)


def run(args: Args, context: Context) -> int:
    """Build the image and print its ID."""
    from appc.build.python import make_python
    from appc.build.tree import Tree

    arguments, args.command = list(args.command), []
    pip: list[str] = []
    for place in args.find_links:
        pip += ["--find-links", os.path.abspath(place) if os.path.isdir(place) else place]
    if args.no_index:
        pip.append("--no-index")
    if args.index_url is not None:
        pip += ["--index-url", args.index_url]

    def make(directory: str, warnings: list[str]) -> tuple[str, bytes]:
        rootfs = f"{directory}/rootfs"
        os.mkdir(rootfs, 0o755)
        tree = Tree(rootfs)
        manifest = make_python(
            tree,
            args.project,
            python=args.python,
            module=args.module or "",
            script=args.script or "",
            arguments=arguments,
            ports=args.port,
            pip=pip,
            scratch=directory,
            warnings=warnings,
        )
        warnings += tree.warnings
        return rootfs, manifest

    return build(args, context, make, times=fixed_times(args))
