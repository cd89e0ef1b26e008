"""`appc image validate`: say everything that is wrong with manifests, images and layouts."""

from __future__ import annotations

import os

from appc.cli.image_file import open_image
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import AppcError, ArchiveError, ManifestError
from appc.formats.privileges import dangers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from appc.cli.context import Context
    from appc.trust.symmetric import Passphrase

# What tells directories apart, the first that is there.
_IN_DIRECTORIES = (
    ("oci-layout", "oci"),
    ("manifest", "layout"),
    ("config.json", "bundle"),
    ("manifest.json", "docker-archive"),
    ("repositories", "docker-archive"),
)
_TYPES = ("appimage", "layout", "manifest", "oci", "docker-archive", "bundle")

VERB = Verb(
    "image validate",
    "check manifests, image files, layouts, OCI images and bundles",
    description=(
        "What each FILE is shows from its content: a directory is a layout, an OCI image layout, an OCI runtime bundle "
        "or an unpacked docker archive; a tar archive (compressed or not) is an image, an OCI archive or a docker "
        "archive; text is a manifest of an image or a pod. Of OCI and docker images every digest is verified, of all "
        "tags and platforms. All faults of all files are reported; valid files are passed "
        "over in silence, unless they take an app out of containment: by capabilities with which it can take over the "
        "host, or by allowing all system calls. The exit status is 1 when there was any fault."
    ),
    options=(
        Option("--type", choices=_TYPES, help="what the files are, instead of looking"),
        Option("--strict", help="accept only what the specification's text allows, not all that other tools accept"),
        *PASSPHRASE,
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(Operand("file", count="+", complete="file", help="what to check"),),
)


def run(args: Args, context: Context) -> int:
    """Check every file; 1 when one of them has a fault."""
    secret = passphrase(args, context)
    status = 0
    for path in args.file:
        try:
            what = _validate(path, args.type, args.strict, secret, context)
        except AppcError as error:
            context.error(error.what, error.where, error.hint)
            status = max(status, error.exit_status)
        else:
            if what:
                context.debug(f"is a valid {what}", path)
            else:
                status = max(status, 1)
    return status


def _validate(path: str, kind: str | None, strict: bool, secret: Passphrase, context: Context) -> str:
    """What a valid file is, "" when faults were reported."""
    kind = kind or _detect(path)
    if kind == "layout":
        from appc.build.image import layout_manifest

        _warn_of_dangers(layout_manifest(path, strict), path, context)
        return "image layout"
    if kind == "manifest":
        return _manifest(path, strict, context)
    if kind == "bundle":
        _bundle(path, context)
        return "OCI runtime bundle"
    if kind in ("oci", "docker-archive"):
        what = "OCI image" if kind == "oci" else "docker archive"
        return what if _oci(path, kind, context) else ""
    return "image" if _image(path, strict, secret, context) else ""


def _detect(path: str) -> str:
    if os.path.isdir(path):
        return next((kind for name, kind in _IN_DIRECTORIES if os.path.lexists(f"{path}/{name}")), "layout")
    from appc.formats import compress

    try:
        with open(path, "rb") as file:
            head = file.read(512)
            file.seek(0)
            if compress.detect(head) != "none":
                return _archive(file, path)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", path) from error
    if path.endswith((".json", ".yaml", ".yml", ".toml")) or head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        return "manifest"
    raise ArchiveError("is neither an image, nor a layout, nor a manifest", path, "--type says what it should be")


def _archive(file: BinaryIO, path: str) -> str:
    """What a tar archive is by the name of its first entry; whatever is unclear should be an image of ours."""
    from appc.formats import compress

    stream = compress.reader(file, where=path)
    try:
        name = stream.read(100).partition(b"\0")[0].decode("ascii", "replace") if stream.kind != "pgp" else ""
    except ArchiveError:
        name = ""
    first = name.removeprefix("./").partition("/")[0]
    if first in ("blobs", "index.json", "oci-layout"):
        return "oci"
    bare = first.removesuffix(".json").removesuffix(".tar")
    if first in ("manifest.json", "repositories") or (len(bare) == 64 and not bare.strip("0123456789abcdef")):
        return "docker-archive"
    return "appimage"


def _oci(path: str, kind: str, context: Context) -> bool:
    from appc.images.convert_check import check_images
    from appc.images.convert_source import DOCKER_ARCHIVE, OCI, OCI_ARCHIVE

    faults: list[AppcError] = []
    warnings: list[str] = []
    scheme = DOCKER_ARCHIVE if kind == "docker-archive" else OCI if os.path.isdir(path) else OCI_ARCHIVE
    check_images(f"{scheme}{path}", faults.append, warnings)
    for fault in faults:
        context.error(fault.what, fault.where, fault.hint)
    for warning in dict.fromkeys(warnings):
        context.warn(warning, path)
    return not faults


def _bundle(path: str, context: Context) -> None:
    from appc.formats.bundle import manifest_of
    from appc.images.convert_check import check_bundle
    from appc.images.fetch import host_labels

    labels = host_labels()
    config = check_bundle(path)
    app = manifest_of(config, "bundle", (labels.get("os") or "", labels.get("arch") or ""), [], path).app
    for danger in dangers(app.isolators if app else ()):
        context.warn(f"makes its process {danger}", path)


def _manifest(path: str, strict: bool, context: Context) -> str:
    from appc.build.image import manifest_file
    from appc.formats.layout import read_small
    from appc.schema.json import loads
    from appc.schema.pod import PodManifest

    if not path.endswith((".yaml", ".yml", ".toml")):
        data = read_small(None, path, path)
        try:
            value = loads(data)
        except ManifestError as error:
            raise ManifestError(list(error.faults), path) from None
        if isinstance(value, dict) and any(
            str(key).lower() == "ackind" and kind == "PodManifest" for key, kind in value.items()
        ):
            for app in PodManifest.parse(data, strict, path).apps:
                for danger in dangers(app.app.isolators if app.app else ()):
                    context.warn(f"makes app {app.name} {danger}", path)
            return "pod manifest"
    _warn_of_dangers(manifest_file(path, strict), path, context)
    return "image manifest"


def _image(path: str, strict: bool, secret: Passphrase, context: Context) -> bool:
    from appc.formats.aci import MANIFEST, read_aci
    from appc.schema.image import ImageManifest

    faults: list[ArchiveError] = []
    try:
        with open_image(path, "checking", secret) as source:
            found = read_aci(source, where=path, faults=faults)
    finally:
        # What was found before the archive could not be read any further counts too.
        for fault in faults:
            context.error(fault.what, fault.where, fault.hint)
    for warning in found.warnings:
        context.warn(warning)
    if found.manifest_bytes or not faults:
        ImageManifest.parse(found.manifest_bytes, strict, f"{path}: {MANIFEST}")
        _warn_of_dangers(found.manifest_bytes, path, context)
    return not faults


def _warn_of_dangers(manifest: bytes, path: str, context: Context) -> None:
    """Say when the image that this valid manifest is of takes its app out of containment."""
    from appc.schema.image import ImageManifest

    app = ImageManifest.parse(manifest).app
    for danger in dangers(app.isolators if app else ()):
        context.warn(f"makes its app {danger}", path)
