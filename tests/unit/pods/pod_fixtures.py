"""Images and trees as the functions of `pods` see them, without a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appc.images.view import TreeView
from appc.schema.image import ImageManifest
from appc.values import ImageHash, Labels

IMAGE_ID = "sha512-" + "ab" * 64


class FakeImage:
    """What reification takes from an image of the store."""

    def __init__(self, name: str = "example.com/web", **app: Any) -> None:
        self.name = name
        self.id = ImageHash.parse(IMAGE_ID)
        self.labels = Labels.of((("os", "linux"),))
        section = {"exec": ["/bin/web", "--on"], "user": "0", "group": "0", **app}
        document = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": name}
        self.manifest = ImageManifest.parse(document if app == {"none": True} else {**document, "app": section})


def tree(root: Path, files: dict[str, str | bytes | None]) -> TreeView:
    """A tree with these files (None: a directory)."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return TreeView((str(root),))
