"""The entrance: global options, the table of verbs, and what becomes of errors.

Only the file of the verb that is called gets imported. The starter runs Python without `site`; verbs that may
need packages from outside the standard library get `site` when they are called, the fast ones never.
"""

from __future__ import annotations

import os
import sys

from appc.cli.context import Context, message
from appc.cli.options import GLOBAL, did_you_mean, parse
from appc.errors import EXIT_INTERNAL, EXIT_USAGE, AppcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from appc.cli.options import Args

# Verbs that start without `site`: they import nothing but the standard library and appc, and little of either.
FAST = (
    "run",
    "prepare",
    "run-prepared",
    "plan",
    "list",
    "status",
    "manifest",
    "logs",
    "enter",
    "stop",
    "kill",
    "rm",
    "gc",
    "metadata-service",
    "version",
    "completion-values",
    "finish",
)

# The others, in the order the help shows them.
VERBS = (
    *FAST,
    "update",
    "app add",
    "app start",
    "app stop",
    "app rm",
    "app list",
    "cp",
    "top",
    "events",
    "attach",
    "unit",
    "export",
    "df",
    "fetch",
    "discover",
    "trust add",
    "trust list",
    "trust explain",
    "trust rm",
    "image build",
    "image build from-binary",
    "image build from-rootfs",
    "image build from-deb",
    "image build from-python",
    "image build from-dockerfile",
    "image validate",
    "image manifest",
    "image patch",
    "image id",
    "image extract",
    "image render",
    "image diff",
    "image tree",
    "image sign",
    "image verify",
    "image encrypt",
    "image decrypt",
    "image list",
    "image df",
    "image export",
    "image convert",
    "image push",
    "image rm",
    "image gc",
    "image check",
    "serve",
    "build begin",
    "build copy",
    "build copy-to-dir",
    "build run",
    "build write",
    "build end",
    "build cat-manifest",
    "build replace-manifest",
    "build script",
    "build enter",
    "build set-name",
    "build set-exec",
    "build set-user",
    "build set-group",
    "build set-supp-groups",
    "build set-working-directory",
    "build set-event-handler",
    "build set-tag",
    "build annotation",
    "build label",
    "build environment",
    "build port",
    "build mount",
    "build dependency",
    "build isolator",
    "oci bundle",
    "oci validate",
    "pod kube",
    "config",
    "conformance",
    "doctor",
    "completion",
    "help",
)

REPLAYED = "was compiled before"
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def load(verb: str) -> Any:
    """Import the file of a verb of `VERBS` and return it, or what stands for it; it has `VERB` and `run`."""
    if verb.startswith("build "):
        from appc.cli.build_verbs import VERBS as SHARED

        return SHARED[verb]
    name = "appc.cli." + verb.replace(" ", "_").replace("-", "_")
    __import__(name)
    return sys.modules[name]


def find_verb(words: Sequence[str]) -> tuple[str, list[str]]:
    """Split the words after the global options into the verb's name and the words that are its own."""
    if words[0] == "build":
        from appc.cli.build_verbs import arranged

        words = ["build", *arranged(words[1:])]
    for count in (3, 2, 1):
        name = " ".join(words[:count])
        if len(words) >= count and name in VERBS:
            return name, list(words[count:])
    group = [verb.partition(" ")[2] for verb in VERBS if verb.startswith(words[0] + " ")]
    if not group:
        known = sorted({verb.partition(" ")[0] for verb in VERBS})
        hint = did_you_mean(words[0], known)
        raise UsageError("no such command", words[0], hint or "see `appc help`")
    if len(words) == 1 or words[1][:1] == "-":
        raise UsageError(f"what of it? one of {', '.join(group)}", words[0], f"see `appc help {words[0]}`")
    hint = did_you_mean(words[1], group)
    raise UsageError("no such command", f"{words[0]} {words[1]}", hint or f"see `appc help {words[0]}`")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; every error has become a message on stderr.

    Without `words` it is the command line of this process, which ends with it.
    """
    if words is not None:
        return _command(words)
    status = _command(sys.argv[1:])
    if "atexit" not in sys.modules and "threading" not in sys.modules:
        # Nothing wants to be told of the end, and taking the interpreter apart takes longer than most verbs.
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(status)
    return status


def _command(words: Sequence[str]) -> int:
    context = Context()
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        asked = parse(GLOBAL, words)
        if asked.config and not os.path.isdir(asked.config):
            raise UsageError("no such directory", f"--config {asked.config}")
        context = Context(
            asked.root or "",
            asked.state or "",
            (os.path.abspath(asked.config),) if asked.config else (),
            asked.log_level,
            asked.log_format,
        )
        status = _dispatch(asked, context)
        # Here a full disk or a closed pipe still becomes a message and a status.
        _flush()
    except BaseException as error:
        status = report(error, context)
        _discard()
    return status


def _dispatch(asked: Args, context: Context) -> int:
    command: list[str] = [] if asked.help else ["version"] if asked.version else asked.command
    if not command:
        from appc.cli.help import overview

        (sys.stdout if asked.help else sys.stderr).write(overview())
        return 0 if asked.help else EXIT_USAGE
    if command[1:] in (["--help"], ["-h"]) and any(verb.startswith(command[0] + " ") for verb in VERBS):
        command = ["help", command[0]]
    name, words = find_verb(command)
    if name not in FAST and sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
    if os.geteuid() != 0 and words[:1] not in (["--help"], ["-h"]):
        from appc.cli import rootless

        if rootless.concerns(name, words):
            rootless.enter(context, name, words)
    if name == "run":
        from appc.executor.replay import replay

        replay(words, context, lambda uuid, warnings: _replayed(context, uuid, warnings))
    module = load(name)
    context.words = words
    args = parse(module.VERB, words)
    if args.help:
        asked.command = ["help", *name.split(" ")]
        return _dispatch(asked, context)
    context.format = getattr(args, "format", "table")
    context.legend = not getattr(args, "no_legend", False)
    context.full = getattr(args, "full", False)
    status: int = module.run(args, context)
    return status


def _replayed(context: Context, uuid: str, warnings: Sequence[str]) -> None:
    for text in warnings:
        context.warn(text)
    context.debug(REPLAYED, f"pod {uuid}")


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _discard() -> None:
    """Write what is pending or, where it cannot be written, keep Python from complaining about it at its end."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def report(error: BaseException, context: Context) -> int:
    """Say on stderr what went wrong and return the exit status that means it."""
    if context.log_level == "debug":
        import traceback

        traceback.print_exception(error)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else EXIT_INTERNAL
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError) and error.filename is None:
        return EXIT_BROKEN_PIPE  # the reader of our output left
    status, where, what, hint = _explain(error)
    if sys.stderr is not None:
        sys.stderr.write(message(context.log_format, "error", what, where, hint))
    return status


def _explain(error: BaseException) -> tuple[int, str, str, str]:
    """Return (exit status, where, what, hint) of an error."""
    if isinstance(error, AppcError):
        return error.exit_status, error.where, error.what, error.hint
    if isinstance(error, OSError) and error.errno is not None:
        from appc.oserrors import explain

        return explain(error)
    if isinstance(error, MemoryError):
        return EXIT_INTERNAL, "", "out of memory", ""
    what = f"internal error: {type(error).__name__}: {error}".replace("\n", " ")
    return EXIT_INTERNAL, "", what, "this is a bug in appc; --log-level debug shows where"
