"""Who we are to which host: files in `auth.d` of the configuration directories, appc's own form and rkt's.

    {"hosts": {"example.com": {"user": "u", "password": "p"}, "example.com:8443": {"token": "t"}}}

    {"rktKind": "auth", "rktVersion": "v1", "domains": ["example.com"], "type": "basic",
     "credentials": {"user": "u", "password": "p"}}                     also: "type": "oauth", {"token": "t"},
                              "type": "aws", {"accessKeyID": "i", "secretAccessKey": "s", "awsRegion": "eu-west-1"}
    {"rktKind": "dockerAuth", "rktVersion": "v1", "registries": ["example.com"],
     "credentials": {"user": "u", "password": "p"}}                     for registries only

A host is named exactly as in the URL, with its port where the URL gives one. Later directories win. Nothing is read
before it is needed, and nothing is ever sent but over https.
"""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from urllib.parse import urlsplit

from appc.errors import AppcError, ManifestError
from appc.schema.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

_LIMIT = 1 << 20

# What one host's entry says: user and password, a token, or a key by which requests are signed.
_FIELDS = {
    "basic": ("user", "password"),
    "oauth": ("token",),
    "aws": ("accessKeyID", "secretAccessKey"),
}
_REGION = "awsRegion"
_Entry = dict[str, str]


class Credentials:
    """The credentials that configuration directories hold, lowest precedence first.

    `warn` is called with (what, file) for what the user should put right.
    """

    def __init__(self, directories: Sequence[str], warn: Callable[[str, str], None] | None = None) -> None:
        self._directories = tuple(directories)
        self._warn = warn or (lambda what, where: None)
        self._read: tuple[dict[str, _Entry], dict[str, _Entry]] | None = None

    def headers_for(self, url: str, method: str = "GET") -> dict[str, str]:
        """The headers that authenticate a request for an https URL whose exact host and port has credentials, else {}.

        Raises ManifestError with all faults of all files.
        """
        parts = urlsplit(url)
        if parts.scheme != "https":
            return {}
        hosts, _ = self._all()
        for name in _names(parts.netloc.rpartition("@")[2].lower()):
            if name in hosts:
                return _headers(hosts[name], url, method)
        return {}

    def for_registry(self, host: str) -> tuple[str, str] | None:
        """The user and password for a registry, by its host[:port]; what is for registries only goes first."""
        hosts, registries = self._all()
        for name in _names(host.lower()):
            for entry in (registries.get(name), hosts.get(name)):
                if entry is not None and "user" in entry:
                    return entry["user"], entry["password"]
        return None

    def _all(self) -> tuple[dict[str, _Entry], dict[str, _Entry]]:
        if self._read is None:
            hosts: dict[str, _Entry] = {}
            registries: dict[str, _Entry] = {}
            faults: list[tuple[str, str]] = []
            for directory in self._directories:
                seen: dict[tuple[bool, str], str] = {}
                for path in _files(f"{directory}/auth.d"):
                    try:
                        entries = list(_entries(_document(path, self._warn)))
                    except ManifestError as error:
                        faults += [(f"{path}: {key}" if key else path, what) for key, what in error.faults]
                        continue
                    for registry, host, entry in entries:
                        if (registry, host) in seen:
                            faults.append((path, f"{host} is also in {seen[registry, host]}"))
                        seen[registry, host] = path
                        (registries if registry else hosts)[host] = entry
            if faults:
                raise ManifestError(faults)
            self._read = hosts, registries
        return self._read


def _names(host: str) -> tuple[str, ...]:
    """How files may call a host: the port of https may be given or left out."""
    if host.endswith(":443"):
        return host, host.removesuffix(":443")
    name = host.rpartition("]")[2]
    return (host,) if ":" in name else (host, f"{host}:443")


def _headers(entry: _Entry, url: str, method: str) -> dict[str, str]:
    if "secretAccessKey" in entry:
        from appc.net.aws import signed

        return signed(method, url, entry["accessKeyID"], entry["secretAccessKey"], entry.get(_REGION, ""))
    if "token" in entry:
        return {"authorization": f"Bearer {entry['token']}"}
    pair = f"{entry['user']}:{entry['password']}".encode()
    return {"authorization": f"Basic {b64encode(pair).decode('ascii')}"}


def _files(directory: str) -> Iterator[str]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise AppcError(f"cannot be read: {error.strerror}", directory) from None
    for name in names:
        if name.endswith(".json") and name[0] != ".":
            yield f"{directory}/{name}"


def _document(path: str, warn: Callable[[str, str], None]) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(_LIMIT + 1)
    except PermissionError:
        # What is for root alone does not concern others, who go without.
        return {"hosts": {}}
    except OSError as error:
        raise ManifestError([("", f"cannot be read: {error.strerror}")]) from None
    if stat.S_IMODE(mode) & 0o077:
        warn("holds secrets and can be read by others: chmod 600", path)
    document = loads(data, _LIMIT)
    if not isinstance(document, dict):
        raise ManifestError([("", "is not a JSON object")])
    return document


def _entries(document: dict[str, Any]) -> Iterator[tuple[bool, str, _Entry]]:
    """Yield (for registries only, host, entry) of one file. Raises ManifestError with all its faults."""
    faults: list[tuple[str, str]] = []
    if "rktKind" in document or "rktVersion" in document:
        found = _rkt(document, faults)
    elif isinstance(document.get("hosts"), dict) and len(document) == 1:
        found = [
            (False, host.lower(), _entry(value, "", f"hosts.{host}", faults))
            for host, value in document["hosts"].items()
        ]
    else:
        found = []
        faults.append(("", 'is neither {"hosts": {...}} nor of rktKind auth or dockerAuth'))
    if faults:
        raise ManifestError(faults)
    yield from found


def _rkt(document: dict[str, Any], faults: list[tuple[str, str]]) -> list[tuple[bool, str, _Entry]]:
    kind = document.get("rktKind")
    if kind not in ("auth", "dockerAuth"):
        faults.append(("rktKind", "is not auth or dockerAuth"))
        return []
    if document.get("rktVersion") != "v1":
        faults.append(("rktVersion", "is not v1"))
    key = "domains" if kind == "auth" else "registries"
    names = document.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        faults.append((key, "is not a list of hosts"))
        return []
    form = str(document.get("type")) if kind == "auth" else "basic"
    if form not in _FIELDS:
        faults.append(("type", f"is not one of {', '.join(_FIELDS)}"))
        return []
    entry = _entry(document.get("credentials"), form, "credentials", faults)
    return [(kind == "dockerAuth", name.lower(), entry) for name in names]


def _entry(value: object, form: str, where: str, faults: list[tuple[str, str]]) -> _Entry:
    """Check what `form` has, one of _FIELDS; "" is basic or oauth."""
    token = isinstance(value, dict) and "token" in value
    wanted = _FIELDS[form or ("oauth" if token else "basic")]
    allowed = {*wanted, _REGION} if form == "aws" else {*wanted}
    if not isinstance(value, dict) or not set(wanted) <= set(value) <= allowed:
        faults.append((where, f"is not an object of {' and '.join(wanted)}"))
        return {}
    for key, text in value.items():
        if not isinstance(text, str) or not text.isprintable() or (key != "password" and not text):
            faults.append((f"{where}.{key}", "is not a text of one line"))
        elif key == "user" and ":" in text:
            faults.append((f"{where}.{key}", "must not have a colon"))
    return {key: str(text) for key, text in value.items()}
