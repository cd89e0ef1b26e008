"""Parsed scalars: names, identifiers, IDs, versions, labels and references.

A value is made by `X.parse(text)`, which raises InvalidValue, so holding one means its rules were
checked. There are two levels: compatible (the default) accepts what the App Container tools written
in Go accept, `strict` what the specification's text (types.md) says; strict is always the narrower.
"""

from __future__ import annotations

import os

from appc.errors import InvalidValue, quoted
from appc.quantity import Quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = (
    "ACIdentifier",
    "ACName",
    "Digest",
    "ImageHash",
    "ImageID",
    "ImageReference",
    "Labels",
    "PodUUID",
    "Quantity",
    "SemVer",
    "quoted",
    "version_rank",
)

_DIGITS = "0123456789"
_HEX = _DIGITS + "abcdef"
_ALNUM = _DIGITS + "abcdefghijklmnopqrstuvwxyz"
_INT64_MAX = (1 << 63) - 1


def _named(text: str, what: str, separators: str, strict: bool) -> str:
    if not text:
        raise InvalidValue(f"an {what} cannot be empty")
    if text.strip(_ALNUM + separators):
        raise InvalidValue(f"{quoted(text)} is not an {what}: only a-z, 0-9 and {separators} may be used")
    if text[0] in separators or text[-1] in separators:
        raise InvalidValue(f"{quoted(text)} is not an {what}: it must begin and end with a letter or digit")
    if strict:
        for index in range(len(text) - 1):
            if text[index] in separators and text[index + 1] in separators:
                pair = text[index : index + 2]
                raise InvalidValue(f"{quoted(text)} is not an {what}: {pair} stand side by side")
    return text


def _sanitized(text: str, what: str, separators: str, filler: str) -> str:
    kept = "".join(c if c in _ALNUM or c in separators else filler for c in text.lower()).strip(separators)
    if not kept:
        raise InvalidValue(f"{quoted(text)} holds no character an {what} could be made of")
    return kept


class ACName(str):
    """A name within a manifest: a-z, 0-9 and single hyphens between them (types.md, "AC Name Type").

    The compatible level also admits several hyphens in a row.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, strict: bool = False) -> ACName:
        """Check and return `text`; raises InvalidValue."""
        return cls(_named(text, "AC Name", "-", strict))

    @classmethod
    def sanitized(cls, text: str) -> ACName:
        """Make a name of any text: lower case, other characters become `-`. Raises InvalidValue if nothing is left."""
        return cls(_sanitized(text, "AC Name", "-", "-"))


class ACIdentifier(str):
    """A name in the global name space, like `example.com/app`: a-z, 0-9 and `-._~/` between them (types.md).

    The compatible level also admits several of `-._~/` in a row.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, strict: bool = False) -> ACIdentifier:
        """Check and return `text`; raises InvalidValue."""
        return cls(_named(text, "AC Identifier", "-._~/", strict))

    @classmethod
    def sanitized(cls, text: str) -> ACIdentifier:
        """Make an identifier of any text: lower case, other characters become `_`. Raises InvalidValue."""
        return cls(_sanitized(text, "AC Identifier", "-._~/", "_"))


class ImageHash(str):
    """An image ID as manifests may carry it: `sha512-` and anything without a second hyphen.

    The Go tools check no more than that, so such a text may be an abbreviation or a placeholder; `complete` tells
    whether it can identify an image. Never use an incomplete one as a path.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, strict: bool = False) -> ImageHash:
        """Return an ImageID if `text` is one; else, unless `strict`, the unchecked hash. Raises InvalidValue."""
        kind, hyphen, value = text.partition("-")
        if not hyphen or "-" in value:
            raise InvalidValue(f"{quoted(text)} is not an image ID: it should be sha512-HEX")
        if kind != "sha512":
            raise InvalidValue(f"{quoted(text)} is not an image ID: the hash {quoted(kind)} is not sha512")
        if not value:
            raise InvalidValue(f"{quoted(text)} is not an image ID: the hash is empty")
        if len(value) == 128 and not value.strip(_HEX):
            return ImageID(text)
        if strict:
            raise InvalidValue(f"{quoted(text)} is not an image ID: sha512- needs 128 digits of 0-9, a-f")
        return ImageHash(text)

    @property
    def complete(self) -> bool:
        """Whether this is a whole image ID."""
        return isinstance(self, ImageID)

    @property
    def short(self) -> str:
        """`sha512-` and the first 32 digits."""
        return self[:39]


class ImageID(ImageHash):
    """The identity of an image: `sha512-` and the 128 lower-case hexadecimal digits of its tar's SHA-512."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, strict: bool = True) -> ImageID:
        """Check and return `text`, which must be complete whatever `strict` says; raises InvalidValue."""
        found = ImageHash.parse(text, strict=True)
        assert isinstance(found, ImageID)
        return found


class Digest(str):
    """A content digest of the OCI image-spec: `sha256:` and 64, or `sha512:` and 128 lower-case hex digits."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Check and return `text`; raises InvalidValue."""
        algorithm, colon, value = text.partition(":")
        length = {"sha256": 64, "sha512": 128}.get(algorithm)
        if not colon or length is None:
            raise InvalidValue(f"{quoted(text)} is not a digest: it should be sha256:HEX or sha512:HEX")
        if len(value) != length or value.strip(_HEX):
            raise InvalidValue(f"{quoted(text)} is not a digest: {algorithm} needs {length} digits of 0-9, a-f")
        return cls(text)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of `data`."""
        import hashlib  # loads OpenSSL, and this module is on the way of a launch

        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """`sha256` or `sha512`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The digits."""
        return self.partition(":")[2]


class SemVer(str):
    """A version like `0.8.11` or `1.2.3-rc.1+git` (types.md, "AC Version Type"; semver.org 2.0.0).

    The compatible level admits leading zeros and anything after `-` and `+`. `precedence` is what to compare by.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, strict: bool = False) -> SemVer:
        """Check and return `text`; raises InvalidValue."""
        core, pre_release, metadata = _version_parts(text)
        numbers = core.split(".")
        if len(numbers) != 3 or any(not n or n.strip(_DIGITS) or int(n[:40]) > _INT64_MAX for n in numbers):
            raise InvalidValue(f"{quoted(text)} is not a version: it should be MAJOR.MINOR.PATCH")
        if not core.strip("0.") and not pre_release and not metadata:
            raise InvalidValue(f"{quoted(text)} is not a version: it cannot be zero")
        if strict:
            _check_semver(text, numbers, pre_release, metadata)
        return cls(text)

    @property
    def major(self) -> int:
        """The first number."""
        return self.precedence[0]

    @property
    def minor(self) -> int:
        """The second number."""
        return self.precedence[1]

    @property
    def patch(self) -> int:
        """The third number."""
        return self.precedence[2]

    @property
    def precedence(self) -> tuple[int, int, int, tuple[tuple[int, int, str], ...]]:
        """A key that orders as semver.org says: a pre-release comes before its release, metadata does not count."""
        core, pre_release, _ = _version_parts(self)
        major, minor, patch = (int(number) for number in core.split("."))
        if not pre_release:
            return major, minor, patch, ((2, 0, ""),)
        words = pre_release.split(".")
        return major, minor, patch, tuple((0, int(w), "") if w.isdigit() else (1, 0, w) for w in words)


def version_rank(version: str | None) -> tuple[object, ...]:
    """A key that orders versions as "the latest" means it: pre-releases, then releases, each by precedence.

    What is no version of semver.org, or none at all, comes before both, and is not ordered among itself.
    """
    try:
        found = SemVer.parse(version or "")
    except InvalidValue:
        return (0,)
    _, pre_release, _ = _version_parts(found)
    return (1 if pre_release else 2, found.precedence)


def _version_parts(text: str) -> tuple[str, str, str]:
    rest, _, metadata = text.partition("+")
    core, _, pre_release = rest.partition("-")
    return core, pre_release, metadata


def _check_semver(text: str, numbers: list[str], pre_release: str, metadata: str) -> None:
    allowed = _ALNUM + _ALNUM.upper() + "-"
    before = pre_release.split(".") if pre_release or "-" in text.partition("+")[0] else []
    after = metadata.split(".") if "+" in text else []
    if any(not word or word.strip(allowed) for word in before + after):
        raise InvalidValue(f"{quoted(text)} is not a version: what follows - or + is words of letters, digits, hyphens")
    if any(len(n) > 1 and n[0] == "0" for n in numbers + [word for word in before if not word.strip(_DIGITS)]):
        raise InvalidValue(f"{quoted(text)} is not a version: a number has a leading zero")


class PodUUID(str):
    """The UUID of a pod (ace.md, "Pod UUID") in canonical form: lower case, 8-4-4-4-12."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, strict: bool = False) -> PodUUID:
        """Return the canonical form. The compatible level ignores where hyphens stand. Raises InvalidValue."""
        digits = text.replace("-", "").lower()
        if len(digits) != 32 or digits.strip(_HEX):
            raise InvalidValue(f"{quoted(text)} is not a UUID: it should be 32 digits of 0-9, a-f")
        if not digits.strip("0"):
            raise InvalidValue(f"{quoted(text)} is not a UUID: it cannot be zero")
        canonical = cls("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))
        if strict and canonical != text.lower():
            raise InvalidValue(f"{quoted(text)} is not a UUID: its hyphens should stand as in {canonical}")
        return canonical

    @classmethod
    def new(cls) -> PodUUID:
        """A new random UUID (version 4, RFC 4122)."""
        octets = bytearray(os.urandom(16))
        octets[6] = octets[6] & 0x0F | 0x40
        octets[8] = octets[8] & 0x3F | 0x80
        return cls.parse(octets.hex())


class Labels(tuple[tuple[str, str], ...]):
    """Labels in the order given: pairs of name and value. Names are unique."""

    __slots__ = ()

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]] | dict[str, str]) -> Labels:
        """Labels from pairs or a dict whose names are known to be valid."""
        return cls(tuple(pair) for pair in (pairs.items() if isinstance(pairs, dict) else pairs))

    @classmethod
    def parse(cls, text: str, strict: bool = False) -> Labels:
        """Read `name=value,…`, as in `os=linux,arch=amd64`; values are taken literally. Raises InvalidValue."""
        found: dict[str, str] = {}
        for part in text.split(",") if text else ():
            name, equals, value = part.partition("=")
            if not equals:
                raise InvalidValue(f"{quoted(part)} is not a label: it should be NAME=VALUE")
            if name in found:
                raise InvalidValue(f"the label {quoted(name)} is given twice")
            if name == "name":
                raise InvalidValue('a label cannot be called "name"')
            found[ACIdentifier.parse(name, strict)] = value
        return cls.of(found)

    def get(self, name: str) -> str | None:
        """The value of label `name`, or None."""
        for own, value in self:
            if own == name:
                return value
        return None

    def items(self) -> Iterable[tuple[str, str]]:
        """The pairs, as from a dict."""
        return self

    def matches(self, actual: Labels) -> bool:
        """Whether `actual` has every one of these labels, with the same value (aci.md, "Dependency Matching")."""
        return all(pair in actual for pair in self)

    def with_label(self, name: str, value: str) -> Labels:
        """These labels with `name` set: in its place if it is here, else at the end."""
        if self.get(name) is not None:
            return Labels((own, value if own == name else kept) for own, kept in self)
        return Labels((*self, (name, value)))

    def as_json(self) -> list[dict[str, str]]:
        """The form labels have in manifests."""
        return [{"name": str(name), "value": value} for name, value in self]

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self)


class ImageReference:
    """An image asked for by name: `example.com/app:1.0.0,arch=amd64` (the "app string" of the appc tools).

    `:VERSION` may stand right after the name and is the label `version`.
    """

    __slots__ = ("labels", "name")

    name: ACIdentifier
    labels: Labels

    def __init__(self, name: ACIdentifier, labels: Labels | None = None) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "labels", labels if labels is not None else Labels())

    @classmethod
    def parse(cls, text: str, strict: bool = False) -> ImageReference:
        """Read an app string; label values are taken literally. Raises InvalidValue."""
        head, comma, rest = text.partition(",")
        name, colon, version = head.partition(":")
        if ":" in version or ":" in rest:
            raise InvalidValue(
                f"{quoted(text)} is not an image name: a colon may stand only once, right after the name"
            )
        words = [f"version={version}"] if colon else []
        if comma:
            words.append(rest)
            if not rest:
                raise InvalidValue(f"{quoted(text)} is not an image name: a label is missing after the comma")
        return cls(ACIdentifier.parse(name, strict), Labels.parse(",".join(words), strict))

    def __str__(self) -> str:
        version = self.labels.get("version")
        head = self.name if version is None else f"{self.name}:{version}"
        return head + "".join(f",{n}={v}" for n, v in self.labels if n != "version")

    def __repr__(self) -> str:
        return f"ImageReference({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImageReference):
            return NotImplemented
        return self.name == other.name and dict(self.labels) == dict(other.labels)

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.labels)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an ImageReference does not change")
