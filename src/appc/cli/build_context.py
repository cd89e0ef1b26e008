"""`appc build begin`, `copy`, `run`, `write`, `end` and what else is done with the files of a build."""

from __future__ import annotations

import os
from types import SimpleNamespace

from appc.cli.build_base import FETCH, Bases
from appc.cli.build_options import NETWORKS, OUTPUT, OUTPUT_EXCLUSIVE, finish, network, own_times
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.output import out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE
from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appc.build.session import Find, Session
    from appc.cli.context import Context
    from appc.store.images import ImageStore

COMMON = (
    Option("--work-path", metavar="DIR", complete="dir", default="", help="where the build is kept (default: here)"),
    Option("--debug", hidden=True, help="acbuild's; --log-level says how much is told"),
    Option("--no-history", hidden=True, help="acbuild's; an image does not tell how it was made"),
)


def opened(args: Args) -> Session:
    """The build that a command works on."""
    from appc.build.session import Session

    return Session.open(args.work_path)


def _below(args: Args, context: Context) -> tuple[ImageStore, Find]:
    """The store, and what finds the images in it that others depend on."""
    from appc.store.images import ImageStore

    store = ImageStore(context.root)
    return store, lambda dependencies: Bases(store, args, context).dependencies(dependencies, "the build")


def _begin(args: Args, context: Context) -> int:
    from appc.build import start
    from appc.build.session import Session
    from appc.store.images import ImageStore

    source, warnings = args.start or "", list[str]()
    files = not source or os.path.isdir(source) or (os.path.isfile(source) and not source.endswith(".aci"))
    store = ImageStore(context.root)
    session = Session.begin(args.work_path)
    try:
        if files:
            start.from_files(session, source, warnings)
        else:
            start.from_image(session, store, Bases(store, args, context).image(source), warnings)
    except BaseException:
        session.end()
        raise
    session.close()
    for warning in warnings:
        context.warn(warning, source)
    return 0


def _end(args: Args, context: Context) -> int:
    from appc.build.session import Session

    Session.open(args.work_path, begun=False).end()
    return 0


def _copy(args: Args, context: Context) -> int:
    if args.target.endswith("/"):
        raise UsageError("names what the copy is called, and so does not end with /", args.target, "see copy-to-dir")
    return _copied(args, context, ((args.source, args.target),))


def _copy_to_dir(args: Args, context: Context) -> int:
    pairs = [(one, f"{args.target.rstrip('/')}/{os.path.basename(os.path.abspath(one))}") for one in args.source]
    return _copied(args, context, pairs)


def _copied(args: Args, context: Context, pairs: Sequence[tuple[str, str]]) -> int:
    from appc.build.dockercopy import Copier, HostPath

    for _, target in pairs:
        if not target.startswith("/"):
            raise UsageError("is not an absolute path in the image", target)
    with opened(args) as session, session.changed(*_below(args, context)) as root:
        owner = None if os.geteuid() == 0 else (0, 0)
        for source, target in pairs:
            Copier(root, owner).copy(HostPath(source), (source,), target)
    return 0


def _run(args: Args, context: Context) -> int:
    from appc.build.overlay import private_mounts
    from appc.build.session import Session
    from appc.executor.step import OURS, TERMINAL, run_step
    from appc.schema.image import App, ImageManifest

    if not args.command:
        raise UsageError("COMMAND is missing", "build run")
    with Session.open(args.work_path) as session:
        app = ImageManifest.parse(session.manifest).app
        step = App(
            exec=tuple(args.command),
            user="0",
            group="0",
            working_directory=args.working_dir or "",
            environment=app.environment if app is not None else (),
        )
        private_mounts()
        with session.changed(*_below(args, context)) as root:
            terminal = os.isatty(0) and os.isatty(1)
            return run_step(context, root, step, args.net, TERMINAL if terminal else OURS)


def _write(args: Args, context: Context) -> int:
    from appc.build.session import UNNAMED
    from appc.schema.image import ImageManifest

    warnings: list[str] = []
    with opened(args) as session:
        manifest = ImageManifest.parse(session.manifest)
        if manifest.name == UNNAMED:
            raise UsageError("the image has no name", session.path, "`appc build set-name NAME` gives it one")
        if manifest.app is None or not manifest.app.exec:
            context.warn("executes nothing; `appc build set-exec` says what it should", args.out)
        try:
            # Before the file is opened: a file is given its name in the mount namespace that it was opened in.
            made = session.pack(*_below(args, context), warnings)
            return finish(args, context, lambda _: made, warnings, times=own_times(args), owner_root=os.geteuid() != 0)
        finally:
            session.unpack()


def _cat_manifest(args: Args, context: Context) -> int:
    from appc.schema.json import dumps, loads

    with opened(args) as session:
        out(dumps(loads(session.written()), 4 if args.pretty_print else None) + "\n")
    return 0


def _replace_manifest(args: Args, context: Context) -> int:
    from appc.build.image import manifest_file

    data = manifest_file(args.file)
    with opened(args) as session:
        session.put_manifest(data)
    return 0


def verb(
    name: str,
    run: Callable[[Args, Context], int],
    summary: str,
    *,
    options: tuple[Option, ...] = (),
    operands: tuple[Operand, ...] = (),
    description: str = "",
    exclusive: tuple[tuple[str, ...], ...] = (),
    examples: tuple[tuple[str, str], ...] = (),
) -> SimpleNamespace:
    """One verb of `appc build`, as `main` expects it of a file."""
    made = Verb(
        f"build {name}",
        summary,
        options=(*options, *COMMON),
        operands=operands,
        description=description,
        exclusive=exclusive,
        examples=examples,
    )
    return SimpleNamespace(VERB=made, run=run)


VERBS = (
    verb(
        "begin",
        _begin,
        "begin a build by single commands",
        description=(
            "Makes .appc-build in the working directory, or in --work-path, where the image is put together by the "
            "commands that follow, until `appc build end`. Each of them holds a lock on it. The commands are acbuild's "
            "and so are their exit statuses: that of the command for `run`, 2 when what is to be removed is not there."
        ),
        options=(
            *FETCH,
            *PASSPHRASE,
            Option("--build-mode", choices=("appc",), hidden=True, help="acbuild's"),
        ),
        exclusive=PASSPHRASE_EXCLUSIVE,
        operands=(
            Operand(
                "start",
                count="?",
                complete="image",
                help="an image in any form, or the root file system in a directory or a tar archive (default: nothing)",
            ),
        ),
        examples=(
            ("appc build begin", "with nothing"),
            ("appc build set-name example.com/app", "each command changes the image"),
            ("appc build copy ./app /bin/app", "a file"),
            ("appc build write app.aci && appc build end", "and this is all"),
        ),
    ),
    verb(
        "copy",
        _copy,
        "copy a file or directory",
        options=(*FETCH, *PASSPHRASE),
        exclusive=PASSPHRASE_EXCLUSIVE,
        operands=(
            Operand("source", "SRC", complete="file", help="a file or directory of the host"),
            Operand("target", "DST", help="what it is called in the image"),
        ),
        description=(
            "Directories above DST are made. A directory's content is added to what is in DST. Owners are kept if root "
            "copies; times are 1970-01-01."
        ),
    ),
    verb(
        "copy-to-dir",
        _copy_to_dir,
        "copy files and directories into a directory",
        options=(*FETCH, *PASSPHRASE),
        exclusive=PASSPHRASE_EXCLUSIVE,
        operands=(
            Operand("source", "SRC", count="+", complete="file", help="a file or directory of the host"),
            Operand("target", "DIR", help="the directory in the image"),
        ),
    ),
    verb(
        "run",
        _run,
        "run a command in the image and keep what it changed",
        description=(
            "Runs in a pod whose root is the image with its dependencies, as root, with the environment set so far. "
            "What it changes becomes part of the image; what it deletes of dependencies is left out by a path "
            "whitelist. The exit status is the command's."
        ),
        options=(
            Option("--working-dir", metavar="DIR", help="where it is run (default /)"),
            Option("--net", metavar="NET", parse=network, default="host", help=f"its network: {NETWORKS}"),
            *FETCH,
            *PASSPHRASE,
            Option("--engine", metavar="NAME", hidden=True, help="acbuild's"),
        ),
        exclusive=PASSPHRASE_EXCLUSIVE,
        operands=(Operand("command", count="rest", help="the program and its arguments"),),
    ),
    verb(
        "write",
        _write,
        "write the image to a file",
        description="Prints the image ID. The build goes on until `appc build end`.",
        options=(*OUTPUT, *FETCH),
        exclusive=OUTPUT_EXCLUSIVE,
        operands=(Operand("out", "OUT.aci", complete="file", help="the image file to make"),),
    ),
    verb("end", _end, "end the build and remove what it kept"),
    verb(
        "cat-manifest",
        _cat_manifest,
        "print the manifest as it is so far",
        options=(Option("--pretty-print", help="indented"),),
    ),
    verb(
        "replace-manifest",
        _replace_manifest,
        "replace the manifest",
        operands=(Operand("file", complete="file", help="JSON, .yaml or .toml"),),
    ),
)
