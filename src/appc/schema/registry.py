"""How images in registries are called: `docker://REGISTRY/REPOSITORY[:TAG][@DIGEST]`.

The grammar is that of the distribution-spec ("Pulling manifests") for repositories and tags. What stands before the
first slash is a registry if it has a dot or a port or is `localhost`; a reference without one means Docker's
registry, as every tool that takes such references has it.
"""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.values import ACIdentifier, Digest, quoted

SCHEME = "docker:"
DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255
MAX_TAG = 128

_LOWER = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_ALNUM = _LOWER + _DIGITS
_WORD = _ALNUM + _LOWER.upper()
_HEX = _DIGITS + "abcdef"
# Under this name Docker's registry was known first, and under the other one it can be reached.
_LEGACY = "index.docker.io"
_DOCKER_HOST = "registry-1.docker.io"


class RegistryReference:
    """A manifest in a registry. `tag` and `digest` may both be given; then the digest counts.

    `registry` is a host with maybe a port, in lower case. `str()` is the whole reference, without the scheme.
    """

    __slots__ = ("digest", "registry", "repository", "tag")

    def __init__(self, registry: str, repository: str, tag: str = "", digest: Digest | None = None) -> None:
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest

    @classmethod
    def parse(cls, text: str) -> RegistryReference:
        """Read a reference, with or without `docker://` or `docker:` before it; raises InvalidValue."""
        rest = text.removeprefix(SCHEME).removeprefix("//")
        if "://" in rest:
            raise _fault(text, "a registry is named without https://")
        rest, at, digest = rest.partition("@")
        if at and ":" not in digest:
            raise _fault(text, "what follows @ is no digest, and credentials do not belong into a reference")
        found = Digest.parse(digest) if at else None
        name, tag = _split_tag(rest)
        registry, repository = _split_registry(name)
        if tag is None:
            tag = "" if found else DEFAULT_TAG
        elif not _is_tag(tag):
            raise _fault(text, f"{quoted(tag)} is not a tag: up to {MAX_TAG} of a-z, A-Z, 0-9, _, . and -")
        _check_repository(text, repository)
        if len(repository) == 64 and not repository.strip(_HEX):
            raise _fault(text, "64 hexadecimal digits are an ID, which is no name of a repository")
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = f"library/{repository}"
        if len(repository) > MAX_NAME:
            raise _fault(text, f"a repository's name has at most {MAX_NAME} characters")
        return cls(registry, repository, tag, found)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"

    @property
    def host(self) -> str:
        """Host and port the registry answers at."""
        return _DOCKER_HOST if self.registry == DEFAULT_REGISTRY else self.registry

    @property
    def version(self) -> str:
        """What to ask the registry for: the digest if there is one, else the tag."""
        return str(self.digest or self.tag)

    @property
    def name(self) -> ACIdentifier:
        """The image's name for trust and in the store: registry and repository, as identifiers are written."""
        return ACIdentifier.sanitized(f"{self.registry}/{self.repository}")

    def with_tag(self, tag: str) -> RegistryReference:
        """Another tag of the same repository."""
        return RegistryReference(self.registry, self.repository, tag)

    def with_digest(self, digest: Digest) -> RegistryReference:
        """One manifest of the same repository."""
        return RegistryReference(self.registry, self.repository, "", digest)


def referrers_tag(digest: Digest) -> str:
    """The tag whose index lists what refers to `digest`, where a registry keeps no such list (Referrers Tag Schema)."""
    kept = f"{digest.algorithm[:32]}-{digest.hex[:64]}"
    return "".join(c if c in _WORD + "_.-" else "-" for c in kept)


def _fault(text: str, what: str) -> InvalidValue:
    hint = "the form is docker://REGISTRY/REPOSITORY[:TAG|@DIGEST]"
    return InvalidValue(f"{quoted(text)} names no image in a registry: {what}", "", hint)


def _split_tag(text: str) -> tuple[str, str | None]:
    """Name and tag; a colon before the last slash begins a port."""
    slash = text.rfind("/")
    colon = text.find(":", slash + 1)
    return (text, None) if colon < 0 else (text[:colon], text[colon + 1 :])


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return DEFAULT_REGISTRY, name
    registry = first.lower()
    host, port = registry, ""
    if registry.startswith("["):
        host, bracket, port = registry[1:].partition("]")
        if not bracket or host.count(":") < 2 or host.strip(_HEX + ":.") or port[:1] not in ("", ":"):
            raise _fault(name, f"{quoted(first)} is no IPv6 address in brackets")
        has_port, port = bool(port), port[1:]
    else:
        host, colon, port = registry.partition(":")
        has_port = bool(colon)
        if not all(_is_label(label) for label in host.split(".")):
            raise _fault(name, f"{quoted(first)} is no host name")
    if has_port and not (port and len(port) < 6 and not port.strip(_DIGITS) and 0 < int(port) < 65536):
        raise _fault(name, f"{quoted(port)} is no port")
    return (DEFAULT_REGISTRY if registry == _LEGACY else registry), rest


def _is_label(label: str) -> bool:
    return 0 < len(label) < 64 and not label.strip(_ALNUM + "-") and label[0] != "-" and label[-1] != "-"


def _is_tag(tag: str) -> bool:
    return 0 < len(tag) <= MAX_TAG and not tag.strip(_WORD + "_.-") and tag[0] in _WORD + "_"


def _check_repository(text: str, repository: str) -> None:
    """Raise InvalidValue unless every component is words of a-z and 0-9 with `.`, `_`, `__` or dashes between them."""
    if not repository:
        raise _fault(text, "the repository is missing")
    for part in repository.split("/"):
        separators = "".join(c if c not in _ALNUM else " " for c in part).split()
        known = all(one in (".", "_", "__") or not one.strip("-") for one in separators)
        if not part or part.strip(_ALNUM + "._-") or part[0] not in _ALNUM or part[-1] not in _ALNUM or not known:
            allowed = "words of a-z and 0-9 with single ., _, __ or dashes between them"
            raise _fault(text, f"{quoted(part)} is no part of a repository's name: {allowed}")
