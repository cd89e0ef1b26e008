"""The entrance of `appc-oci`: global options, dispatch, and errors as engines read them."""

from __future__ import annotations

import os
import sys

from appc.errors import AppcError, UsageError
from appc.oci.options import GLOBAL, SHORT_GLOBAL, VERBS, Args, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_RUN = "/run/appc"
# What is allowed shows by itself, so all of them mean the same here.
_ROOTLESS = ("true", "false", "auto", "1", "0")
EXIT_ERROR = 1
EXIT_EXEC = 255  # what runc says when a command could not be run beside a container


class Context:
    """What holds for every verb: where states are kept, where messages go, who makes control groups, what CRIU is."""

    def __init__(
        self,
        root: str = f"{_RUN}/oci",
        log: str = "",
        log_format: str = "text",
        systemd_cgroup: bool = False,
        criu: str = "",
    ) -> None:
        self.root = root
        self.log = log
        self.log_format = log_format
        self.systemd_cgroup = systemd_cgroup
        self.criu = criu


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status. Without `words` it is this process's, which ends with it."""
    if words is not None:
        return _command(words)
    status = _command(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)


def _command(words: Sequence[str]) -> int:
    context = Context()
    verb = ""
    try:
        asked = parse(words, GLOBAL, SHORT_GLOBAL)
        context = _context(asked)
        verb = asked.words[0] if asked.words else ""
        status = _dispatch(asked, verb, context)
        sys.stdout.flush()
    except BaseException as error:
        return _report(error, verb, context)
    return status


def _context(asked: Args) -> Context:
    log_format = asked.option("log-format") or "text"
    if log_format not in ("text", "json"):
        raise UsageError(f"unknown log-format {log_format!r}", "--log-format")
    rootless = asked.option("rootless") or "auto"
    if rootless not in _ROOTLESS:
        raise UsageError(f"invalid value {rootless!r}: true, false or auto", "--rootless")
    root = os.path.abspath(asked.option("root") or os.environ.get("APPC_OCI_ROOT") or f"{run_directory()}/oci")
    return Context(root, asked.option("log"), log_format, asked.flag("systemd-cgroup"), asked.option("criu"))


def run_directory() -> str:
    """Return where what dies with a reboot is kept: the host's, or the user's own where root is not the host's root.

    USER=root says that a whole system runs in this user namespace, whose /run it may write to (front_root.c agrees).
    """
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if own[:1] != "/" or (os.geteuid() == 0 and (os.environ.get("USER") == "root" or _ids_are_hosts())):
        return _RUN
    return f"{own}/appc"


def _ids_are_hosts() -> bool:
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.readline().split() == ["0", "0", "4294967295"]
    except OSError:
        return True


def _dispatch(asked: Args, verb: str, context: Context) -> int:
    if asked.flag("version"):
        from appc.version import OCI_RUNTIME_SPEC, VERSION

        sys.stdout.write(f"appc-oci version {VERSION}\nspec: {OCI_RUNTIME_SPEC}\n")
        return 0
    if not verb or verb == "help" or asked.flag("help"):
        from appc.oci.help import overview

        sys.stdout.write(overview())
        return 0 if verb or asked.flag("help") else EXIT_ERROR
    if verb not in VERBS:
        raise UsageError(f"no help topic for '{verb}'", "appc-oci", "see appc-oci --help")
    options, short, operands, place, _ = VERBS[verb]
    args = parse(asked.words[1:], options, short, verb)
    if args.flag("help"):
        from appc.oci.help import verb_help

        sys.stdout.write(verb_help(verb))
        return 0
    _count(args.words, operands, verb)
    name, _, function = place.partition(".")
    module = __import__(f"appc.oci.{name}", fromlist=(function,))
    status: int = getattr(module, function)(args, context)
    return status


def _count(words: list[str], operands: str, verb: str) -> None:
    fewest = sum(word[:1] != "[" for word in operands.split())
    most = len(words) if "..." in operands else len(operands.split())
    if fewest and not words:
        raise UsageError("container id cannot be empty", verb)
    if len(words) > most:
        raise UsageError(f"requires {most or 'no'} argument{'s' if most != 1 else ''}, got {words}", verb)


def _report(error: BaseException, verb: str, context: Context) -> int:
    """Say what went wrong, once on stderr and once in the log, as engines look for it in either."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else EXIT_ERROR
    if isinstance(error, AppcError):
        text = str(error)
        if error.hint:
            text += f" ({error.hint})"
    elif isinstance(error, OSError) and error.errno is not None:
        from appc.oserrors import explain

        _, where, what, _ = explain(error)
        text = f"{where}: {what}" if where else what
    elif isinstance(error, KeyboardInterrupt):
        text = "interrupted"
    else:
        text = f"internal error: {type(error).__name__}: {error}"
    text = _printable(text.replace("\n", "; "))
    if context.log:
        try:
            log("error", text, context)
        except OSError as problem:
            text += f" (nor can the log be written: {problem.strerror})"
    sys.stderr.write(f"appc-oci: {text}\n")
    return EXIT_EXEC if verb == "exec" else EXIT_ERROR


def _printable(text: str) -> str:
    """Return a message without what a terminal would take for an order; configurations and images may say such."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def warn(text: str, context: Context) -> None:
    """Tell of what goes on all the same: in the log or, without one, on stderr."""
    text = _printable(text)
    if context.log:
        log("warning", text, context)
    else:
        sys.stderr.write(f"appc-oci: warning: {text}\n")


def log(level: str, text: str, context: Context) -> None:
    """Add a line to the log, which there is."""
    from time import gmtime, strftime

    from appc.schema.json import dumps

    now = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    if context.log_format == "json":
        line = dumps({"level": level, "msg": text, "time": now})
    else:
        line = f"time={dumps(now)} level={level} msg={dumps(text)}"
    fd = os.open(context.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, line.encode() + b"\n")
    finally:
        os.close(fd)
