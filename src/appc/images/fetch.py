"""From what a user wrote to an image in the store."""

from __future__ import annotations

import errno
import os
import stat

from appc.errors import AppcError, ImageNotFound, NetworkError, SignatureError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import BinaryIO

    from appc.formats.compress import Source
    from appc.images.network import Network
    from appc.images.remote import Remote
    from appc.images.unlock import Unlocked
    from appc.store.images import ImageStore, StoredImage, Verifier
    from appc.trust.symmetric import Passphrase
    from appc.values import ImageReference, Labels

    # Told of each file that begins to arrive: its name and size; what it returns is told of the bytes.
    Started = Callable[[str, int | None], Callable[[int], None]]

_URL = "url"
_SCHEME = "abcdefghijklmnopqrstuvwxyz0123456789+-."

_REMOTE = {
    "cimd:": "give the name or the path of the image instead",
}

REGISTRY = "docker:"

# What is converted into the store (images/convert.py).
CONVERTED = ("oci:", "oci-archive:", "docker-archive:")

# Up to here the file is read for its name when a signature is refused, for the sake of the message.
_READ_FOR_MESSAGE = 64 << 20


def resolve(
    store: ImageStore,
    reference: str | ImageReference,
    *,
    image_id: str = "",
    config: Sequence[str] = (),
    pull: str = "new",
    insecure: Collection[str] = (),
    signature: str = "",
    keep: str = "signed",
    progress: Callable[[int], None] | None = None,
    passphrase: Passphrase | None = None,
    warnings: list[str] | None = None,
    network: Callable[[], Network] | None = None,
    started: Started | None = None,
) -> StoredImage:
    """Return the image in the store that `reference` means, importing it first when it is a file or elsewhere.

    `image_id` is, of an image asked for by name, the only one that will do.
    `config` are the configuration directories, lowest precedence first (where the trusted keys lie); `pull` is new,
    update (ask the server whether it is still the same) or never; `insecure` holds the checks to leave out (image);
    `signature` is the path of a detached signature
    when it is not FILE.asc; `keep` says which imported files stay as they are: signed, never or always.
    `progress` is called with the number of bytes just read, from another thread. `passphrase` is called with the
    file's path when that turns out to be encrypted; None as its answer leaves the passphrase to gpg-agent.
    What a user should know although it worked is added to `warnings`. `network` is called when something has to be
    fetched, also dependencies; without it nothing is. `started` is called with the name and the size (None: not known)
    of each file that begins to arrive, and returns what is told how many bytes did, and 0 when there is no more.
    Raises ImageNotFound, SignatureError, ArchiveError, ManifestError, UsageError, StoreError, NetworkError,
    ImageMismatch, DependencyError.
    """
    wish = Wish(config, pull, insecure, signature, keep, progress, passphrase, [] if warnings is None else warnings)
    wish.network, wish.started = network, started
    if not isinstance(reference, str):
        image = _by_name(store, reference, image_id, wish)
        return _completed(store, image, wish, needed=True)
    kind = classify(reference)
    if signature and kind not in ("path", "name", _URL):
        raise UsageError("only an image file can have a signature file", "--signature")
    if kind == "id":
        image = store.get(reference)
    elif kind == "name":
        from appc.values import ImageReference

        image = _by_name(store, ImageReference.parse(reference), image_id, wish)
    elif kind == _URL:
        image = _by_url(store, reference, wish)
    elif kind == "path":
        path = reference.removeprefix("file://")
        image = _from_file(store, path, wish)
    elif kind in CONVERTED:
        image = _from_layout(store, reference, wish)
    elif kind == REGISTRY:
        image = _from_registry(store, reference, wish)
    else:
        raise UsageError(f"{kind} references are not supported yet by this version", reference, _REMOTE[kind])
    return _completed(store, image, wish, needed=kind != "path")


def _completed(store: ImageStore, image: StoredImage, wish: Wish, *, needed: bool) -> StoredImage:
    """Fetch the dependencies of an image that is about to be used; all of them are `needed`, or what can be had."""
    if wish.network is not None and wish.pull != "never" and image.meta["dependencies"]:
        from appc.images.dependencies import complete

        complete(store, image, wish, needed=needed)
    store.touch(image)
    return image


def classify(reference: str) -> str:
    """Say what form a reference has: "id", "name", "path", "url", or the word ("oci:", "docker:") it begins with.

    A URL may have any scheme, since a plug-in may know it. As with rkt an existing regular file goes before a name;
    `./`, `/` and `.aci` always mean a file.
    """
    if reference.startswith("sha512-"):
        return "id"
    for scheme in (*CONVERTED, REGISTRY, *_REMOTE):
        if reference.startswith(scheme):
            return scheme
    if _is_url(reference) and not reference.startswith("file://"):
        return _URL
    if reference.startswith(("/", "./", "../", "file://")) or reference.endswith(".aci"):
        return "path"
    return "path" if os.path.isfile(reference) else "name"


def _is_url(reference: str) -> bool:
    scheme, slashes, _ = reference.partition("://")
    return bool(slashes) and scheme[:1].isalpha() and scheme.isascii() and not scheme.strip(_SCHEME)


def host_labels() -> Labels:
    """The labels os and arch of images made for this host."""
    from appc.schema.platforms import from_machine
    from appc.values import Labels

    uname = os.uname()
    return Labels.of((("os", uname.sysname.lower()), ("arch", from_machine(uname.machine))))


def _by_name(store: ImageStore, wanted: ImageReference, image_id: str, wish: Wish) -> StoredImage:
    if image_id:
        try:
            return store.get(image_id)
        except ImageNotFound:
            if wish.network is None or wish.pull == "never":
                raise
        return wish.remote(store).by_name(wanted, image_id=image_id)
    if wish.network is None or wish.pull != "update" or wish.network().offline:
        found = store.best(store.matching(wanted.name, wanted.labels), host_labels())
        if found is not None:
            if wish.signature:
                raise UsageError("it is in the store already; --pull update fetches it again", "--signature")
            return found
    if wish.network is None or wish.pull == "never":
        return store.find(wanted.name, wanted.labels, host_labels())
    try:
        return wish.remote(store).by_name(wanted)
    except (NetworkError, ImageNotFound) as error:
        if store.matching(wanted.name, wanted.labels):
            error.hint = f"--pull new takes what is in the store; {error.hint}".removesuffix("; ")
        raise


def _by_url(store: ImageStore, url: str, wish: Wish) -> StoredImage:
    if wish.network is not None and wish.pull != "never":
        return wish.remote(store).by_url(url)
    from appc.store.downloads import recall
    from appc.values import ImageID

    record = recall(store.root, url)
    found = store.lookup(ImageID.parse(record["image"])) if record else None
    if found is None or not ("image" in wish.insecure or wish.trusted(found)):
        raise ImageNotFound("was not fetched before, and the network is not to be used", url)
    return found


class Wish:
    """How an image is to be had: what `resolve` was told."""

    __slots__ = (
        "config",
        "insecure",
        "keep",
        "network",
        "passphrase",
        "progress",
        "pull",
        "signature",
        "started",
        "warnings",
    )

    def __init__(
        self,
        config: Sequence[str],
        pull: str,
        insecure: Collection[str],
        signature: str,
        keep: str,
        progress: Callable[[int], None] | None,
        passphrase: Passphrase | None,
        warnings: list[str],
    ) -> None:
        self.config = config
        self.pull = pull
        self.insecure = insecure
        self.signature = signature
        self.keep = keep
        self.progress = progress
        self.passphrase = passphrase
        self.warnings = warnings
        self.network: Callable[[], Network] | None = None
        self.started: Started | None = None

    def remote(self, store: ImageStore) -> Remote:
        """What fetches images; `network` must not be None."""
        from appc.images.network import with_packages

        with_packages()
        from appc.images.remote import Remote

        assert self.network is not None
        return Remote(store, self.network(), self)

    def trusted(self, image: StoredImage) -> bool:
        """Whether a key that is still trusted for its name has signed the image."""
        if image.signer == "":
            return False
        from appc.trust.lookup import is_trusted

        return is_trusted(self.config, image.signer, image.name)

    def unlocked(self, source: Source, where: str) -> Unlocked:
        """The bytes of an image file, decrypted if they are encrypted."""
        from appc.images.unlock import Unlocked

        return Unlocked(source, self.passphrase, where)


def _from_file(store: ImageStore, path: str, wish: Wish) -> StoredImage:
    verified = "image" not in wish.insecure

    def accept(image: StoredImage) -> bool:
        return not verified or wish.trusted(image)

    with open_file(path) as stream:
        known = store.recall(stream.fileno())
        if known is not None and accept(known):
            return known
        if _is_bundle(stream):
            from appc.images.bundle import import_bundle

            if wish.signature:
                raise UsageError("the images in a bundle have their signatures in it", "--signature")
            return import_bundle(store, stream, path, accept, wish)
        if wish.pull == "never":
            raise ImageNotFound("is not in the store, and --pull never is given", path)
        return store.import_file(
            stream,
            where=path,
            verifier=(lambda: verifier_for(path, wish.config, wish.signature)) if verified else None,
            accept=accept,
            keep=wish.keep,
            progress=wish.progress,
            unlock=lambda source: wish.unlocked(source, path),
        )


def _is_bundle(stream: BinaryIO) -> bool:
    from appc.formats.imagebundle import is_bundle

    return is_bundle(os.pread(stream.fileno(), 512, 0))


def _from_layout(store: ImageStore, reference: str, wish: Wish) -> StoredImage:
    from appc.images.convert import import_image

    labels = host_labels()
    return import_image(
        store,
        reference,
        platform=(labels.get("os") or "", labels.get("arch") or ""),
        pull=wish.pull,
        insecure=wish.insecure,
        trusted=wish.trusted,
        config=wish.config,
        progress=wish.progress,
        warnings=wish.warnings,
    )


def _from_registry(store: ImageStore, reference: str, wish: Wish) -> StoredImage:
    from appc.images.registry_known import Wanted

    labels = host_labels()
    platform = labels.get("os") or "", labels.get("arch") or ""
    wanted = Wanted(store, reference, wish.config, platform, wish.insecure)
    known = wanted.without_asking(wish.pull)
    if known is not None:
        return known
    if wish.network is None:
        hint = f"`appc fetch {wanted.where}` brings it into the store"
        raise ImageNotFound("was not fetched before, and the network is not to be used", wanted.where, hint)
    network = wish.network()
    client = network.client
    from appc.images.registry import Access
    from appc.images.registry_pull import pull_image

    access = Access(client, network.credentials, wish.warnings)
    return pull_image(store, access, wanted, wish.keep, wish.started, wish.warnings)


def open_file(path: str) -> BinaryIO:
    """Open an image file. Raises ImageNotFound when there is none, AppcError for what is no regular file."""
    try:
        # A FIFO or device as an image would block or never end.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError:
        raise ImageNotFound("no file can be called that", repr(path)) from None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise ImageNotFound("there is no such file", path) from None
        raise AppcError(f"cannot be read: {error.strerror}", path) from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb")
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise AppcError("is a directory, not an image", path, f"appc image build {path} OUT.aci makes one of it")
    raise AppcError("is not a regular file", path)


def verifier_for(path: str, config: Sequence[str], signature: str = "") -> Verifier:
    """Return the check of the image file `path` against the signature file `signature`, or FILE.asc.

    Raises SignatureError when there is none or no trusted key made it.
    """
    from appc.trust.check import SignatureCheck
    from appc.trust.keystore import Keystore, read_file
    from appc.trust.packets import MAX_SIGNATURE

    detached = signature or f"{path}.asc"
    try:
        data = read_file(detached, MAX_SIGNATURE)
    except FileNotFoundError:
        hint = f"appc image sign {path} makes one; --signature FILE names another; --insecure image does without"
        raise SignatureError(f"is not signed: there is no {detached}", path, hint) from None
    return SignatureCheck(Keystore(config), data, path, claimed_name=lambda: _claimed_name(path))


def _claimed_name(path: str) -> str:
    """What an image that was refused calls itself, "" when that is not easily found out; only for messages."""
    from appc.formats.aci import read_manifest
    from appc.schema.image import ImageManifest

    try:
        with open_file(path) as stream:
            if os.fstat(stream.fileno()).st_size > _READ_FOR_MESSAGE:
                return ""
            return str(ImageManifest.parse(read_manifest(stream)).name)
    except AppcError:
        return ""
