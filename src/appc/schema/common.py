"""Parts that image and pod manifests share: labels, annotations, names, user maps (types.md, aci.md)."""

from __future__ import annotations

from appc.errors import InvalidValue
from appc.schema.kinds import Faults, choice, list_of, map_of, parsed, string, unique
from appc.schema.record import REQUIRED, Record, field
from appc.values import ACIdentifier, ACName, ImageHash, Labels, SemVer, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The version of the App Container specification that manifests made here follow.
AC_VERSION = "0.8.11"

# Values of the label `os`, and of the label `arch` that go with each (aci.md, "labels"). An implementation may
# extend the table, so it is a plain dict.
OS_ARCH: dict[str, tuple[str, ...]] = {
    "linux": (
        "amd64",
        "i386",
        "aarch64",
        "aarch64_be",
        "armv6l",
        "armv7l",
        "armv7b",
        "ppc64",
        "ppc64le",
        "s390x",
    ),
    "freebsd": ("amd64", "i386", "arm"),
    "darwin": ("x86_64", "i386"),
}

AC_NAME = parsed(ACName.parse)
AC_IDENTIFIER = parsed(ACIdentifier.parse)
IMAGE_HASH = parsed(ImageHash.parse)
USER_MAP = map_of(string)


def ac_kind(kind: str) -> Any:
    """The field that tells the kind of a manifest."""
    return field("acKind", choice(kind), default=kind, absent=REQUIRED)


def version(value: Any, faults: Faults) -> str:
    """An AC Version; the strict level refuses another major version than this implementation's."""
    parsed_version = SemVer.parse(string(value, faults), faults.strict)
    if faults.strict and parsed_version.major != SemVer(AC_VERSION).major:
        raise InvalidValue(f"{parsed_version} is another major version than {AC_VERSION}, which this appc implements")
    return parsed_version


def absolute(value: Any, faults: Faults) -> str:
    """A path that begins with a slash."""
    path = string(value, faults)
    if path[:1] != "/":
        raise InvalidValue(f"must be an absolute path, not {quoted(path)}")
    return path


def nonempty(value: Any, faults: Faults) -> str:
    """A string of at least one character."""
    if not string(value, faults):
        raise InvalidValue("must not be empty")
    return str(value)


class _Label(Record):
    name: str = field("name", AC_IDENTIFIER, default="", demanded=True)
    value: str = field("value", string, default="", demanded=True)


def _labels(items: tuple[_Label | None, ...], faults: Faults) -> Labels:
    unique(items, "name", "label", faults)
    found = {item.name: (index, item.value) for index, item in enumerate(items) if item is not None}
    if "name" in found:
        faults.add('must not be "name"', f"[{found['name'][0]}].name")
    if "os" in found:
        index, system = found["os"]
        architectures = OS_ARCH.get(system)
        if architectures is None:
            faults.add(f"{quoted(system)} is not one of {', '.join(sorted(OS_ARCH))}", f"[{index}].value")
        elif "arch" in found and found["arch"][1] not in architectures:
            index, architecture = found["arch"]
            listed = ", ".join(architectures)
            faults.add(f"{quoted(architecture)} is not one of {listed} (on {system})", f"[{index}].value")
    return Labels.of((item.name, item.value) for item in items if item is not None)


LABELS = list_of(_Label.decode, _labels)


class Annotation(Record):
    """Metadata for the tools and executors; `created`, `homepage` and `documentation` have forms of their own."""

    name: str = field("name", AC_IDENTIFIER, default="", demanded=True)
    value: str = field("value", string, default="", demanded=True)

    def _check(self, faults: Faults) -> None:
        if self.name not in ("created", "homepage", "documentation"):
            return
        from appc.schema.texts import check_date, check_url

        try:
            if self.name == "created":
                check_date(self.value, faults.strict)
            else:
                check_url(self.value, faults.strict)
        except InvalidValue as error:
            faults.add(error.what, "value")


def _annotations(items: tuple[Annotation, ...], faults: Faults) -> tuple[Annotation, ...]:
    unique(items, "name", "annotation", faults)
    return items


def _pod_annotations(items: tuple[Annotation | None, ...], faults: Faults) -> tuple[Annotation | None, ...]:
    unique(items, "name", "annotation", faults)
    if faults.strict:
        for index, item in enumerate(items):
            try:
                if item is not None and item.name:
                    ACName.parse(item.name, True)
            except InvalidValue as error:
                faults.add(error.what, f"[{index}].name")
    return items


ANNOTATIONS = list_of(Annotation.decode, _annotations)
# In pods the text asks for AC Names, which the Go tools do not.
POD_ANNOTATIONS = list_of(Annotation.decode, _pod_annotations)
