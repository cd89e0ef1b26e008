"""Finding damage: the image's files against the records made at import, and the whole against the image ID."""

from __future__ import annotations

import os
import stat

from appc.errors import AppcError, StoreError
from appc.formats.tar import BLOCK_DEVICE, CHAR, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK
from appc.store import trees
from appc.store.collect import hold_unused
from appc.store.exporter import archive
from appc.store.records import read_records
from appc.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from appc.formats.extract import Record
    from appc.store.images import ImageStore, StoredImage

_FORMATS = {
    FILE: stat.S_IFREG,
    DIRECTORY: stat.S_IFDIR,
    SYMLINK: stat.S_IFLNK,
    CHAR: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
    FIFO: stat.S_IFIFO,
}
_CHUNK = 1 << 20

# Attributes that the host puts on files by itself.
_HOST_XATTRS = (
    "security.selinux",
    "security.ima",
    "security.evm",
    "system.posix_acl_access",
    "system.posix_acl_default",
)

# What an import writes anew; the rest of an image's directory is about how it came here.
_RENEWED = ("manifest", "entries", "tar")


def check(image: StoredImage) -> list[tuple[str, str]]:
    """See `ImageStore.check`."""
    try:
        faults = list(_check_entries(image))
    except StoreError as error:
        faults = [(error.where, error.what)]
    if not faults:
        import hashlib

        digest = hashlib.sha512()
        try:
            for data in archive(image):
                digest.update(data)
        except StoreError as error:
            faults.append(("", error.what))
        else:
            if f"sha512-{digest.hexdigest()}" != image.id:
                faults.append(("", "its files and headers no longer make the archive of this ID"))
    return faults


def _check_entries(image: StoredImage) -> Iterator[tuple[str, str]]:
    skipped = image.meta["skipped"]
    owners = bool(image.meta["owners"])
    expected = {""}
    for record in read_records(f"{image.path}/entries"):
        parent = record.path
        while parent not in expected:
            expected.add(parent)
            parent = parent.rpartition("/")[0]
        for reason in _differences(image.tree, record, owners, skipped):
            yield f"/{record.path}", reason
    for directory, directories, files in os.walk(image.tree):
        below = directory[len(image.tree) + 1 :]
        for name in (*directories, *files):
            path = f"{below}/{name}" if below else name
            if path not in expected:
                yield f"/{path}", "is not part of the image"


def _differences(tree: str, record: Record, owners: bool, skipped: Mapping[str, int]) -> Iterator[str]:
    path = _host_path(tree, record.path)
    try:
        found = os.lstat(path)
    except OSError as error:
        if not (record.type in (CHAR, BLOCK_DEVICE) and "device node" in skipped):
            yield f"is missing ({error.strerror})"
        return
    if record.type == HARDLINK:
        if not _same_file(path, _host_path(tree, record.linkname)):
            yield f"is no longer a hard link to /{record.linkname}"
        return
    if stat.S_IFMT(found.st_mode) != _FORMATS[record.type]:
        yield f"is no longer a {record.type}"
        return
    if record.type != SYMLINK and stat.S_IMODE(found.st_mode) != record.mode:
        yield f"has mode {stat.S_IMODE(found.st_mode):04o}, not {record.mode:04o}"
    if owners and (found.st_uid, found.st_gid) != (record.uid, record.gid):
        yield f"belongs to {found.st_uid}:{found.st_gid}, not {record.uid}:{record.gid}"
    if not _same_time(found.st_mtime_ns, record.mtime_ns):
        yield f"was modified: its time is {found.st_mtime_ns} ns, not {record.mtime_ns} ns"
    if record.type == SYMLINK and os.readlink(path) != record.linkname.encode("utf-8", "surrogateescape"):
        yield "points somewhere else"
    if record.type in (CHAR, BLOCK_DEVICE) and found.st_rdev != os.makedev(record.devmajor, record.devminor):
        yield "is another device"
    if record.type == FILE:
        if found.st_size != record.size:
            yield f"has {found.st_size} bytes, not {record.size}"
        else:
            try:
                if _sha256(path) != record.sha256:
                    yield "has another content"
            except OSError as error:
                yield f"cannot be read ({error.strerror})"
    yield from _xattr_differences(path, record, skipped)


def _xattr_differences(path: bytes, record: Record, skipped: Mapping[str, int]) -> Iterator[str]:
    present = {os.fsdecode(name) for name in os.listxattr(path, follow_symlinks=False)}
    for name in sorted(present | record.xattrs.keys()):
        if f"extended attribute {name}" in skipped or (name not in record.xattrs and name in _HOST_XATTRS):
            continue
        if name not in present:
            yield f"lost the extended attribute {name}"
        elif name not in record.xattrs:
            yield f"has gained the extended attribute {name}"
        elif os.getxattr(path, os.fsencode(name), follow_symlinks=False) != record.xattrs[name]:
            yield f"has another value in the extended attribute {name}"


def _same_file(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def _same_time(found: int, recorded: int) -> bool:
    # File systems that keep whole seconds or microseconds cut times off.
    return found == recorded or found in (recorded // 1000 * 1000, recorded // 10**9 * 10**9)


def _sha256(path: bytes) -> str:
    import hashlib

    digest = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb", buffering=0) as stream:
        while data := stream.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _host_path(tree: str, path: str) -> bytes:
    return f"{tree}/{path}".encode("utf-8", "surrogateescape")


def repair(store: ImageStore, image: StoredImage, in_use: Callable[[], Mapping[str, str]]) -> None:
    """See `ImageStore.repair`."""
    from appc.store.importer import read_again

    where = f"image {image.id.short}"
    if not os.path.exists(f"{image.path}/original"):
        raise StoreError(
            "cannot be repaired: the file it came from was not kept",
            where,
            f"appc image rm {image.id.short}, then fetch it again",
        )
    with Staging(store.root) as staging, hold_unused(image, in_use):
        try:
            fresh = read_again(store, image, staging)
        except AppcError as error:
            raise StoreError(f"cannot be repaired: {error}", where, f"appc image rm {image.id.short}") from None
        # Interrupted between any two of these the image is still damaged, and can still be repaired.
        os.rename(image.tree, f"{staging.path}/damaged")
        os.rename(f"{fresh}/rootfs", image.tree)
        for name in _RENEWED:
            os.rename(f"{fresh}/{name}", f"{image.path}/{name}")
        for number, (path, image_ids, _) in enumerate(list(trees.each(store.root))):
            # Rendered trees may share the damaged files.
            if image.id in image_ids:
                os.rename(path, f"{staging.path}/tree{number}")
