"""Writing OCI layouts and docker archives, from ACIs or from other layouts and archives."""

from __future__ import annotations

import tempfile

from appc.build.convert_sink import ArchiveSink, DirectorySink
from appc.formats import compress, layerwrite, ocilayout_write
from appc.formats.convert_image_oci import MOST_HEADERS, Origin, Record, annotations_of, config_of, record_in
from appc.formats.layer import LayerReader
from appc.formats.layerhash import Hashed
from appc.formats.layerzstd import ZstdWriter
from appc.formats.oci_image import blob_path
from appc.images.convert import name_of
from appc.images.convert_source import DOCKER_ARCHIVE, OCI, split
from appc.schema.image import ImageManifest
from appc.schema.json import dumps, loads
from appc.values import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appc.build.convert import How
    from appc.formats.compress import Sink, Writer
    from appc.formats.compress import Source as Readable
    from appc.formats.oci_image import SourceImage
    from appc.formats.ocilayout_write import BlobWriter
    from appc.images.convert import Opened
    from appc.images.convert_aci import Aci

_CHUNK = 1 << 20


class _Target:
    """What is written: where to, called what, with layers compressed how."""

    def __init__(self, target: str, how: How, name: str, version: str) -> None:
        scheme, path, asked = split(target)
        self.docker = scheme == DOCKER_ARCHIVE
        self.compression = "none" if self.docker else how.compression
        self.level = how.level
        if self.docker:
            self.reference = asked or ocilayout_write.docker_reference(name, version)
            if ":" not in self.reference.rpartition("/")[2]:
                self.reference += ":latest"
            self.tag = self.reference.rpartition(":")[2]
        else:
            self.reference = ""
            self.tag = asked or ocilayout_write.docker_tag(version)
        self.sink: ArchiveSink | DirectorySink = (
            DirectorySink(path, self.tag, how.overwrite, how.progress)
            if scheme == OCI
            else ArchiveSink(path, how.overwrite, how.progress)
        )

    def writer(self, out: Sink, usual: str = "gzip") -> tuple[Writer, str]:
        """A compressor for a layer, and the layer's media type."""
        kind = self.compression or usual
        packed = ZstdWriter(out, self.level) if kind == "zstd" else compress.writer(out, kind, self.level)
        return packed, ocilayout_write.LAYER_TYPES[kind]

    def layer(self, write: Callable[[Sink], object]) -> dict[str, Any]:
        """Write a layer, which `write` gives uncompressed; return its descriptor."""
        with self.sink.blob() as blob:
            packed, media_type = self.writer(blob)
            try:
                write(packed)
                packed.close()
            except BaseException:
                packed.abort()
                raise
            return ocilayout_write.descriptor(media_type, *blob.commit())

    def finish(
        self, config: bytes, layers: list[dict[str, Any]], diff_ids: list[str], annotations: dict[str, str]
    ) -> str:
        """Write the documents; return what the image is known by: its manifest's digest, for docker its own ID."""
        manifest = ocilayout_write.put_image(self.sink, config, layers, annotations)
        index = ocilayout_write.index(manifest, config, self.tag, self.reference)
        documents = {
            ocilayout_write.LAYOUT_FILE: ocilayout_write.layout_file(),
            ocilayout_write.INDEX_FILE: dumps(index).encode(),
        }
        known_by: str = manifest["digest"]
        if self.docker:
            documents |= ocilayout_write.docker_documents(config, diff_ids, self.reference)
            known_by = loads(documents["manifest.json"])[0]["Config"].replace("blobs/", "").replace("/", ":")
        self.sink.finish(documents)
        return known_by


def write(acis: list[Aci], adjust: Callable[[Sink], None] | None, target: str, how: How, warnings: list[str]) -> str:
    """Write `acis`, the lowest first, as one OCI image of as many layers, and one more if `adjust` writes one."""
    top = ImageManifest.parse(acis[-1].manifest)
    opened = _Target(target, how, str(top.name), top.labels.get("version") or "")
    with opened.sink:
        origins: list[Origin] = []
        layers: list[dict[str, Any]] = []
        room = MOST_HEADERS
        for aci in acis:
            origin, layer = _aci_layer(aci, opened, room, warnings)
            room -= len(origin.headers)
            origins.append(origin)
            layers.append(layer)
        adjusted = ""
        if adjust is not None:
            hashed: list[Hashed] = []

            def write_adjusted(out: Sink) -> None:
                hashed.append(Hashed(out, "sha256"))
                adjust(hashed[0])

            layers.append(opened.layer(write_adjusted))
            adjusted = f"sha256:{hashed[0].hexdigest()}"
        record = Record(origins, adjusted)
        config = dumps(config_of(record, how.platform, warnings)).encode()
        return opened.finish(config, layers, record.diff_ids, annotations_of(record))


def _aci_layer(aci: Aci, target: _Target, room: int, warnings: list[str]) -> tuple[Origin, dict[str, Any]]:
    """Make a layer of an ACI; the log of its headers goes into the record if it has no more than `room` bytes."""
    written: list[layerwrite.WrittenLayer] = []
    with tempfile.TemporaryFile() as log:
        layer = target.layer(lambda out: written.append(layerwrite.write_layer(aci.open(), out, log, where=aci.where)))
        (found,) = written
        warnings += found.warnings
        digest, headers = "", b""
        size = 0 if found.plain else log.tell()
        log.seek(0)
        if 0 < size <= room:
            headers = log.read()
        elif size:
            warnings.append(
                f"the headers of {aci.where} are another tool's, and the record of them ({size >> 10} KiB) is too long "
                "for the configuration: where other tools copy the image, it comes back with another ID"
            )
            with target.sink.blob() as blob:
                _pour(log, blob)
                digest = blob.commit()[0]
    return Origin(found.image_id, found.diff_id, found.manifest, found.manifest_time, digest, headers), layer


def copy(source: Opened, target: str, how: How, warnings: list[str]) -> str:
    """Write the image in `source` elsewhere, as it is: the same configuration and layers, every digest checked.

    Layers stay compressed as they are unless another way is asked for, or the target does not have theirs.
    """
    image = source.image
    names = name_of(source, how.name)
    opened = _Target(target, how, how.name or names.original.rpartition("@")[0] or names.repository, names.tag)
    with opened.sink:
        layers: list[dict[str, Any]] = []
        diff_ids: list[str] = []
        for index in range(len(image.layers)):
            layer, diff_id = _copied_layer(image, index, opened)
            layers.append(layer)
            diff_ids.append(diff_id)
        _copy_logs(image, opened)
        config = image.config_bytes
        if not image.config.rootfs.diff_ids and diff_ids:
            config = _modern(image, diff_ids)
        return opened.finish(config, layers, diff_ids, image.annotations)


def _copied_layer(image: SourceImage, index: int, target: _Target) -> tuple[dict[str, Any], str]:
    layer = image.layers[index]
    with target.sink.blob() as blob:
        if not target.compression:
            with LayerReader(image.blobs, layer, index + 1, copy=blob) as reader:
                diff_id = reader.finish()
                kind = reader.kind
            if kind in ocilayout_write.LAYER_TYPES:
                media_type = ocilayout_write.LAYER_TYPES[kind]
                return ocilayout_write.descriptor(media_type, *blob.commit()), diff_id
    with target.sink.blob() as blob, LayerReader(image.blobs, layer, index + 1) as reader:
        packed, media_type = target.writer(blob)
        try:
            while data := reader.raw():
                packed.write(data)
            packed.close()
        except BaseException:
            packed.abort()
            raise
        diff_id = reader.finish()
        return ocilayout_write.descriptor(media_type, *blob.commit()), diff_id


def _copy_logs(image: SourceImage, target: _Target) -> None:
    """Take along what rebuilding the ACIs of the image may need."""
    record = record_in(image.config)
    for origin in record.origins if record is not None else ():
        path = blob_path(Digest(origin.log)) if origin.log else ""
        if path and image.blobs.has(path):
            with image.blobs.open(path) as stored, target.sink.blob() as blob:
                _pour(stored, blob)
                blob.commit()


def _modern(image: SourceImage, diff_ids: list[str]) -> bytes:
    """The configuration of an image from before there were any that name the layers."""
    old = loads(image.config_bytes)
    kept = {key: old[key] for key in ("architecture", "author", "config", "created", "os", "variant") if old.get(key)}
    return dumps({**kept, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()


def _pour(source: Readable, blob: BlobWriter) -> None:
    while data := source.read(_CHUNK):
        blob.write(data)
