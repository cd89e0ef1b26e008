"""Images encrypted with a passphrase (aci.md, "Image Archives"): OpenPGP messages, AES-256, modification detected.

A process does the work, fed through one pipe and read from another, so that neither size nor the interpreter's lock
matters. gpg is preferred: it is faster than pysequoia and needs 5 MB where that needs 200. The passphrase goes there
in a file that exists in memory alone. What is read before the end is not yet known to be authentic.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

from appc.errors import ArchiveError, HostError
from appc.formats import openpgp
from appc.formats.peek import Peeked
from appc.trust import gpg
from appc.trust.engines import load_sequoia, memory_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from appc.formats.compress import Source

    # Called with the name of a file; None leaves the passphrase to gpg-agent.
    Passphrase = Callable[[str], bytes | None]

    class Judge(Protocol):
        """Says why a process failed, "" if it did not, from its exit status and what it wrote to stderr."""

        def __call__(self, status: int, said: str, /) -> str: ...


_CHUNK = 1 << 18

# Key stretching at its slowest: a passphrase is guessed offline.
_ENCRYPT = (
    "--rfc4880",
    "--cipher-algo=AES256",
    "--s2k-mode=3",
    "--s2k-digest-algo=SHA512",
    "--s2k-cipher-algo=AES256",
    "--s2k-count=65011712",
    "--compress-algo=none",
    "--symmetric",
)
# Nothing of the user's takes part when the passphrase is given.
_ALONE = (
    "--homedir=/nonexistent",
    "--no-options",
    "--no-keyring",
    "--no-random-seed-file",
    "--lock-never",
    "--no-autostart",
    "--pinentry-mode=loopback",
)
_WRONG = "cannot be decrypted: the passphrase is wrong"


def encrypt(source: Source, passphrase: Passphrase, where: str) -> Filter:
    """Return the stream of `source` encrypted. Errors name `where`."""
    secret = passphrase(where)
    if secret is not None and shutil.which("gpg") is None:
        return _sequoia(source, "encrypt", secret, where)
    return _gpg(source, _ENCRYPT, secret, where, _encrypting_failure)


def decrypt(source: Source, passphrase: Passphrase, where: str) -> Filter:
    """Return the stream that `source`, an OpenPGP message, holds encrypted.

    Raises ArchiveError, here or when reading, for a wrong passphrase and for a message that was changed or cut short.
    """
    peeked = Peeked(source)
    needs_sequoia = _check(list(openpgp.packets(peeked.head)), where)
    secret = passphrase(where)
    has_gpg = shutil.which("gpg") is not None and not needs_sequoia
    if secret is not None and not has_gpg and load_sequoia() is not None:
        return _sequoia(peeked, "decrypt", secret, where)
    return _gpg(peeked, ("--decrypt",), secret, where, _decrypting_failure)


def _check(found: Sequence[tuple[int, int]], where: str) -> bool:
    """Refuse what no passphrase opens or nobody can trust; say whether only pysequoia can read the message."""
    tags = [tag for tag, _ in found]
    if openpgp.UNPROTECTED in tags:
        raise ArchiveError("is encrypted without protection against changes, and so is not accepted", where)
    if openpgp.PUBLIC_KEY_SESSION in tags and openpgp.PASSPHRASE_SESSION not in tags:
        raise ArchiveError("is encrypted for a key; images are encrypted with a passphrase (aci.md)", where)
    return (openpgp.PROTECTED, 2) in found


class Filter:
    """A process through which a stream goes. `read` gives its output, b"" at the end if all went well.

    `close` must be called in the end; before the end of the stream it ends the process.
    """

    def __init__(
        self,
        command: Sequence[str],
        source: Source,
        where: str,
        judge: Judge,
        fds: Sequence[int] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self._source = source
        self._where = where
        self._judge = judge
        self._ended = False
        self._failure: BaseException | None = None
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=fds,
                env=environment,
            )
        except FileNotFoundError:
            hint = "install gpg, or the Python package pysequoia"
            raise HostError("nothing on this host can encrypt or decrypt it", where, hint) from None
        except OSError as error:
            raise HostError(f"cannot start {command[0]}: {error.strerror}", where) from None
        self._said = bytearray()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._feed, self._listen)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Filter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int = _CHUNK, /) -> bytes:
        """The next bytes, at most `size`. Raises ArchiveError when the process failed, or what the source raised."""
        if self._ended:
            return b""
        assert self._process.stdout is not None
        data: bytes = self._process.stdout.read(size)
        if not data:
            self._finish()
        return data

    def close(self) -> None:
        """Let go of the process."""
        if not self._ended:
            self._process.kill()
            self._wait()

    def _finish(self) -> None:
        status = self._wait()
        if self._failure is not None:
            raise self._failure
        fault = self._judge(status, self._said.decode("utf-8", "replace"))
        if fault:
            raise ArchiveError(fault, self._where)

    def _wait(self) -> int:
        self._ended = True
        status = self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        return status

    def _feed(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            while data := self._source.read(_CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(stdin.fileno(), view) :]
        except BrokenPipeError:
            # It has seen enough; its exit status says of what.
            pass
        except BaseException as error:
            self._failure = error
        finally:
            stdin.close()

    def _listen(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        while data := stderr.read(_CHUNK):
            # A hostile message must not fill the memory with warnings.
            self._said = (self._said + data)[-_CHUNK:]


def _gpg(source: Source, words: Sequence[str], secret: bytes | None, where: str, judge: Judge) -> Filter:
    command = ["gpg", "--no-tty", "--status-fd=2", "--output=-"]
    environment = gpg.environment(asks=secret is None)
    if secret is None:
        return Filter([*command, *words], source, where, judge, environment=environment)
    fd = memory_file(secret + b"\n")
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        alone = [*command, "--batch", *_ALONE, f"--passphrase-fd={fd}", *words]
        return Filter(alone, source, where, judge, (fd,), environment)
    finally:
        os.close(fd)


def _encrypting_failure(status: int, said: str) -> str:
    if status == 0 and "[GNUPG:] END_ENCRYPTION" in said:
        return ""
    return f"could not be encrypted: {_reason(said)}"


def _decrypting_failure(status: int, said: str) -> str:
    if status == 0 and "[GNUPG:] DECRYPTION_OKAY" in said:
        return ""
    if "BAD_PASSPHRASE" in said or "Bad session key" in said:
        return _WRONG
    if "has been manipulated" in said or "BADMDC" in said:
        return "cannot be decrypted: it was changed after it was encrypted"
    if "read error" in said or "premature" in said:
        return "cannot be decrypted: it is cut short"
    return f"cannot be decrypted: {_reason(said)}"


def _reason(said: str) -> str:
    """The last thing gpg said to people."""
    lines = [line.removeprefix("gpg: ") for line in said.splitlines() if line.startswith("gpg: ")]
    return lines[-1] if lines else "no reason was given"


def _sequoia(source: Source, mode: str, secret: bytes, where: str) -> Filter:
    sequoia = load_sequoia()
    if sequoia is None or not sys.executable:
        hint = "install gpg, or the Python package pysequoia"
        raise HostError("nothing on this host can encrypt or decrypt it", where, hint)
    script = os.path.join(os.path.dirname(__file__), "sequoia_filter.py")
    packages = os.path.dirname(os.path.dirname(str(sequoia.__file__)))
    fd = memory_file(secret)
    try:
        command = [sys.executable, "-I", "-S", script, packages, mode, f"/dev/fd/{fd}"]
        return Filter(command, source, where, _sequoia_failure, (fd,), {"PATH": os.defpath, "LC_ALL": "C"})
    finally:
        os.close(fd)


def _sequoia_failure(status: int, said: str) -> str:
    if status == 0:
        return ""
    reason = said.partition("\n")[0].rstrip(".")
    return _WRONG if "No key to decrypt" in reason else f"cannot be decrypted: {reason or 'no reason was given'}"
