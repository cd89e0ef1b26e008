"""Verifying one detached signature while the file it covers is being read.

The bytes are fed in as they are imported, so what is verified is what was read, in one pass and in constant memory.
Small files are held back and verified in this process where pysequoia is installed. Larger ones go down a pipe to a
process of their own (pysequoia keeps the interpreter locked while it works; gpgv is a program anyway), which uses the
second core. pysequoia is preferred because its policy on algorithms is stricter.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import suppress

from appc.errors import SignatureError
from appc.trust.packets import Certificate, Signature
from appc.trust.sequoia_worker import INVALID, UNREADABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Protocol

    class Engine(Protocol):
        """Checks one signature by one key over what it is fed."""

        def feed(self, data: bytes) -> None:
            """Take the next bytes of the signed file."""

        def finish(self) -> None:
            """Raise SignatureError unless the signature holds for the bytes fed."""

        def close(self) -> None:
            """Let go of everything; allowed at any time."""


# Up to here buffering costs less than starting a process.
SMALL = 4 << 20

# The most that a pipe may hold without privileges (pipe(7)).
_PIPE = 1 << 20

MISMATCH = "the signature does not match: the file or its signature was changed"
_UNREADABLE = "the signature or its key is damaged, or of a kind that pysequoia does not know"


def start(signature: Signature, certificate: Certificate) -> Engine:
    """Return an engine for one signature that `certificate` is said to have made.

    Raises SignatureError when nothing on this host can verify signatures.
    """
    sequoia = load_sequoia()
    if sequoia is not None:
        return SequoiaEngine(sequoia, signature, certificate)
    gpgv = shutil.which("gpgv")
    if gpgv is not None:
        return GpgvEngine(gpgv, signature, certificate)
    raise SignatureError("nothing on this host can verify it", hint="install gpgv, or the Python package pysequoia")


def load_sequoia() -> ModuleType | None:
    """Return the pysequoia module, or None where it is not installed."""
    if sys.flags.no_site and "site" not in sys.modules:
        # The command line's fast verbs start without the directories that packages are installed in.
        import site

        site.main()
    try:
        import pysequoia
    except ImportError:
        return None
    return pysequoia


class SequoiaEngine:
    """Verification by pysequoia, in this process or, for large files, in one of its own."""

    def __init__(self, module: ModuleType, signature: Signature, certificate: Certificate) -> None:
        self._module = module
        self._signature = signature
        self._certificate = certificate
        self._held: list[bytes] = []
        self._size = 0
        self._worker: _Worker | None = None

    def feed(self, data: bytes) -> None:
        if self._worker is None:
            self._held.append(bytes(data))
            self._size += len(data)
            if self._size <= SMALL or not sys.executable:
                return
            self._worker = self._start_worker()
            data = b"".join(self._held)
            self._held.clear()
        self._worker.feed(data)

    def finish(self) -> None:
        if self._worker is not None:
            status, _ = self._worker.finish()
            if status == INVALID:
                raise SignatureError(MISMATCH)
            if status == UNREADABLE:
                raise SignatureError(_UNREADABLE)
            if status != 0:
                raise SignatureError(f"verifying it failed (the process ended with status {status})")
            return
        try:
            certificate = self._module.Cert.from_bytes(self._certificate.data)
            signature = self._module.Sig.from_bytes(self._signature.data)
        except RuntimeError:
            raise SignatureError(_UNREADABLE) from None
        try:
            self._module.verify(bytes=b"".join(self._held), store=lambda _: [certificate], signature=signature)
        except RuntimeError:
            # One exception for every cause: all others were ruled out before (policy.py).
            raise SignatureError(MISMATCH) from None

    def close(self) -> None:
        self._held.clear()
        if self._worker is not None:
            self._worker.close()

    def _start_worker(self) -> _Worker:
        script = os.path.join(os.path.dirname(__file__), "sequoia_worker.py")
        packages = os.path.dirname(os.path.dirname(str(self._module.__file__)))
        return _Worker([sys.executable, "-I", "-S", script, packages], self._signature, self._certificate)


class GpgvEngine:
    """Verification by gpgv, which knows no keys but the one it is given."""

    def __init__(self, program: str, signature: Signature, certificate: Certificate) -> None:
        self._expected = certificate.fingerprint
        command = [program, "--homedir", "/nonexistent", "--status-fd", "1"]
        for weak in ("SHA1", "RIPEMD160"):
            command += ["--weak-digest", weak]
        self._worker = _Worker(command, signature, certificate, gpgv=True)

    def feed(self, data: bytes) -> None:
        self._worker.feed(data)

    def finish(self) -> None:
        output = self._worker.finish()[1].decode("utf-8", "replace")
        said = {words[1]: words[2:] for line in output.splitlines() if len(words := line.split()) > 1}
        if "EXPKEYSIG" in said:
            raise SignatureError("the key has expired")
        if "REVKEYSIG" in said:
            raise SignatureError("the key was revoked by its owner")
        if "EXPSIG" in said:
            raise SignatureError("the signature has expired")
        if not said.keys() & {"GOODSIG", "BADSIG"}:
            raise SignatureError("gpgv does not know this kind of key or signature; pysequoia may")
        # The last field of VALIDSIG is the fingerprint of the primary key.
        if "GOODSIG" not in said or said.get("VALIDSIG", [""])[-1].lower() != self._expected:
            raise SignatureError(MISMATCH)

    def close(self) -> None:
        self._worker.close()


class _Worker:
    """A process that reads the signed file from its standard input and says what it thinks of it when that ends.

    Key and signature are handed over in memory, as file descriptors.
    """

    def __init__(self, command: list[str], signature: Signature, certificate: Certificate, gpgv: bool = False) -> None:
        files = (memory_file(certificate.data), memory_file(signature.data))
        key, detached = (f"/dev/fd/{fd}" for fd in files)
        command += ["--keyring", key, "--", detached, "-"] if gpgv else [key, detached]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=files,
                env={"PATH": os.defpath, "LC_ALL": "C"},
            )
        except OSError as error:
            raise SignatureError(f"cannot start {command[0]} to verify it: {error.strerror}") from None
        finally:
            for fd in files:
                os.close(fd)
        assert self._process.stdin is not None
        with suppress(OSError):  # it is only faster: whoever feeds need not wait for the worker all the time
            fcntl.fcntl(self._process.stdin, fcntl.F_SETPIPE_SZ, _PIPE)
        self._ended = False

    def feed(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            # It has seen enough to say no; `finish` hears it.
            pass

    def finish(self) -> tuple[int, bytes]:
        """Say that the file has ended; return the exit status and what was printed."""
        self._ended = True
        output, _ = self._process.communicate()
        return self._process.returncode, output

    def close(self) -> None:
        if not self._ended:
            self._process.kill()
            self.finish()


def memory_file(data: bytes) -> int:
    """Return the descriptor of a file that holds `data` and exists in memory alone."""
    fd = os.memfd_create("appc-verify", os.MFD_CLOEXEC)
    os.write(fd, data)
    return fd
