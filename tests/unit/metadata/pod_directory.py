"""A pod directory as the metadata service finds it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

TOKEN = "0123456789abcdef0123456789abcdef"
UUID = "6733c088-a507-4694-aabf-0123456789ab"
IMAGE_ID = "sha512-" + "ab" * 64

IMAGE = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/reduce-worker",
    "annotations": [
        {"name": "authors", "value": "Carly <carly@example.com>"},
        {"name": "created", "value": "2014-10-27T19:32:27.67021798Z"},
        {"name": "lorem", "value": "ipsum"},
    ],
}
POD = {
    "acVersion": "0.8.11",
    "acKind": "PodManifest",
    "apps": [
        {
            "name": "worker",
            "image": {"id": IMAGE_ID},
            "annotations": [{"name": "lorem", "value": "dolor"}, {"name": "example.com/new", "value": "grüße"}],
        }
    ],
    "annotations": [{"name": "ip-address", "value": "10.1.2.3"}],
}


def make_pod(
    root: Path, uuid: str = UUID, token: str = TOKEN, key: bytes = b"k" * 64, pod: dict[str, Any] | None = None
) -> Path:
    """Lay out a running pod with one app, `worker`, below `root`."""
    directory = root / "pods" / "run" / uuid
    (directory / "images").mkdir(parents=True)
    (directory / "pod").write_text(json.dumps(pod or POD))
    (directory / "images" / "worker").write_text(json.dumps(IMAGE, indent=3))
    (directory / "token").write_text(token)
    (directory / "hmac-key").write_bytes(key)
    os.chmod(directory, 0o700)
    return directory
