"""Making detached, armored signatures: with a key of the user's gpg keyring, or with a secret-key file."""

from __future__ import annotations

import os
import subprocess
import sys

from appc.errors import SignatureError
from appc.trust import gpg
from appc.trust.engines import load_sequoia
from appc.trust.packets import read_signatures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def sign_file(path: str, key: str = "", key_file: str = "", passphrase_file: str = "") -> bytes:
    """Return an armored detached signature over the file `path`.

    `key` names a key of the user's gpg keyring ("" for gpg's default); gpg asks for its passphrase as it always does,
    or reads it from `passphrase_file`. With `key_file`, a file holding a secret key, pysequoia signs instead.
    Raises SignatureError.
    """
    if not os.path.isfile(path):
        raise SignatureError("there is no such file to sign", path)
    made = _sign_with_file(path, key_file, passphrase_file) if key_file else _sign_with_gpg(path, key, passphrase_file)
    read_signatures(made)
    return made


def _sign_with_gpg(path: str, key: str, passphrase_file: str) -> bytes:
    command = ["gpg", "--armor", "--detach-sign", "--output", "-", "--status-fd", "2"]
    if passphrase_file:
        command += ["--batch", "--pinentry-mode", "loopback", "--passphrase-file", passphrase_file]
    if key:
        command += ["--local-user", key]
    try:
        done = subprocess.run(
            [*command, "--", path], stdin=subprocess.DEVNULL, capture_output=True, env=gpg.environment(asks=True)
        )
    except FileNotFoundError:
        raise SignatureError("gpg is not installed", path, "install gpg, or sign with --key-file KEYFILE") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").splitlines()
        if any("INV_SGNR" in line or "NO_SECKEY" in line for line in said):
            which = f"the secret key {key} is" if key else "no secret key is"
            raise SignatureError(
                f"{which} not in the gpg keyring" if key else f"{which} in the gpg keyring",
                path,
                "gpg --list-secret-keys shows what is",
            )
        reasons = [line.removeprefix("gpg: ") for line in said if line.startswith("gpg: ")]
        raise SignatureError(f"gpg could not sign it: {reasons[-1] if reasons else 'no reason given'}", path)
    return done.stdout


def _sign_with_file(path: str, key_file: str, passphrase_file: str) -> bytes:
    sequoia = load_sequoia()
    if sequoia is None:
        raise SignatureError(
            "signing with a key file needs pysequoia",
            path,
            "install the Python package pysequoia, or import the key into gpg and sign with --key",
        )
    try:
        with open(key_file, "rb") as stream:
            secret = sequoia.Tsk.from_bytes(stream.read())
    except OSError as error:
        raise SignatureError(f"cannot be read: {error.strerror}", key_file) from None
    except RuntimeError:
        raise SignatureError("holds no OpenPGP secret key", key_file) from None
    signer = _signer(secret.signer, key_file, passphrase_file)
    # The file is only read: the signature goes to a file of our own, which exists in memory alone.
    result = os.memfd_create("appc-signature", os.MFD_CLOEXEC)
    try:
        sequoia.sign_file(signer, path, f"/proc/self/fd/{result}", mode=sequoia.SignatureMode.DETACHED)
        os.lseek(result, 0, os.SEEK_SET)
        with os.fdopen(os.dup(result), "rb") as stream:
            return stream.read()
    except RuntimeError as error:
        raise SignatureError(f"could not be signed: {str(error).splitlines()[0]}", path) from None
    finally:
        os.close(result)


def _signer(unlock: Callable[..., object], key_file: str, passphrase_file: str) -> object:
    """Unlock the signing key: without a passphrase if it has none, else with that of the file or from the terminal."""
    try:
        return unlock()
    except RuntimeError:
        pass
    if passphrase_file:
        try:
            with open(passphrase_file, encoding="utf-8") as stream:
                passphrase = stream.readline().rstrip("\n")
        except OSError as error:
            raise SignatureError(f"cannot be read: {error.strerror}", passphrase_file) from None
        except UnicodeDecodeError:
            raise SignatureError("holds a passphrase that is not UTF-8", passphrase_file) from None
    elif sys.stdin is not None and sys.stdin.isatty():
        import getpass

        try:
            passphrase = getpass.getpass(f"Passphrase of {key_file}: ", sys.stderr)
        except EOFError:
            raise SignatureError("is locked by a passphrase, and none was typed", key_file) from None
    else:
        raise SignatureError("is locked by a passphrase", key_file, "give it with --passphrase-file FILE")
    try:
        return unlock(passphrase)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SignatureError(f"cannot be used to sign: {reason}", key_file) from None
