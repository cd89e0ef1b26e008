"""What images were read as, kept from one run of the server to the next: reading them all again may take an hour.

A file in the cache directory; whatever of it cannot be understood is forgotten, and the images are read.
"""

from __future__ import annotations

import hashlib
import os

from appc.build.newfile import NewFile
from appc.errors import AppcError
from appc.schema.json import dumps, loads
from appc.serve.image import ServedImage, Signer
from appc.values import ImageID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from appc.serve.index import State

_VERSION = 1
_LIMIT = 512 << 20


class Memory:
    """The memory of the directory `path` below `cache`."""

    def __init__(self, cache: str, path: str) -> None:
        self._file = f"{cache}/index-{hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:16]}.json"
        self._known = self._load()

    def recall(self, path: str, state: State) -> ServedImage | None:
        """The image that the file at `path` was read as in that state, None when nobody remembers."""
        known = self._known.get(path)
        return known[1] if known is not None and known[0] == state else None

    def save(self, images: Iterable[tuple[State, ServedImage]]) -> None:
        """Remember `images`, and nothing else. That it cannot be written does not matter."""
        self._known = {image.path: (state, image) for state, image in images}
        document = {"version": _VERSION, "images": [_plain(state, image) for state, image in self._known.values()]}
        try:
            with NewFile(self._file, overwrite=True, mode=0o600) as file:
                file.write(dumps(document).encode())
                file.commit()
        except AppcError:
            pass

    def _load(self) -> dict[str, tuple[State, ServedImage]]:
        try:
            with open(self._file, "rb") as file:
                document = loads(file.read(_LIMIT), _LIMIT)
            if document["version"] != _VERSION:
                return {}
            return {one["path"]: _image(one) for one in document["images"]}
        except (OSError, AppcError, KeyError, TypeError, ValueError, AttributeError):
            return {}


def _plain(state: State, image: ServedImage) -> dict[str, Any]:
    file, signature, keys = state
    return {
        "path": image.path,
        "file": list(file),
        "signature": list(signature) if signature is not None else None,
        "keys": keys,
        "manifest": image.manifest_bytes.decode(),
        "id": str(image.image_id),
        "contentSize": image.content_size,
        "compression": image.compression,
        "sha256": image.sha256,
        "signers": [[one.fingerprint, one.user_id, one.verified, one.fault] for one in image.signers],
    }


def _image(one: dict[str, Any]) -> tuple[State, ServedImage]:
    device, inode, size, modified, changed = one["file"]
    file = (device, inode, size, modified, changed)
    signature = None
    if one["signature"] is not None:
        device, inode, size, modified, changed = one["signature"]
        signature = (device, inode, size, modified, changed)
    image = ServedImage(
        one["path"],
        file,
        one["manifest"].encode(),
        ImageID.parse(one["id"]),
        one["contentSize"],
        one["compression"],
        one["sha256"],
        signature,
        [Signer(*signer) for signer in one["signers"]],
    )
    return (file, signature, one["keys"]), image
