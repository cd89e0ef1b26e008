"""The same pages and files as static ones, for any web server or object store.

A page is `index.html` in a directory, so that servers which look for that find it. What a template renders to is a file
of that name; where several lead to one image they are hard links, where the file system has those.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil

from appc.errors import HostError, UsageError
from appc.serve import pages
from appc.serve.files import SIGNATURE_SUFFIX, SUFFIX, Directory, Unservable, identity
from appc.serve.image import read_small
from appc.serve.index import Index
from appc.serve.site import keys_file
from appc.serve.view import DETAILS, IMAGES, KEYS, View
from appc.trust.packets import MAX_SIGNATURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appc.serve.catalog import Catalog
    from appc.serve.image import ServedImage

_PAGE = "index.html"
_CHUNK = 1 << 20
# What file systems without hard links say.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def export(
    path: str,
    out: str,
    *,
    prefixes: Sequence[str] = (),
    url: str = "",
    progress: Callable[[int], None] = lambda _: None,
) -> Catalog:
    """Write the directory `path` as static files to the new directory `out`; return what was found.

    `url` is what absolute URLs begin with, by default https:// and the domain of the images. `progress` is called with
    the number of bytes just written. `out` appears when it is complete, or not at all. Raises UsageError, HostError.
    """
    if os.path.lexists(out):
        raise UsageError("exists already", out, "name a directory that is to be made")
    directory = Directory(path)
    try:
        catalog = asyncio.run(_catalog(directory, prefixes))
        view = View(catalog, url or f"https://{_domain(catalog, path)}", _domain(catalog, path))
        parent, name = os.path.split(os.path.abspath(out))
        temporary = os.path.join(parent, f".{name}.{os.urandom(6).hex()}")
        try:
            os.mkdir(temporary)
            try:
                _Export(view, directory, temporary, progress).write()
                os.rename(temporary, out)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        except OSError as error:
            raise HostError(f"cannot be written: {error.strerror}", out) from error
    finally:
        directory.close()
    return catalog


async def _catalog(directory: Directory, prefixes: Sequence[str]) -> Catalog:
    index = Index(directory, prefixes)
    try:
        return await index.complete()
    finally:
        index.close()


def _domain(catalog: Catalog, path: str) -> str:
    if len(catalog.domains) > 1:
        hint = "--name-prefix DOMAIN chooses one; each becomes a directory of its own"
        raise UsageError(f"has images of several domains: {', '.join(catalog.domains)}", path, hint)
    if not catalog.domains:
        raise UsageError("has no image that could be served", path, "`appc image validate` says what is wrong with one")
    return catalog.domains[0]


class _Export:
    def __init__(self, view: View, directory: Directory, out: str, progress: Callable[[int], None]) -> None:
        self._view = view
        self._directory = directory
        self._out = out
        self._progress = progress

    def write(self) -> None:
        """Write everything."""
        catalog = self._view.catalog
        names = {self._view.top}
        for name in catalog.by_name:
            parts = name.split("/")
            names.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        for name in sorted(names):
            self._put(f"{name[len(self._view.top) :]}/{_PAGE}", pages.name_page(self._view, name))
        for image in catalog.images:
            self._put(f"{DETAILS}{image.image_id}/{_PAGE}", pages.image_page(self._view, image))
            self._image(image)
        for stem, image in catalog.stems.items():
            self._link(stem, image)
        if catalog.certificates:
            self._put(KEYS, keys_file(catalog))

    def _put(self, path: str, data: bytes) -> None:
        """Write a small file, unless its path could be taken for another one's."""
        target = self._target(path)
        if target and not os.path.lexists(target):
            with open(target, "xb") as file:
                file.write(data)
            self._progress(len(data))

    def _image(self, image: ServedImage) -> None:
        """Write an image and its signature under its ID, from which the other names are links."""
        target = self._target(f"{IMAGES}{image.image_id}{SUFFIX}")
        try:
            fd = self._directory.open(image.path)
            with os.fdopen(fd, "rb", buffering=0) as source, open(target, "xb") as file:
                while data := source.read(_CHUNK):
                    file.write(data)
                    self._progress(len(data))
                if identity(os.fstat(fd)) != image.identity:
                    raise Unservable("was changed meanwhile")
            os.utime(target, (image.modified, image.modified))
            if image.signature is not None:
                data = read_small(self._directory, image.path + SIGNATURE_SUFFIX, MAX_SIGNATURE)
                self._put(f"{IMAGES}{image.image_id}{SUFFIX}{SIGNATURE_SUFFIX}", data)
        except Unservable as error:
            raise HostError(str(error), image.path, "run it again") from None

    def _link(self, stem: str, image: ServedImage) -> None:
        endings = (SUFFIX, SUFFIX + SIGNATURE_SUFFIX) if image.signature is not None else (SUFFIX,)
        for ending in endings:
            target = self._target(f"{IMAGES}{stem}{ending}")
            source = f"{self._out}{IMAGES}{image.image_id}{ending}"
            if not target or os.path.lexists(target):
                continue
            try:
                os.link(source, target)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                shutil.copy2(source, target)

    def _target(self, path: str) -> str:
        """Where a file goes, its directories made; "" for a path that would not lead where it says.

        Where the name of one image is a file of another, only one of them can be a path; both are there by their IDs.
        """
        parts = path.strip("/").split("/")
        if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
            return ""
        target = "/".join((self._out, *parts))
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            return ""
        return target
