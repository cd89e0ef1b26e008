"""Image layouts (aci.md, "Image Layout") and manifest files, as people have them on disk before an image is built."""

from __future__ import annotations

import os
import stat

from appc.errors import ArchiveError, InvalidValue, ManifestError
from appc.formats.aci import MANIFEST, ROOTFS
from appc.formats.limits import DEFAULT
from appc.formats.tarnames import printable
from appc.schema.image import ImageManifest
from appc.schema.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_NODES = 100_000
_MOST_DOTS = 100_000_000
_YAML = (".yaml", ".yml")
_TOML = ".toml"


def check_layout(directory: int, where: str, strict: bool = False) -> bytes:
    """The manifest of a layout, as JSON, given the descriptor of its directory.

    There must be `manifest`, a regular file or a link to one, and the directory `rootfs`, and nothing else.
    Raises ManifestError with every fault of the layout and of its manifest.
    """
    faults: list[tuple[str, str]] = []
    try:
        names = set(os.listdir(directory))
        rootfs = stat.S_IFMT(os.stat(ROOTFS, dir_fd=directory, follow_symlinks=False).st_mode) if ROOTFS in names else 0
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", where) from error
    for name in sorted(names - {MANIFEST, ROOTFS}):
        faults.append((printable(name), f'is neither "{MANIFEST}" nor "{ROOTFS}"'))
    if rootfs != stat.S_IFDIR:
        faults.append((ROOTFS, "is not a directory" if rootfs else "is missing"))
    manifest = b""
    try:
        if MANIFEST in names:
            manifest = read_manifest(directory, MANIFEST, where, strict)
        else:
            faults.append((MANIFEST, "is missing"))
    except ManifestError as error:
        faults += [(f"{MANIFEST}: {path}" if path else MANIFEST, message) for path, message in error.faults]
    except ArchiveError as error:
        faults.append((MANIFEST, error.what))
    if faults:
        raise ManifestError(faults, where)
    return manifest


def read_manifest(directory: int | None, name: str, where: str, strict: bool = False) -> bytes:
    """The image manifest in the file `name` of a directory (None: the current one), as JSON.

    JSON is returned as it is; .yaml, .yml and .toml are converted. Raises ManifestError with all faults,
    ArchiveError when the file cannot be read; both name `where`.
    """
    data = read_small(directory, name, where)
    if os.path.splitext(name)[1].lower() in (*_YAML, _TOML):
        return ImageManifest.parse(_document(data, name, where), strict, where).to_json()
    ImageManifest.parse(data, strict, where)
    return data


def read_document(path: str) -> dict[str, Any]:
    """The object in the file `path`: YAML or JSON if it is called so, else TOML.

    Raises ManifestError for what is none, ArchiveError when the file cannot be read.
    """
    return _document(read_small(None, path, path), path, path)


def _document(data: bytes, name: str, where: str) -> dict[str, Any]:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _YAML:
        return from_yaml(data, where)
    if suffix != ".json":
        return _from_toml(data, where)
    try:
        return _object(loads(data), where)
    except ManifestError as error:
        raise ManifestError(list(error.faults), where) from None
    except InvalidValue as error:
        raise ManifestError([("", error.what)], where) from None


def read_small(directory: int | None, name: str, where: str) -> bytes:
    """A regular file of at most the size a manifest may have; ArchiveError for anything else."""
    try:
        # A FIFO must not be waited for.
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ArchiveError("is not a regular file", where)
            data = file.read(DEFAULT.manifest + 1)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", where) from error
    if len(data) > DEFAULT.manifest:
        raise ArchiveError(f"is longer than the {DEFAULT.manifest} bytes a manifest may have", where)
    return data


def from_yaml(data: bytes, path: str) -> dict[str, Any]:
    """Return the object that a YAML text holds, its dates as text.

    Raises ManifestError for what is none, ArchiveError without PyYAML.
    """
    try:
        import yaml
    except ImportError:
        hint = "install the Python package PyYAML, or write it in JSON"
        raise ArchiveError("is YAML, which this installation cannot read", path, hint) from None

    class Loader(yaml.SafeLoader):
        """Dates stay text, as in JSON, and what mappings take over from others (`<<`), which multiplies, is bounded."""

        merged = 0

        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            self.merged += len(node.value)
            if self.merged > _MAX_NODES:
                raise yaml.YAMLError(f"it has more than {_MAX_NODES} values")

    Loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return _object(yaml.load(data, Loader), path)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark is not None else ""
        raise ManifestError([(place, f"is not YAML: {getattr(error, 'problem', None) or error}")], path) from None


def _from_toml(data: bytes, path: str) -> dict[str, Any]:
    import tomllib

    try:
        text = data.decode("utf-8")
        # The time that a dotted key takes grows with the square of its length.
        if sum(part.count(".") ** 2 for part in text.replace("\n", "=").split("=")) > _MOST_DOTS:
            raise ValueError("its keys have too many dots")
        return _object(tomllib.loads(text), path)
    except (ValueError, RecursionError) as error:
        raise ManifestError([("", f"is not TOML: {error}")], path) from None


def _object(value: object, path: str) -> dict[str, Any]:
    """`value` as JSON could hold it; YAML's aliases are written out, so what they make of it is bounded."""
    left = _MAX_NODES

    def plain(node: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ManifestError([("", f"has more than {_MAX_NODES} values")], path)
        if isinstance(node, dict):
            return {str(key): plain(child) for key, child in node.items()}
        if isinstance(node, list | tuple):
            return [plain(child) for child in node]
        if node is None or isinstance(node, bool | int | float | str):
            return node
        if hasattr(node, "isoformat"):
            return node.isoformat()
        raise ManifestError([("", f"holds a {type(node).__name__}, which JSON does not have")], path)

    result = plain(value)
    if not isinstance(result, dict):
        raise ManifestError([("", "must be an object")], path)
    return result
