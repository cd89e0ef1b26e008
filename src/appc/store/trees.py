"""Rendered trees: what several images, or a whitelist, come to, kept because making it takes time.

    <root>/store/trees/<key>/{rootfs/, images, used}

`images` names the images a tree was made from, one ID per line; when one of them is gone the tree goes too. Files
may be hard links to those of the images.
"""

from __future__ import annotations

import os

from appc.store.layout import make_directory, store_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def find(root: str, key: str) -> str | None:
    """Return the rootfs of the tree `key`, noting that it is used; None when it is not there."""
    path = store_path(root, "trees", key)
    try:
        os.utime(f"{path}/used")
    except FileNotFoundError:
        return None
    except OSError:
        pass
    return f"{path}/rootfs"


def make(root: str, key: str, image_ids: Iterable[str], fill: Callable[[str], None]) -> str:
    """Make the tree `key` of `image_ids` by calling `fill` with an empty directory; return its rootfs.

    Whoever is first wins: when two make the same tree, one is thrown away.
    """
    from appc.store.durable import flush_tree
    from appc.store.staging import Staging

    final = f"{make_directory(store_path(root, 'trees'))}/{key}"
    with Staging(root) as staging:
        path = f"{staging.path}/tree"
        os.makedirs(f"{path}/rootfs", 0o700)
        fill(f"{path}/rootfs")
        for name, text in (("images", "".join(f"{image_id}\n" for image_id in image_ids)), ("used", "")):
            with open(f"{path}/{name}", "x", encoding="ascii") as stream:
                stream.write(text)
        flush_tree(staging.path)
        try:
            os.rename(path, final)
        except OSError:
            if not os.path.isdir(final):
                raise
    return f"{final}/rootfs"


def each(root: str) -> Iterator[tuple[str, frozenset[str], float]]:
    """Yield (path, IDs of the images it was made from, when it was last used in seconds) of every tree."""
    top = store_path(root, "trees")
    for key in sorted(os.listdir(top)) if os.path.isdir(top) else ():
        try:
            with open(f"{top}/{key}/images", encoding="ascii") as stream:
                image_ids = frozenset(stream.read().split())
            yield f"{top}/{key}", image_ids, os.stat(f"{top}/{key}/used").st_mtime
        except FileNotFoundError:
            continue
