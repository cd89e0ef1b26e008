"""Which keys are trusted to sign which images: files in the configuration directories, laid out as rkt's.

    <config dir>/trustedkeys/root.d/<fingerprint>              trusted for every image
    <config dir>/trustedkeys/prefix.d/<name>/<fingerprint>     trusted for the image <name> and all below <name>/

A file holds one public key, armored or not, and is named after its fingerprint. Directories are merged, later ones
over earlier; an empty file takes back what an earlier directory says of that key and prefix.
"""

from __future__ import annotations

import os
import stat

from appc.errors import SignatureError, UsageError
from appc.trust.packets import MAX_KEYS, Certificate, armor, read_certificates
from appc.trust.policy import certificate_fault
from appc.values import ACIdentifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYSTEM_DIRECTORY = "/usr/lib/appc"
LOCAL_DIRECTORY = "/etc/appc"


class TrustedKey:
    """A key and what it is trusted for: `prefix` is an image name, or "" for every image."""

    __slots__ = ("certificate", "path", "prefix")

    def __init__(self, prefix: str, path: str, certificate: Certificate) -> None:
        self.prefix = prefix
        self.path = path
        self.certificate = certificate

    @property
    def fingerprint(self) -> str:
        """The primary key's fingerprint, lower-case hexadecimal."""
        return self.certificate.fingerprint

    def covers(self, name: str) -> bool:
        """Tell whether the key may sign the image `name`; prefixes end where a part of the name ends."""
        return not self.prefix or name == self.prefix or name.startswith(self.prefix + "/")


class KeyFile:
    """A key file of the configuration, whether it counts or not.

    `masked_by` is the empty file that takes back what this one says, "" when it counts. `key` is the key once it was
    `read`.
    """

    __slots__ = ("fingerprint", "key", "masked_by", "path", "prefix")

    def __init__(self, prefix: str, fingerprint: str, path: str) -> None:
        self.prefix = prefix
        self.fingerprint = fingerprint
        self.path = path
        self.masked_by = ""
        self.key: TrustedKey | None = None

    def read(self) -> TrustedKey:
        """Read the key. Raises SignatureError for a file that is no such key."""
        self.key = TrustedKey(self.prefix, self.path, _read(self.path, self.fingerprint))
        return self.key


class Keystore:
    """The trusted keys of some configuration directories, lowest precedence first.

    Changes are made in `writable`: the local directory for root, the user's own for others.
    """

    def __init__(self, directories: Sequence[str]) -> None:
        self.directories = tuple(directories)
        local = LOCAL_DIRECTORY in self.directories and os.geteuid() == 0
        self.writable = LOCAL_DIRECTORY if local or not directories else self.directories[-1]

    def keys(self) -> list[TrustedKey]:
        """All trusted keys, ordered by prefix and fingerprint. Raises SignatureError for a file that is no such key."""
        return [file.read() for file in self.files() if not file.masked_by]

    def files(self) -> list[KeyFile]:
        """The key files, ordered by prefix and fingerprint, also those that were masked; none is read."""
        found: dict[tuple[str, str], KeyFile] = {}
        for directory in self.directories:
            for prefix, fingerprint, path, size in _files(directory):
                if size:
                    found[prefix, fingerprint] = KeyFile(prefix, fingerprint, path)
                elif (prefix, fingerprint) in found:
                    found[prefix, fingerprint].masked_by = path
        return [file for _, file in sorted(found.items())]

    def trusted(self, name: str = "") -> list[TrustedKey]:
        """The keys that may sign the image `name`; all keys without a name."""
        return [key for key in self.keys() if not name or key.covers(name)]

    def add(self, data: bytes, prefix: str) -> list[TrustedKey]:
        """Trust the public keys in `data` for `prefix` ("" for every image) and return them.

        Raises SignatureError, before anything is written, for what is no public key or a key that is revoked, expired
        or weak; UsageError for a prefix that is no image name.
        """
        certificates = read_certificates(data)
        for certificate in certificates:
            fault = certificate_fault(certificate)
            if fault:
                known = any(key.fingerprint == certificate.fingerprint for key in self.keys())
                hint = f"an older copy of it is trusted: appc trust rm {certificate.fingerprint}" if known else ""
                raise SignatureError(f"cannot be trusted: {fault}", f"key {certificate.label}", hint)
        directory = _directory(self.writable, prefix)
        added = []
        for certificate in certificates:
            path = f"{directory}/{certificate.fingerprint}"
            _write(path, armor(certificate.data, "PUBLIC KEY BLOCK"))
            added.append(TrustedKey(prefix, path, certificate))
        return added

    def remove(self, fingerprint: str, prefix: str | None = None) -> list[TrustedKey]:
        """Stop trusting the key whose fingerprint is or ends with `fingerprint`, for `prefix` or (None) for anything.

        Returns what was removed. A key that another directory than `writable` brings is masked. Raises UsageError
        when no trusted key, or more than one, is meant.
        """
        digits = fingerprint.lower().removeprefix("0x")
        meant = [
            key
            for key in self.keys()
            if digits and key.fingerprint.endswith(digits) and (prefix is None or key.prefix == prefix)
        ]
        if not meant:
            place = "" if prefix is None else f" for {prefix or 'every image'}"
            raise UsageError(f"no such key is trusted{place}", f"key {fingerprint}", "`appc trust list` shows them")
        if len({key.fingerprint for key in meant}) > 1:
            raise UsageError("more than one trusted key ends like that", f"key {fingerprint}", "give all of it")
        for key in meant:
            own = f"{_directory(self.writable, key.prefix)}/{key.fingerprint}"
            if self._elsewhere(key):
                _write(own, b"")
            else:
                os.unlink(own)
        return meant

    def _elsewhere(self, key: TrustedKey) -> bool:
        return any(
            (prefix, fingerprint) == (key.prefix, key.fingerprint) and size
            for directory in self.directories
            if directory != self.writable
            for prefix, fingerprint, _, size in _files(directory)
        )


def _directory(config: str, prefix: str) -> str:
    if not prefix:
        return f"{config}/trustedkeys/root.d"
    # An identifier has no empty part and no "..": it cannot lead out of prefix.d.
    parts = ACIdentifier.parse(prefix).split("/")
    if any(part.strip(".") == "" for part in parts):
        raise UsageError("is not a prefix of image names", prefix)
    return f"{config}/trustedkeys/prefix.d/{prefix}"


def _files(config: str) -> Iterator[tuple[str, str, str, int]]:
    """Yield (prefix, fingerprint, path, size) of each key file below one configuration directory."""
    for entry in _scan(f"{config}/trustedkeys/root.d"):
        if entry.is_file():
            yield "", entry.name, entry.path, entry.stat().st_size
    top = f"{config}/trustedkeys/prefix.d"
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        for entry in _scan(directory):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_file() and directory != top:
                yield directory[len(top) + 1 :], entry.name, entry.path, entry.stat().st_size


def _scan(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SignatureError(f"cannot read the trusted keys: {error.strerror}", directory) from None


def _read(path: str, name: str) -> Certificate:
    certificates = read_certificates(read_file(path, MAX_KEYS), path)
    if len(certificates) != 1 or certificates[0].fingerprint != name:
        raise SignatureError(
            f"holds the key {certificates[0].fingerprint}, which is not its file name",
            path,
            "`appc trust add` names files as they have to be",
        )
    return certificates[0]


def read_file(path: str, limit: int) -> bytes:
    """Return the content of a key or signature file. Raises SignatureError, FileNotFoundError when there is none."""
    try:
        with open(path, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise SignatureError("is not a regular file", path)
            data = stream.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SignatureError(f"cannot be read: {error.strerror}", path) from None
    if len(data) > limit:
        raise SignatureError(f"is larger than {limit} bytes", path)
    return data


def _write(path: str, data: bytes) -> None:
    """Replace a file whole, readable by everybody: public keys are no secret and verification may run as any user."""
    temporary = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise SignatureError(f"cannot be written: {error.strerror}", path) from None
