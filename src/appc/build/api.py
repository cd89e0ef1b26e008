"""The Python API of image files: building and converting them, as `appc image build` and `appc image convert` do."""

from __future__ import annotations

from contextlib import contextmanager

from appc.config import Directories
from appc.errors import HostError
from appc.oserrors import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


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
    from appc.images.fetch import host_labels
    from appc.images.network import Network
    from appc.images.registry import Access
    from appc.store.images import ImageStore

    where = directories or Directories()
    labels = host_labels()
    said: list[str] = [] if warnings is None else warnings

    def access() -> Access:
        return Access.through(
            Network(where.config, where.settings, tuple(insecure), lambda what, where: said.append(f"{where}: {what}")),
            said,
        )

    how = convert.How(
        platform or (labels.get("os") or "", labels.get("arch") or ""),
        platform_given=platform is not None,
        layered=layered,
        compression=compression,
        level=level,
        overwrite=overwrite,
        name=name,
        access=access,
        passphrase=None if passphrase is None else lambda _: passphrase,
    )
    with _host_errors():
        return convert.convert_image(ImageStore(where.root), source, target, how, said)
