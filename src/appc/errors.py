"""Errors a caller can act on, and the exit status each one means at the command line.

Every error names the thing (`where`), says what is wrong with it (`what`) and, where there is a
remedy, gives it (`hint`). `str(error)` is the one line a user reads.
"""

from __future__ import annotations

EXIT_INVALID = 1
EXIT_USAGE = 2
EXIT_INTERNAL = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


def quoted(text: str) -> str:
    """`text` as it may stand in a one-line message: quoted, escaped, cut after 60 characters."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return '"' + short.encode("unicode_escape").decode() + '"' if not short.isprintable() else f'"{short}"'


class AppcError(Exception):
    """Base of every error appc raises on purpose.

    `what` is the reason, `where` the file, field, image or pod it concerns, `hint` the remedy.
    """

    exit_status = EXIT_INVALID

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class UsageError(AppcError):
    """The command line or an API call is wrong; nothing was tried."""

    exit_status = EXIT_USAGE


class InvalidValue(AppcError):
    """A scalar (name, version, quantity, image ID …) is not of its form."""


class ManifestError(AppcError):
    """A manifest or configuration has faults; `faults` holds all of them as (path, message)."""

    def __init__(self, faults: list[tuple[str, str]], where: str = "", hint: str = "") -> None:
        self.faults = tuple(faults)
        lines = [f"{path}: {message}" if path else message for path, message in faults]
        super().__init__("\n".join(lines), where, hint)

    def __str__(self) -> str:
        prefix = f"{self.where}: " if self.where else ""
        return "\n".join(prefix + line for line in self.what.split("\n"))


class ArchiveError(AppcError):
    """An archive is corrupt, truncated, over a limit, or would escape its root."""


class ImageNotFound(AppcError):
    """No image in the store (or at the place named) answers to that reference."""


class DependencyError(AppcError):
    """A dependency is missing, is not the image its dependant asks for, or depends on itself."""


class ImageMismatch(AppcError):
    """What arrived is an image, but not the one that was asked for."""


class TamperedImage(AppcError):
    """The files of an image in the store are not the ones that were imported."""


class SignatureError(AppcError):
    """An image is unsigned, its signature is wrong, or no trusted key made it."""


class UntrustedKey(SignatureError):
    """An image is signed by a key that is not trusted for its name."""


class StoreError(AppcError):
    """The image store is damaged or cannot be written."""

    exit_status = EXIT_INTERNAL


class PodNotFound(AppcError):
    """No pod, or more than one, answers to that UUID prefix."""


class PodStateError(AppcError):
    """The pod is not in a state that allows the operation."""


class Unenforceable(AppcError):
    """A required isolator, volume or feature cannot be honoured on this host."""


class HostError(AppcError):
    """The kernel or the host refused something appc needs."""

    exit_status = EXIT_INTERNAL


class LaunchError(AppcError):
    """A launch plan failed at one of its ops."""

    exit_status = EXIT_INTERNAL


class NotExecutable(AppcError):
    """The app's program exists but cannot be executed."""

    exit_status = EXIT_NOT_EXECUTABLE


class ProgramNotFound(AppcError):
    """The app's program does not exist in its image."""

    exit_status = EXIT_NOT_FOUND


class NetworkError(AppcError):
    """Another host could not be reached, or did not answer as it should."""

    exit_status = EXIT_INTERNAL


class HttpStatus(NetworkError):
    """A server answered with a status that says no; `status` is its number."""

    def __init__(self, status: int, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.args = (status, what, where, hint)
        self.status = status
        if status in (404, 410):
            # There is no such thing, which is no failure of the network.
            self.exit_status = EXIT_INVALID
