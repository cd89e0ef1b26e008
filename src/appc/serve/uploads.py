"""Taking images from those who have the token.

An image is put at the URL from which it will be had, which its name and labels say. A signature comes before its image
and says by `?sha256=` which file it is for: so no image is ever there without the signature it has. Everything is
checked in a directory that nobody is served from, and then gets its name at once.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import hmac
import os
import time
from base64 import b64decode

from appc.errors import HostError, SignatureError, UsageError
from appc.serve.catalog import covers
from appc.serve.conditions import entity_tags
from appc.serve.files import SIGNATURE_SUFFIX, SUFFIX, Unservable, identity
from appc.serve.image import read_image
from appc.serve.messages import Refusal, Response
from appc.serve.view import IMAGES
from appc.trust.packets import MAX_SIGNATURE, read_signatures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.serve.catalog import Catalog
    from appc.serve.files import Directory
    from appc.serve.image import ServedImage
    from appc.serve.index import Index
    from appc.serve.messages import Request

SHORTEST_TOKEN = 16
LIMIT = 16 << 30
"""Bytes an image may have unless something else is asked for."""

_PLACE = ".uploads"
_AT_ONCE = 8
_WRITE = 1 << 20
_OLD_SECONDS = 86400.0
_MOST_WAITING = 1000
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_THE_WAY = (errno.EXDEV, errno.ELOOP, errno.ENOTDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Uploads:
    """Puts images and signatures into `directory`, for whoever knows `token`; images have at most `limit` bytes.

    With `prefixes` only images whose names are one of them or below one.
    """

    def __init__(
        self, index: Index, directory: Directory, token: str, *, limit: int = LIMIT, prefixes: Sequence[str] = ()
    ) -> None:
        """Raises HostError when the directory cannot be written to."""
        self._index = index
        self._directory = directory
        self._token = token.encode()
        self._limit = limit
        self._prefixes = tuple(prefixes)
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._publishing = asyncio.Lock()
        try:
            os.close(directory.make_directory(_PLACE))
            self._place = os.open(
                _PLACE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd
            )
        except OSError as error:
            raise HostError(f"cannot be written to: {error.strerror}", directory.path) from error
        self._clear()

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._place)

    def authorize(self, request: Request) -> None:
        """Raise Refusal unless the request has the token."""
        scheme, _, given = request.get("authorization").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._token)
        if scheme.lower() != "bearer" or not right:
            raise Refusal(401, "uploads need the token", (("WWW-Authenticate", 'Bearer realm="appc"'),))

    async def put(self, request: Request, name: str) -> Response:
        """Take what is put at `name` below the images. Raises Refusal."""
        self.authorize(request)
        if self._room.locked():
            raise Refusal(503, f"{_AT_ONCE} uploads are going on", (("Retry-After", "10"),))
        async with self._room:
            try:
                if name.endswith(SUFFIX + SIGNATURE_SUFFIX):
                    return await self._signature(request, name.removesuffix(SUFFIX + SIGNATURE_SUFFIX))
                if name.endswith(SUFFIX):
                    return await self._image(request, name.removesuffix(SUFFIX))
            except OSError as error:
                if error.errno in _FULL:
                    raise Refusal(507, "there is no room for it") from None
                if error.errno in _IN_THE_WAY:
                    raise Refusal(409, "a file or a link is where a directory belongs") from None
                raise
        raise Refusal(404, "images end in .aci, their signatures in .aci.asc")

    async def _image(self, request: Request, wanted: str) -> Response:
        catalog = await self._index.settled()
        existing = _called(catalog, wanted)
        if existing is not None and not _replaces(request, existing):
            if _digest(request) == existing.sha256:
                return _done(200, wanted, existing)
            raise Refusal(409, "another image has this name and these labels; If-Match with its ETag replaces it")
        path = existing.path if existing is not None else f"{wanted}{SUFFIX}"
        if any(part in ("", "..") or part.startswith(".") or len(part.encode()) > 250 for part in path.split("/")):
            raise Refusal(422, "no file can be called like this")
        part = f"{os.urandom(12).hex()}{SUFFIX}"
        try:
            sha256 = await self._receive(request, part, self._limit)
            if _digest(request) not in ("", sha256):
                raise Refusal(422, "what arrived is not what Repr-Digest says")
            image = await self._judge(part, sha256, catalog)
            self._check_name(image, wanted)
            async with self._publishing:
                await asyncio.to_thread(self._publish, part, path, existing)
        finally:
            for left in (part, part + SIGNATURE_SUFFIX):
                self._remove(left)
        await self._index.settled()
        return _done(200 if existing is not None else 201, wanted, image)

    async def _judge(self, part: str, sha256: str, catalog: Catalog) -> ServedImage:
        """Read the image that arrived, with the signature that waits for it if there is one."""
        signature = None
        try:
            os.rename(
                f"{sha256}{SIGNATURE_SUFFIX}", part + SIGNATURE_SUFFIX, src_dir_fd=self._place, dst_dir_fd=self._place
            )
            signature = identity(os.stat(part + SIGNATURE_SUFFIX, dir_fd=self._place))
        except FileNotFoundError:
            pass
        try:
            return await asyncio.to_thread(
                read_image, self._directory, f"{_PLACE}/{part}", signature, catalog.certificates
            )
        except Unservable as error:
            raise Refusal(422, f"the image {error}") from None

    def _check_name(self, image: ServedImage, wanted: str) -> None:
        if image.place != wanted:
            raise Refusal(422, f"its manifest says that its place is {IMAGES}{image.place}{SUFFIX}")
        if self._prefixes and not any(covers(prefix, image.name) for prefix in self._prefixes):
            raise Refusal(403, f"only images below {', '.join(self._prefixes)} are taken")

    def _publish(self, part: str, path: str, existing: ServedImage | None) -> None:
        """Give the image and its signature their names."""
        above, _, name = path.rpartition("/")
        directory = self._directory.make_directory(above)
        try:
            if existing is None and _there(directory, name):
                raise Refusal(409, f"a file {path} is in the way")
            if _there(self._place, part + SIGNATURE_SUFFIX):
                self._rename(part + SIGNATURE_SUFFIX, name + SIGNATURE_SUFFIX, directory)
            elif _there(directory, name + SIGNATURE_SUFFIX):
                os.unlink(name + SIGNATURE_SUFFIX, dir_fd=directory)
            self._rename(part, name, directory)
            os.fsync(directory)
        finally:
            os.close(directory)

    def _publish_signature(self, part: str, path: str) -> None:
        """Put a signature beside the image that is there."""
        above, _, name = path.rpartition("/")
        directory = self._directory.open_directory(above)
        try:
            self._rename(part, name + SIGNATURE_SUFFIX, directory)
        finally:
            os.close(directory)

    def _rename(self, old: str, new: str, directory: int = -1) -> None:
        os.rename(old, new, src_dir_fd=self._place, dst_dir_fd=self._place if directory < 0 else directory)

    async def _signature(self, request: Request, wanted: str) -> Response:
        """A signature: of the image that is there, or of one that will come."""
        sha256 = request.query.get("sha256", "")
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise Refusal(400, "?sha256= must say which file it signs")
        part = f"{os.urandom(12).hex()}{SIGNATURE_SUFFIX}"
        try:
            await self._receive(request, part, MAX_SIGNATURE)
            with open(os.open(part, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._place), "rb") as file:
                read_signatures(file.read())
            existing = _called(await self._index.settled(), wanted)
            if existing is None or existing.sha256 != sha256:
                if len(os.listdir(self._place)) > _MOST_WAITING:
                    self._clear()
                if len(os.listdir(self._place)) > _MOST_WAITING:
                    raise Refusal(503, "too many signatures wait for their images")
                self._rename(part, f"{sha256}{SIGNATURE_SUFFIX}")
                return Response(202, b"", (("Location", f"{IMAGES}{wanted}{SUFFIX}"),))
            async with self._publishing:
                await asyncio.to_thread(self._publish_signature, part, existing.path)
        except SignatureError as error:
            raise Refusal(422, f"the signature {error.what}") from None
        finally:
            self._remove(part)
        await self._index.settled()
        return Response(201, b"", (("Location", f"{IMAGES}{wanted}{SUFFIX}{SIGNATURE_SUFFIX}"),))

    async def _receive(self, request: Request, part: str, limit: int) -> str:
        """Write the body to a new file; return its SHA-256 in hexadecimal."""
        announced = request.get("content-length")
        if announced and int(announced) > limit:
            raise Refusal(413, f"the limit is {limit} bytes")
        digest = hashlib.sha256()
        size = 0
        waiting = bytearray()
        assert request.body is not None
        with open(os.open(part, _NEW, 0o644, dir_fd=self._place), "wb", buffering=0) as file:
            async for data in request.body:
                size += len(data)
                if size > limit:
                    raise Refusal(413, f"the limit is {limit} bytes")
                waiting += data
                if len(waiting) >= _WRITE:
                    await asyncio.to_thread(_append, file.fileno(), bytes(waiting), digest)
                    waiting.clear()
            await asyncio.to_thread(_append, file.fileno(), bytes(waiting), digest)
            await asyncio.to_thread(os.fsync, file.fileno())
        return digest.hexdigest()

    def _remove(self, part: str) -> None:
        try:
            os.unlink(part, dir_fd=self._place)
        except FileNotFoundError:
            pass

    def _clear(self) -> None:
        """Remove what was left by uploads that never ended."""
        for name in os.listdir(self._place):
            try:
                age = time.time() - os.stat(name, dir_fd=self._place).st_mtime
            except FileNotFoundError:
                continue
            if age > _OLD_SECONDS:
                self._remove(name)


def read_token(path: str) -> str:
    """The token in the first line of a file that nobody else can read. Raises UsageError."""
    try:
        with open(path, encoding="ascii") as file:
            status = os.fstat(file.fileno())
            token = file.readline(1024).strip()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path) from None
    except UnicodeDecodeError:
        raise UsageError("has characters that are not ASCII", path) from None
    if status.st_mode & 0o077:
        raise UsageError("can be read by others", path, f"chmod 600 {path}")
    if len(token) < SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise UsageError(
            f"holds no token of {SHORTEST_TOKEN} characters or more", path, f"openssl rand -hex 24 > {path}"
        )
    return token


def _digest(request: Request) -> str:
    """The SHA-256 that Repr-Digest announces, in hexadecimal; "" without one."""
    for one in request.get("repr-digest").split(","):
        algorithm, _, value = one.strip().partition("=")
        if algorithm == "sha-256":
            try:
                return b64decode(value.strip(":"), validate=True).hex()
            except ValueError:
                raise Refusal(400, "Repr-Digest is none") from None
    return ""


def _called(catalog: Catalog, wanted: str) -> ServedImage | None:
    """The image whose place `wanted` is; one that is only the answer to `latest` there is another one's."""
    image = catalog.route(wanted)
    return image if image is not None and image.place == wanted else None


def _replaces(request: Request, existing: ServedImage) -> bool:
    return (False, existing.tag) in entity_tags(request.get("if-match"))


def _done(status: int, wanted: str, image: ServedImage) -> Response:
    return Response(status, b"", (("Location", f"{IMAGES}{wanted}{SUFFIX}"), ("ETag", image.tag)))


def _there(root: int, path: str) -> bool:
    try:
        os.stat(path, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _append(fd: int, data: bytes, digest: hashlib._Hash) -> None:
    digest.update(data)
    while data:
        data = data[os.write(fd, data) :]
