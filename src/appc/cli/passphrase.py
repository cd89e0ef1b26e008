"""Where the passphrase of an encrypted image comes from; never from the command line itself."""

from __future__ import annotations

import os

from appc.cli.options import Option
from appc.cli.values import integer
from appc.errors import AppcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.cli.context import Context
    from appc.cli.options import Args

PASSPHRASE = (
    Option(
        "--passphrase-file", metavar="FILE", complete="file", help="the first line is an encrypted image's passphrase"
    ),
    Option("--passphrase-fd", metavar="N", parse=integer(0), help="read the passphrase from this file descriptor"),
    Option("--passphrase-agent", help="leave the passphrase to gpg-agent, which may ask for it or know it"),
)
PASSPHRASE_EXCLUSIVE = (("--passphrase-file", "--passphrase-fd", "--passphrase-agent"),)

_LONGEST = 4096  # bytes


def passphrase(args: Args, context: Context, twice: bool = False) -> Callable[[str], bytes | None]:
    """Return what gives the passphrase of the file it is called with; None as its answer means gpg-agent.

    It comes from what the options name, else from the file of the setting images.passphraseFile, else from the
    terminal, where it has to be typed `twice` if a mistake would lock the image up for good.
    """
    known: dict[str, bytes] = {}

    def give(where: str) -> bytes | None:
        if args.passphrase_agent:
            return None
        path = args.passphrase_file or (
            "" if args.passphrase_fd is not None else context.settings.images_passphrase_file
        )
        typed = args.passphrase_fd is None and not path
        # What is typed is for one file, and asked for once.
        key = where if typed else ""
        if key not in known:
            if typed:
                known[key] = _ask(where, twice)
            elif path:
                known[key] = _from_file(path)
            else:
                known[key] = _first_line(args.passphrase_fd, f"descriptor {args.passphrase_fd}")
        return known[key]

    return give


def _from_file(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AppcError(f"cannot be read: {error.strerror}", path) from None
    try:
        return _first_line(fd, path)
    finally:
        os.close(fd)


def _first_line(fd: int, where: str) -> bytes:
    line = b""
    try:
        # Byte by byte: what follows the line in a pipe is somebody else's.
        while len(line) <= _LONGEST and (byte := os.read(fd, 1)) not in (b"", b"\n"):
            line += byte
    except OSError as error:
        raise AppcError(f"the passphrase cannot be read: {error.strerror}", where) from None
    return _checked(line.removesuffix(b"\r"), where)


def _ask(where: str, twice: bool) -> bytes:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        hint = "--passphrase-file FILE, --passphrase-fd N or --passphrase-agent gives it"
        raise AppcError("needs a passphrase, and there is no terminal to ask for it", where, hint) from None
    import getpass

    try:
        typed = getpass.getpass(f"Passphrase of {where}: ")
        if twice and getpass.getpass("The same again: ") != typed:
            raise UsageError("the two passphrases differ", where)
    except EOFError:
        raise AppcError("needs a passphrase, and none was typed", where) from None
    return _checked(typed.encode("utf-8", "surrogateescape"), where)


def _checked(secret: bytes, where: str) -> bytes:
    if not secret:
        raise AppcError("the passphrase is empty", where)
    if len(secret) > _LONGEST:
        raise AppcError(f"the passphrase is longer than {_LONGEST} bytes", where)
    return secret
