"""The index of image names: a directory for each name, an empty file in it for each image of that name."""

from __future__ import annotations

import errno
import os

from appc.store.layout import ID_PREFIX, make_directory, name_directory, store_path


def ids(root: str, name: str) -> list[str]:
    """The IDs of the images called `name`; some may just have been removed."""
    try:
        entries = os.listdir(store_path(root, "names", name_directory(name)))
    except FileNotFoundError:
        return []
    return [entry for entry in entries if entry.startswith(ID_PREFIX)]


def add(root: str, name: str, image_id: str) -> None:
    """Note that there is an image `image_id` called `name`."""
    directory = store_path(root, "names", name_directory(name))
    while True:
        make_directory(directory)
        try:
            os.close(os.open(f"{directory}/{image_id}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            return
        except FileNotFoundError:
            # `discard` removed the empty directory between the two calls.
            continue


def discard(root: str, name: str, image_id: str) -> None:
    """Take the note back, unless there is such an image (again)."""
    directory = store_path(root, "names", name_directory(name))
    try:
        os.unlink(f"{directory}/{image_id}")
    except FileNotFoundError:
        pass
    # Only now: whoever makes the image after this look notes its name after that.
    if os.path.isdir(store_path(root, "images", image_id)):
        add(root, name, image_id)
    else:
        _remove_empty(directory)


def sweep(root: str) -> None:
    """Take back what interrupted imports and removals left."""
    top = store_path(root, "names")
    for directory in os.listdir(top) if os.path.isdir(top) else ():
        try:
            entries = os.listdir(f"{top}/{directory}")
        except FileNotFoundError:
            continue  # another collector was quicker
        for entry in entries:
            if not os.path.isdir(store_path(root, "images", entry)):
                discard(root, directory, entry)
        _remove_empty(f"{top}/{directory}")


def _remove_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
