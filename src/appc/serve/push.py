"""Bringing an image to a host where `appc serve` takes uploads."""

from __future__ import annotations

import hashlib
import os
from urllib.parse import quote

from appc.errors import HttpStatus, UsageError
from appc.formats.aci import read_manifest
from appc.images.fetch import open_file
from appc.schema.image import ImageManifest
from appc.serve.conditions import repr_digest
from appc.serve.files import SIGNATURE_SUFFIX, SUFFIX
from appc.serve.templates import LATEST, place
from appc.serve.view import IMAGES
from appc.trust.keystore import read_file
from appc.trust.packets import MAX_SIGNATURE, read_signatures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, BinaryIO

    from appc.net.http import Client
    from appc.net.response import Response

_SAID = 4096


def push(
    client: Client,
    path: str,
    base: str,
    *,
    token: str = "",
    signature: str = "",
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> str:
    """Put the image file `path` on the host at `base` (https://HOST[/PATH]); return the URL it has there.

    Its signature goes first: the file `signature`, or FILE.asc if there is one. `token` is the host's for uploads, ""
    for what the client's credentials say. Another image with the same name and labels is replaced only with
    `overwrite`. `progress` is called with the number of bytes just sent. Raises AppcError.
    """
    own = {"authorization": f"Bearer {token}"} if token else {}
    with open_file(path) as file:
        manifest = ImageManifest.parse(read_manifest(file, where=path), where=path)
        file.seek(0)
        sha256 = _hashed(file)
        file.seek(0)
        stem = place(manifest.name, manifest.labels.get("version") or LATEST, manifest.labels)
        url = f"{base.rstrip('/')}{IMAGES}{quote(stem, safe='/~+=,')}{SUFFIX}"
        there, condition = _what_is_there(client, url, own, sha256, overwrite)
        signed = _signature(path, signature)
        if signed is not None:
            target = f"{url}{SIGNATURE_SUFFIX}?sha256={sha256}"
            _check(client.request("PUT", target, headers=own, body=signed))
        if not there:
            size = os.fstat(file.fileno()).st_size
            headers = {**own, **condition, "content-length": str(size), "repr-digest": repr_digest(sha256)}
            body: Any = _Watched(file, progress)
            _check(client.request("PUT", url, headers=headers, body=body))
    return url


def _what_is_there(
    client: Client, url: str, own: Mapping[str, str], sha256: str, overwrite: bool
) -> tuple[bool, dict[str, str]]:
    """Whether the host has this very file, and the condition under which another one is replaced."""
    with client.request("HEAD", url, headers=own) as answer:
        if answer.status == 404:
            return False, {}
        _check(answer)
        if answer.headers.get("repr-digest", "") == repr_digest(sha256):
            return True, {}
        if not overwrite:
            raise UsageError("has another image of this name and these labels", url, "--overwrite replaces it")
        return False, {"if-match": answer.headers.get("etag", "")}


def _hashed(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while data := file.read(1 << 20):
        digest.update(data)
    return digest.hexdigest()


def _signature(path: str, given: str) -> bytes | None:
    detached = given or f"{path}{SIGNATURE_SUFFIX}"
    try:
        data = read_file(detached, MAX_SIGNATURE)
    except FileNotFoundError:
        if given:
            raise UsageError("there is no such file", f"--signature {given}") from None
        return None
    read_signatures(data)
    return data


def _check(answer: Response) -> None:
    """Raise HttpStatus with what the host says, unless it agrees."""
    with answer:
        if 200 <= answer.status < 300:
            return
        said = answer.read(_SAID).decode("utf-8", "replace").strip().partition("\n")[0]
        hints = {
            401: "give the host's upload token with --token-file, or put it into auth.d of the configuration",
            405: "the host takes no uploads: `appc serve` does with --upload-token-file",
        }
        reason = said.rpartition(": ")[2] if said.isprintable() else ""
        what = f"the server says {answer.status}{f': {reason}' if reason else ''}"
        raise HttpStatus(answer.status, what, answer.url, hints.get(answer.status, ""))


class _Watched:
    """A file whose reader is watched."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None] | None) -> None:
        self._file = file
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        if self._progress is not None:
            self._progress(len(data))
        return data
