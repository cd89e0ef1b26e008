"""The Python API of image files: what `appc image build`, `convert`, `patch`, `sign`, `verify` and `push` do."""

from __future__ import annotations

from contextlib import contextmanager

from appc.config import Directories
from appc.errors import HostError
from appc.oserrors import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from appc.images.edit import ManifestEditor
    from appc.images.registry import Access
    from appc.images.verify import Verified


@contextmanager
def _host_errors() -> Iterator[None]:
    """A block out of which an OSError comes as the AppcError that the command line would say."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        _, where, what, hint = explain(error)
        raise HostError(what, where, hint) from error


def build_image(
    source: str,
    out: str,
    *,
    manifest: str = "",
    compression: str = "gzip",
    level: int | None = None,
    owner_root: bool = False,
    mtime: int | None = None,
    overwrite: bool = False,
    sign: Callable[[str], bytes] | None = None,
    passphrase: bytes | None = None,
    warnings: list[str] | None = None,
) -> str:
    """Make the image file `out` of the layout `source`, or of the root file system `source` and a manifest file.

    `compression` is gzip, bzip2, xz or none; `mtime` (seconds since 1970) is the time of everything, by default each
    file's own; `sign` is called with the path of the finished file and returns what becomes `out`.asc; with a
    `passphrase` the file is encrypted. Returns the image ID. Raises ManifestError, ArchiveError, UsageError,
    HostError; after an error there is no new file, and an old one is as it was.
    """
    from appc.build.image import build_file
    from appc.build.outfile import Output
    from appc.formats.acibuild import Times

    output = Output(
        out,
        compression=compression,
        level=level,
        times=Times(mtime),
        overwrite=overwrite,
        passphrase=None if passphrase is None else lambda _: passphrase,
        sign=sign,
    )
    with _host_errors():
        built = build_file(source, output, manifest=manifest, owner_root=owner_root)
    if warnings is not None:
        warnings += built.warnings
    return built.image_id


def convert_image(
    source: str,
    target: str,
    *,
    name: str = "",
    platform: tuple[str, str] | None = None,
    layered: bool = False,
    compression: str = "",
    level: int | None = None,
    overwrite: bool = False,
    insecure: Sequence[str] = (),
    passphrase: bytes | None = None,
    warnings: list[str] | None = None,
    directories: Directories | None = None,
) -> list[str]:
    """Convert `source` (any IMAGE form, or bundle:DIR) to FILE.aci, oci:, oci-archive: or docker-archive:.

    `platform` is the labels (os, arch) of the image to take of several, this host's unless given; `insecure` may hold
    "tls" and "http", for registries; `passphrase` is that of an encrypted ACI. Returns the IDs of the ACIs made, the
    image itself last, or the digest of the OCI image. `warnings` gets what should be known although it worked. Raises
    ImageNotFound, ArchiveError, UsageError, NetworkError or another AppcError; nothing is left then.
    """
    from appc.build import convert
    from appc.store.images import ImageStore

    where = directories or Directories()
    said: list[str] = [] if warnings is None else warnings
    how = convert.How(
        platform or _host(),
        platform_given=platform is not None,
        layered=layered,
        compression=compression,
        level=level,
        overwrite=overwrite,
        name=name,
        access=_access(where, insecure, said),
        passphrase=None if passphrase is None else lambda _: passphrase,
    )
    with _host_errors():
        return convert.convert_image(ImageStore(where.root), source, target, how, said)


def patch_image(
    source: str,
    out: str,
    edit: Callable[[ManifestEditor], object],
    *,
    compression: str = "",
    level: int | None = None,
    overwrite: bool = False,
    passphrase: bytes | None = None,
    warnings: list[str] | None = None,
    directories: Directories | None = None,
) -> str:
    """Make the image file `out` of `source`, a file or an image of the store, with another manifest.

    `edit` is called with what changes the manifest: `lambda manifest: manifest.set_label("version", "2")`. Without a
    `compression` it is that of the source; a file that was encrypted with `passphrase` is encrypted again. Returns the
    new image ID. Raises ManifestError, ArchiveError, ImageNotFound, UsageError, HostError; after an error there is no
    new file, and an old one is as it was.
    """
    from appc.build.patch import patch_file, patch_stored
    from appc.images.edit import ManifestEditor
    from appc.images.fetch import classify, open_file
    from appc.images.unlock import Unlocked
    from appc.images.use import find_stored
    from appc.store.images import ImageStore

    def change(data: bytes) -> bytes:
        editor = ManifestEditor(data, source)
        edit(editor)
        return editor.finish()

    secret = None if passphrase is None else lambda _: passphrase
    with _host_errors():
        if classify(source) != "path":
            image = find_stored(ImageStore((directories or Directories()).root), source)
            patched = patch_stored(image, change, out, compression=compression, level=level, overwrite=overwrite)
        else:
            path = source.removeprefix("file://")
            with open_file(path) as file, Unlocked(file, secret, path) as plain:
                patched = patch_file(
                    plain,
                    change,
                    out,
                    compression=compression,
                    level=level,
                    overwrite=overwrite,
                    where=path,
                    encrypt=lambda: secret if plain.encrypted else None,
                )
    if warnings is not None:
        warnings += patched.warnings
    return str(patched.image_id)


def sign_image(
    image: str,
    *,
    key: str = "",
    key_file: str = "",
    passphrase_file: str = "",
    overwrite: bool = False,
    insecure: Sequence[str] = (),
    warnings: list[str] | None = None,
    directories: Directories | None = None,
) -> str:
    """Sign an image file, `oci:DIR[:TAG]` or `docker://…` with a key of the gpg keyring or the secret key in a file.

    Returns the path of the signature, FILE.asc, or its digest beside an OCI image. `insecure` may hold "tls" and
    "http", for registries. Raises SignatureError, UsageError, HostError, NetworkError.
    """
    from appc.build.sign import sign_beside, sign_in_layout, sign_in_registry
    from appc.images.referrers import Key

    signer = Key(key, key_file, passphrase_file)
    with _host_errors():
        if image.startswith("docker:"):
            where = directories or Directories()
            return sign_in_registry(_access(where, insecure, [] if warnings is None else warnings)(), image, signer)
        if image.startswith(("oci:", "oci-archive:")):
            return sign_in_layout(image, _host(), signer)
        return sign_beside(image, signer, overwrite=overwrite)


def verify_image(
    image: str,
    *,
    signature: str = "",
    passphrase: bytes | None = None,
    insecure: Sequence[str] = (),
    warnings: list[str] | None = None,
    directories: Directories | None = None,
) -> Verified:
    """Check an image file, `oci:DIR[:TAG]` or `docker://…` as `fetch` does, and store nothing.

    Returns its `name`, its `image_id` (for OCI the digest of the manifest) and its `signer`, the fingerprint of the
    key. `signature` is the path of a signature that is not FILE.asc, `insecure` may hold "tls" and "http". Raises
    SignatureError, ArchiveError, ManifestError, ImageNotFound, NetworkError.
    """
    from appc.images.verify import verify, verify_oci
    from appc.store.images import ImageStore

    where = directories or Directories()
    with _host_errors():
        if image.startswith(("docker:", "oci:", "oci-archive:")):
            access = _access(where, insecure, [] if warnings is None else warnings)
            return verify_oci(ImageStore(where.root), image, where.config, _host(), access)
        return verify(image, where.config, signature, None if passphrase is None else lambda _: passphrase)


def push_image(
    sources: Sequence[str],
    target: str,
    *,
    artifact: bool = False,
    platform: tuple[str, str] | None = None,
    compression: str = "",
    level: int | None = None,
    key: str | None = None,
    key_file: str = "",
    passphrase_file: str = "",
    insecure: Sequence[str] = (),
    warnings: list[str] | None = None,
    directories: Directories | None = None,
) -> str:
    """Push images (any IMAGE form) to `target`, docker://REGISTRY/REPOSITORY[:TAG]; return the digest of what is there.

    Several images of different platforms get one tag. With `artifact` ACIs stay as they are. A `key` of the gpg keyring
    ("" for its default), or the secret key in `key_file`, signs. Raises ImageNotFound, ArchiveError, UsageError,
    NetworkError or another AppcError.
    """
    from appc.build.convert import How
    from appc.build.push import PushHow, push
    from appc.images.referrers import Key
    from appc.store.images import ImageStore

    where = directories or Directories()
    said: list[str] = [] if warnings is None else warnings
    how = How(platform or _host(), platform_given=platform is not None, compression=compression, level=level)
    signer = Key(key or "", key_file, passphrase_file) if key is not None or key_file else None
    with _host_errors():
        access = _access(where, insecure, said)()
        return push(ImageStore(where.root), sources, target, access, PushHow(how, artifact=artifact, key=signer), said)


def _host() -> tuple[str, str]:
    """The labels os and arch of images for this host."""
    from appc.images.fetch import host_labels

    labels = host_labels()
    return labels.get("os") or "", labels.get("arch") or ""


def _access(where: Directories, insecure: Sequence[str], said: list[str]) -> Callable[[], Access]:
    """What makes access to registries when it is needed; what they want known is added to `said`."""

    def access() -> Access:
        from appc.images.network import Network
        from appc.images.registry import Access

        def warn(what: str, where: str) -> None:
            said.append(f"{where}: {what}")

        return Access.through(Network(where.config, where.settings, tuple(insecure), warn), said)

    return access
