"""What the metadata service knows of a pod: the files in its directory, read anew for each request.

Nothing is kept in memory, so a service that was killed has lost nothing, and a pod whose manifest
changes while it runs is shown as it is.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A pod that has ended is still vouched for (hmac/verify) as long as its directory exists.
_PHASES = ("run", "exited")
_FILE_LIMIT = 16 * 1024 * 1024


class Pod:
    """The pod called `uuid` below `root`. Every reader raises FileNotFoundError when it is gone."""

    __slots__ = ("root", "uuid")

    def __init__(self, root: str, uuid: str) -> None:
        self.root = root
        self.uuid = uuid

    def token(self) -> str:
        """The token that stands for the pod in its AC_METADATA_URL."""
        return self._read("token").decode("ascii").strip()

    def hmac_key(self) -> bytes:
        """The key of the pod's identity endpoint."""
        return self._read("hmac-key")

    def verifier(self) -> str:
        """The program that knows signatures of other hosts' pods; "" when there is none."""
        try:
            return os.fsdecode(self._read("verifier"))
        except FileNotFoundError:
            return ""

    def manifest_bytes(self) -> bytes:
        """The reified pod manifest, as JSON."""
        return self._read("pod")

    def manifest(self) -> dict[str, Any]:
        """The reified pod manifest. It was written by appc, so its keys have their canonical case."""
        from appc.schema.json import loads

        manifest: dict[str, Any] = loads(self.manifest_bytes())
        return manifest

    def image_manifest_bytes(self, app: str) -> bytes:
        """The image manifest of `app` (a name the pod manifest has), byte for byte as in its image."""
        return self._read(f"images/{app}")

    def _read(self, name: str) -> bytes:
        for phase in _PHASES:
            try:
                fd = os.open(f"{self.root}/pods/{phase}/{self.uuid}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            with os.fdopen(fd, "rb") as stream:
                return stream.read(_FILE_LIMIT)
        raise FileNotFoundError(name)


def is_uuid(text: str) -> bool:
    """Tell whether `text` is a UUID in canonical form (the only one that may become part of a path)."""
    groups = text.split("-")
    return [len(group) for group in groups] == [8, 4, 4, 4, 12] and all(
        character in "0123456789abcdef" for group in groups for character in group
    )
