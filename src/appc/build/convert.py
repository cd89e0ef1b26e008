"""`image convert`: from any form of image to any file form."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack

from appc.build import convert_oci
from appc.build.newfile import NewFile
from appc.errors import ArchiveError, UsageError
from appc.formats import compress
from appc.formats.layerhash import Hashed
from appc.images.convert import ChangedImage, changed, convert, convert_fresh
from appc.images.convert_aci import Aci, closure_of, file_aci
from appc.images.convert_source import DOCKER_ARCHIVE, OCI, SCHEMES, Source
from appc.schema.registry import SCHEME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.formats.compress import Sink
    from appc.images.convert import Opened
    from appc.images.registry import Access
    from appc.store.images import ImageStore
    from appc.trust.symmetric import Passphrase

BUNDLE = "bundle:"
SUFFIX = ".aci"
_CHUNK = 1 << 20


class How:
    """What the user asked of a conversion. `platform` is (os, arch) in appc's words, the host's unless given.

    `progress` is called with the number of bytes just written. `access` is called when something has to be fetched
    from a registry; without it nothing is. `passphrase` is that of an ACI that is encrypted.
    """

    __slots__ = (
        "access",
        "compression",
        "layered",
        "level",
        "name",
        "overwrite",
        "passphrase",
        "platform",
        "platform_given",
        "progress",
    )

    def __init__(
        self,
        platform: tuple[str, str],
        *,
        platform_given: bool = False,
        layered: bool = False,
        compression: str = "",
        level: int | None = None,
        overwrite: bool = False,
        name: str = "",
        progress: Callable[[int], None] | None = None,
        access: Callable[[], Access] | None = None,
        passphrase: Passphrase | None = None,
    ) -> None:
        self.access = access
        self.passphrase = passphrase
        self.platform = platform
        self.platform_given = platform_given
        self.layered = layered
        self.compression = compression
        self.level = level
        self.overwrite = overwrite
        self.name = name
        self.progress = progress


def convert_image(store: ImageStore, source: str, target: str, how: How, warnings: list[str]) -> list[str]:
    """Convert `source` (any IMAGE form, or bundle:DIR) to `target` (FILE.aci, oci:, oci-archive:, docker-archive:).

    Returns the IDs of the ACIs made, the image itself last, or the digest of the OCI image. After an error nothing
    of the new image is left, and what was there before is as it was. Raises AppcError.
    """
    if not target.endswith(SUFFIX) and not target.startswith(SCHEMES):
        hint = f"the forms are FILE{SUFFIX}, {', '.join(f'{scheme}PATH[:TAG]' for scheme in SCHEMES)} and {BUNDLE}DIR"
        raise UsageError("is no form of image to convert to", target, hint)
    if target.startswith(DOCKER_ARCHIVE) and how.compression not in ("", "none"):
        raise UsageError("docker archives hold their layers uncompressed", "--compress", f"{OCI}DIR compresses them")
    if source.startswith(SCHEMES):
        with Source(source, how.platform, how.platform_given) as opened:
            return _converted(opened, target, how, warnings)
    if source.startswith(SCHEME):
        return _from_registry(store, source, target, how, warnings)
    if how.layered:
        raise UsageError("only OCI and docker images have layers", "--layers")
    with ExitStack() as stack:
        acis, adjusted = _acis(store, source, target, how, warnings, stack)
        if target.startswith(SCHEMES):
            return [convert_oci.write(acis, adjusted, target, how, warnings)]
        return [_copy_aci(acis[-1], target, how)]


def _converted(opened: Opened, target: str, how: How, warnings: list[str]) -> list[str]:
    if target.startswith(SCHEMES):
        return [convert_oci.copy(opened, target, how, warnings)]
    return _to_files(opened, target, how, warnings)


def _from_registry(store: ImageStore, source: str, target: str, how: How, warnings: list[str]) -> list[str]:
    from appc.images.registry import RegistrySource

    if how.access is None:
        raise UsageError("is in a registry, and nothing is to be fetched", source)
    with RegistrySource(how.access(), source, store.root, how.platform, how.platform_given) as opened:
        opened.fetch()
        if opened.artifact is None:
            return _converted(opened, target, how, warnings)
        with tempfile.TemporaryFile() as spool, opened.file() as stream:
            while data := stream.read(_CHUNK):
                spool.write(data)
            spool.flush()
            return convert_image(store, f"/proc/{os.getpid()}/fd/{spool.fileno()}", target, how, warnings)


def _acis(
    store: ImageStore, source: str, target: str, how: How, warnings: list[str], stack: ExitStack
) -> tuple[list[Aci], Callable[[Sink], None] | None]:
    """The ACIs that `source` means, the lowest first, and what writes the layer that whitelists come to, if any."""
    if source.startswith(BUNDLE):
        from appc.build.convert_bundle import build

        path = source.removeprefix(BUNDLE)
        spool = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack's to close
        manifest = build(path, spool, how.name, how.platform, warnings)
        spool.seek(0)
        return [Aci(path, manifest, lambda: spool)], None
    if how.name:
        raise UsageError("an ACI has its name", "--name", "an image that is made of something else is given one")
    from appc.images.fetch import classify

    if classify(source) == "path":
        path = source.removeprefix("file://")
        return [file_aci(path, stack, target.startswith(SCHEMES), how.passphrase)], None
    return closure_of(store, source, stack, whole=target.startswith(SCHEMES))


def _to_files(source: Opened, target: str, how: How, warnings: list[str]) -> list[str]:
    if how.name:
        return _attempt(source, target, how, warnings, convert)
    try:
        return _attempt(source, target, how, warnings, convert)
    except ChangedImage as error:
        warnings.append(changed(error))
        return _attempt(source, target, how, warnings, convert_fresh)


def _attempt(source: Opened, target: str, how: How, warnings: list[str], method: Callable[..., None]) -> list[str]:
    """Make the files, and give them their names only when all of them are complete."""
    ids: list[str] = []
    files: list[NewFile] = []
    with ExitStack() as stack:

        def emit(rest: int, write: Callable[[Sink], object], expected: str) -> str:
            path = target if not rest else f"{target.removesuffix(SUFFIX)}-{rest}{SUFFIX}"
            file = stack.enter_context(NewFile(path, how.overwrite))
            image_id = _write(file, write, how)
            if expected not in ("", image_id):
                raise ChangedImage(f"its layers make {image_id[:39]}… instead of {expected[:39]}…", source.path)
            files.append(file)
            ids.append(image_id)
            return image_id

        method(source, how.name, how.layered, emit, warnings)
        for file in files:
            file.commit()
    return ids


def _copy_aci(aci: Aci, target: str, how: How) -> str:
    def write(out: Sink) -> None:
        stream = compress.reader(aci.open(), where=aci.where)
        if stream.kind == "none":
            raise ArchiveError("is no image", aci.where)
        while data := stream.read():
            out.write(data)

    with NewFile(target, how.overwrite) as file:
        image_id = _write(file, write, how)
        file.commit()
    return image_id


def _write(file: NewFile, write: Callable[[Sink], object], how: How) -> str:
    packed = compress.writer(file, how.compression or "gzip", how.level)
    try:
        hashed = Hashed(packed, "sha512", how.progress)
        write(hashed)
        packed.close()
    except BaseException:
        packed.abort()
        raise
    return f"sha512-{hashed.hexdigest()}"
