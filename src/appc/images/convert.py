"""From OCI images and docker archives to ACIs, written wherever the caller wants them, or into the store."""

from __future__ import annotations

from appc.errors import ArchiveError, ImageNotFound, InvalidValue
from appc.formats import convert_image, layersquash
from appc.formats.convert_image_oci import RECORD, Record, record_in, renewed, unchanged
from appc.formats.layer import LayerReader
from appc.formats.layerwrite import rebuild_logged, rebuild_plain
from appc.formats.oci_image import blob_path
from appc.images.convert_source import Source, default_name
from appc.images.piped import Piped
from appc.schema.image import Dependency, ImageManifest
from appc.store.batch import Batch
from appc.store.importer import How
from appc.values import Digest, ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import BinaryIO, Protocol

    from appc.formats.compress import Sink
    from appc.formats.convert_image import Naming
    from appc.formats.convert_image_oci import Origin
    from appc.formats.layersquash import Selection
    from appc.formats.oci_image import SourceImage
    from appc.store.images import Admit, ImageStore, StoredImage, Verifier

    class Opened(Protocol):
        """A layout, archive or registry that is open, and the image chosen in it; `path` names it in messages."""

        @property
        def path(self) -> str: ...
        @property
        def image(self) -> SourceImage: ...

    # Takes one ACI: how many more will come (0: this is the image itself), a function that writes the uncompressed
    # archive, and the ID it must have ("" = any). Returns the ID it has.
    Emit = Callable[[int, Callable[[Sink], object], str], str]

_LOG_LIMIT = 256 << 20


class ChangedImage(ArchiveError):
    """An image that carries a record is not what the record says."""


def changed(error: ChangedImage) -> str:
    """What there is to say when an image is converted as it is now after all."""
    return f"is not the ACI any more that it was made of ({error}); a new one was made"


def convert(source: Opened, name: str, layered: bool, emit: Emit, warnings: list[str]) -> None:
    """Make ACIs of the image in `source` and give them to `emit`, those that others depend on first.

    An image that was made of ACIs and has not been changed becomes those ACIs again, to the byte. Any other becomes
    one ACI or, when `layered`, one for each layer. `name` is what to call it ("" = what it calls itself). Raises
    ChangedImage when the record that came with it turns out to be wrong: then nothing that `emit` got is of use,
    and `convert_fresh` does without. Raises ArchiveError.
    """
    record = None if name else intact_record(source.image)
    if record is not None:
        for index, origin in enumerate(record.origins):
            rest = len(record.origins) - 1 - index
            emit(rest, _rebuilder(source.image, index, origin), origin.image_id)
        return
    convert_fresh(source, name, layered, emit, warnings)


def intact_record(image: SourceImage) -> Record | None:
    """The record of the ACIs an image was made from, if nothing but the layers themselves could contradict it."""
    record = record_in(image.config)
    return record if record is not None and unchanged(image.config, record) else None


def convert_fresh(source: Opened, name: str, layered: bool, emit: Emit, warnings: list[str]) -> None:
    """As `convert`, taking the image for what it is now."""
    image = source.image
    names = name_of(source, name)
    plan = layersquash.plan(image, layered)
    parent: Dependency | None = None
    for index, selection in enumerate(plan.selections):
        rest = len(plan.selections) - 1 - index
        if rest:
            manifest = convert_image.layer_manifest(image, names, selection.diff_id, parent)
        else:
            manifest = convert_image.manifest_of(image, names, plan.accounts, warnings, parent=parent)
            record = record_in(image.config)
            if record is not None and not name:
                manifest = renewed(manifest, image.config, record)
            elif RECORD in image.config.config.labels and manifest.app is not None:
                labels = {key: value for key, value in manifest.app.user_labels.items() if key != RECORD}
                manifest = manifest.replace(app=manifest.app.replace(user_labels=labels))
        if selection.whitelist:
            _check_names(selection.whitelist, source.path)
            manifest = manifest.replace(path_whitelist=selection.whitelist)
        image_id = emit(rest, _writer(image, selection, manifest.to_json()), "")
        parent = Dependency(image_name=manifest.name, image_id=ImageID.parse(image_id), labels=manifest.labels)


def name_of(source: Opened, name: str) -> Naming:
    """What the image in `source` is to be called when it is made into an ACI; ArchiveError when that can be nothing."""
    try:
        return convert_image.naming(source.image.reference, default_name(source.path), name)
    except InvalidValue as error:
        if name:
            raise
        raise ArchiveError(error.what, source.path, "--name gives it a name") from None


def _check_names(paths: Iterable[str], where: str) -> None:
    """Refuse paths that no manifest can hold: file names are bytes, and JSON is text."""
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            what = f"a layer deletes files beside {path!a}, whose name is not UTF-8, so no path whitelist can keep it"
            raise ArchiveError(what, where, "without --layers it is converted") from None


def _writer(image: SourceImage, selection: Selection, manifest: bytes) -> Callable[[Sink], object]:
    return lambda out: layersquash.write_aci(image, selection, manifest, out)


def _rebuilder(image: SourceImage, index: int, origin: Origin) -> Callable[[Sink], object]:
    def write(out: Sink) -> None:
        layer = image.layers[index]
        try:
            with LayerReader(image.blobs, layer, index + 1) as reader:
                if not (origin.log or origin.headers):
                    for data in rebuild_plain(reader.entries, origin.manifest, origin.manifest_time):
                        out.write(data)
                else:
                    with _log(image, origin) as log:
                        for data in rebuild_logged(reader.entries, origin.manifest, log):
                            out.write(data)
                reader.finish()
        except ArchiveError as error:
            raise ChangedImage(error.what, error.where, error.hint) from error

    return write


def _log(image: SourceImage, origin: Origin) -> BinaryIO:
    """The log of an ACI's headers; verified, in an unnamed file, when it is a blob."""
    import hashlib
    import io
    import tempfile

    if origin.headers:
        return io.BytesIO(origin.headers)
    digest = Digest(origin.log)
    path = blob_path(digest)
    if not image.blobs.has(path):
        raise ArchiveError("the record of its headers did not come along", image.blobs.where)
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
    found = hashlib.new(digest.algorithm)
    with image.blobs.open(path) as blob:
        if blob.size > _LOG_LIMIT:
            raise ArchiveError(f"the record of its headers is longer than {_LOG_LIMIT} bytes", image.blobs.where)
        while data := blob.read(1 << 20):
            found.update(data)
            spool.write(data)
    if found.hexdigest() != digest.hex:
        raise ArchiveError("the record of its headers is damaged", image.blobs.where)
    spool.seek(0)
    return spool


# -- into the store ---------------------------------------------------------------------------------


def import_image(
    store: ImageStore,
    reference: str,
    *,
    platform: tuple[str, str],
    pull: str = "new",
    insecure: Collection[str] = (),
    trusted: Callable[[StoredImage], bool] = lambda image: False,
    config: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
    warnings: list[str] | None = None,
) -> StoredImage:
    """Return the image that `reference` (`oci:DIR[:TAG]` …) means, converting and importing it if it is not there.

    Unless `insecure` has "image", what is in the store has to be `trusted`, and what is not needs a signature beside
    its manifest by a key that is trusted for its name, by the configuration directories `config`. What conversion
    cannot keep is added to `warnings`. Raises SignatureError, ImageNotFound, ArchiveError, StoreError.
    """
    with Source(reference, platform) as source:
        known = known_as(store, source)
        if known is not None and ("image" in insecure or trusted(known)):
            return known
        if pull == "never":
            raise ImageNotFound("is not in the store, and --pull never is given", reference)
        if "image" in insecure:
            return import_source(store, source, progress, warnings=warnings)
        from appc.images.vouch import signer_of_layout, vouching

        check = vouching(config, signer_of_layout(source, config, reference), reference)
        return import_source(store, source, progress, lambda rest: None if rest else check, warnings)


def own_name(source: Opened) -> str:
    """What the image in `source` is called as an ACI."""
    record = intact_record(source.image)
    if record is not None:
        return str(ImageManifest.parse(record.origins[-1].manifest).name)
    return str(name_of(source, "").name)


def import_source(
    store: ImageStore,
    source: Opened,
    progress: Callable[[int], None] | None = None,
    verifier: Callable[[int], Callable[[], Verifier] | None] = lambda rest: None,
    warnings: list[str] | None = None,
    admit: Admit | None = None,
) -> StoredImage:
    """Convert the image in `source` into the store; return the image itself, the last of those it becomes.

    `admit` may refuse that one, as `How` has it. `verifier` says what checks who vouches for the one after which so
    many come (0: the image itself); None: it is stored as one that nobody vouches for. What conversion cannot keep is
    added to `warnings`. Raises ArchiveError, StoreError, SignatureError, and what `admit` raises.
    """
    said: list[str] = [] if warnings is None else warnings

    def attempt(method: Callable[[Opened, str, bool, Emit, list[str]], None]) -> StoredImage:
        # What the image depends on is of no use without it.
        with Batch(store, source.path) as batch:

            def emit(rest: int, write: Callable[[Sink], object], expected: str) -> str:
                how = How(expected, "never", progress=progress, admit=None if rest else admit)
                with Piped(write) as stream:
                    try:
                        return str(batch.add(stream, None, source.path, verifier(rest), how)["id"])
                    except ArchiveError as error:
                        if expected:
                            raise ChangedImage(error.what, error.where, error.hint) from None
                        raise

            method(source, "", False, emit, said)
            return batch.commit()[-1]

    try:
        return attempt(convert)
    except ChangedImage as error:
        said.append(changed(error))
        return attempt(convert_fresh)


def known_as(store: ImageStore, source: Opened) -> StoredImage | None:
    """The stored image that converting `source` would give, as far as that can be told without reading layers."""
    record = intact_record(source.image)
    if record is not None:
        stored = [store.lookup(origin.image_id) for origin in record.origins]
        return stored[-1] if None not in stored else None
    names = name_of(source, "")
    identity = f"{convert_image.PREFIX}imageid"
    for image in store.matching(names.name):
        made = image.manifest.annotation(identity) == source.image.config_digest
        if made and not image.meta["dependencies"] and (image.labels.get("version") or "") == names.tag:
            return image
    return None
