"""Which images pods need and so must stay, and which image a user means to work on."""

from __future__ import annotations

import os

from appc.errors import UsageError
from appc.schema.json import loads
from appc.values import ImageReference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.store.images import ImageStore, StoredImage

# In the order pods go through them, so that one that moves while we look is met at least once. A pod in
# `garbage` needs nothing any more.
_PHASES = ("embryo", "prepare", "prepared", "run", "exited")


def in_use(root: str) -> dict[str, str]:
    """Return the IDs of the images that pods below `root` rest on, each with a pod that does, in words.

    A pod names them in its file `request` when it is prepared. Raises ManifestError, OSError when that cannot be read:
    then nothing is known to be unused.
    """
    users: dict[str, str] = {}
    for phase in _PHASES:
        directory = f"{root}/pods/{phase}"
        for uuid in os.listdir(directory) if os.path.isdir(directory) else ():
            try:
                with open(f"{directory}/{uuid}/request", "rb") as stream:
                    request = loads(stream.read())
            except FileNotFoundError:
                # It has moved on, or has not come so far as to need an image.
                continue
            for image_id in request["images"]:
                users[str(image_id)] = f"pod {uuid[:8]}"
    return users


def find_stored(store: ImageStore, reference: str) -> StoredImage:
    """Return the one image in the store that an ID, the beginning of one, or a name with labels means.

    Unlike for running, a name that fits several images is refused: these are not verbs to guess for.
    Raises ImageNotFound, UsageError, InvalidValue.
    """
    if reference.startswith("sha512-"):
        return store.get(reference)
    wanted = ImageReference.parse(reference)
    found = store.matching(wanted.name, wanted.labels)
    if len(found) > 1:
        ids = ", ".join(f"{image.id[:19]} ({image.labels})" for image in found[:10])
        raise UsageError(f"{len(found)} images are called that", reference, f"add labels, or give an ID: {ids}")
    return store.find(wanted.name, wanted.labels)
