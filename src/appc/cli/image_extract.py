"""`appc image extract`: unpack one image, without its dependencies."""

from __future__ import annotations

import errno
import os

from appc.cli.image_file import file_path, open_image
from appc.cli.options import Args, Operand, Option, Verb
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.formats.compress import Source

VERB = Verb(
    "image extract",
    "unpack an image, without its dependencies",
    description=(
        "DIR becomes a layout, the file `manifest` and the directory `rootfs`, from which `appc image build` makes "
        "the image again; with --rootfs-only it becomes the root file system. Owners, device nodes and privileged "
        "attributes need root, and are left out with a warning otherwise."
    ),
    options=(
        Option("--rootfs-only", help="the root file system alone, directly in DIR"),
        Option("--overwrite", help="first remove what is in DIR"),
        *PASSPHRASE,
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    operands=(
        Operand("image", complete="image", help="an image file, or an image in the store"),
        Operand("dir", complete="dir", help="where to; it must be empty or not exist"),
    ),
)


def run(args: Args, context: Context) -> int:
    """Unpack the image; after an error DIR is as empty as before."""
    made = _prepare(args.dir, args.overwrite)
    try:
        path = file_path(args.image)
        if path:
            with open_image(path, "extracting", passphrase(args, context)) as source:
                _extract(source, args, context)
        else:
            _from_store(args, context)
    except BaseException:
        _empty(args.dir)
        if made:
            os.rmdir(args.dir)
        raise
    return 0


def _from_store(args: Args, context: Context) -> None:
    from appc.images.fetch import resolve
    from appc.images.piped import Piped
    from appc.store.images import ImageStore

    store = ImageStore(context.root)
    image = resolve(store, args.image, config=context.config, pull="never")
    with Piped(lambda stream: store.export(image, stream)) as source:
        _extract(source, args, context)


def _extract(source: Source, args: Args, context: Context) -> None:
    from appc.formats.aci import MANIFEST, ROOTFS, read_aci
    from appc.formats.extract import Extractor

    rootfs = args.dir if args.rootfs_only else os.path.join(args.dir, ROOTFS)
    try:
        if not args.rootfs_only:
            os.mkdir(rootfs)
        root = os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _failure(rootfs, error) from error
    try:
        with Extractor(root, prefix=ROOTFS, owners=os.geteuid() == 0, where=args.image) as extractor:
            found = read_aci(source, extractor, where=args.image)
            extractor.finish()
    finally:
        os.close(root)
    if not args.rootfs_only:
        try:
            with open(os.path.join(args.dir, MANIFEST), "xb") as file:
                file.write(found.manifest_bytes)
        except OSError as error:
            raise _failure(args.dir, error) from error
    for note in (*found.warnings, *extractor.notes()):
        context.warn(note)


def _prepare(directory: str, overwrite: bool) -> bool:
    """Have an empty directory there; whether it was made."""
    try:
        os.mkdir(directory)
        return True
    except FileExistsError:
        pass
    except OSError as error:
        raise _failure(directory, error) from error
    try:
        if os.listdir(directory):
            if not overwrite:
                raise UsageError("is not empty", directory, "--overwrite removes what is in it")
            _empty(directory)
    except OSError as error:
        raise _failure(directory, error) from error
    return False


def _empty(directory: str) -> None:
    from appc.store.staging import remove_tree

    for entry in list(os.scandir(directory)):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            os.unlink(entry.path)


def _failure(path: str, error: OSError) -> HostError:
    hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return HostError(f"cannot be written: {error.strerror}", path, hint)
