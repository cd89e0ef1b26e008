"""A registry on loopback that does what the distribution-spec asks, or the opposite where a test says so."""

from __future__ import annotations

import hashlib
import itertools
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from net_kit import Request, Server

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

Fault = Callable[[Request], None]


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class FakeRegistry:
    """`blobs` by digest, `manifests` by (repository, tag or digest); both are what is served.

    `auth` is "", "basic" or "bearer"; `user`, `password` and `refresh` are whom it lets in (with an empty user,
    everybody gets a token). `faults` maps (method, path) to what happens instead. `log` has what was asked for.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.auth = ""
        self.user, self.password, self.refresh = "", "", ""
        self.tokens: set[str] = set()
        self.token_requests: list[dict[str, list[str]]] = []
        self.faults: dict[tuple[str, str], Fault] = {}
        self.referrers_api = True
        self.mounts = True
        self.uploads: dict[str, bytes] = {}
        self._numbers = itertools.count()
        self.log: list[tuple[str, str]] = []
        server.pages = _Everything(self)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    def blob(self, data: bytes) -> str:
        self.blobs[digest(data)] = data
        return digest(data)

    def manifest(self, repository: str, document: dict[str, Any] | bytes, *tags: str, media_type: str = "") -> str:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        kind = media_type or (MANIFEST if isinstance(document, bytes) else document.get("mediaType", MANIFEST))
        for name in (digest(data), *tags):
            self.manifests[repository, name] = (kind, data)
        return digest(data)

    def take(self, repository: str, files: dict[str, bytes]) -> None:
        """Serve the images of an OCI layout (path → content)."""
        for path, data in files.items():
            if path.startswith("blobs/"):
                self.blob(data)
        for entry in json.loads(files["index.json"])["manifests"]:
            self._take(repository, files, entry, entry.get("annotations", {}).get("org.opencontainers.image.ref.name"))

    def _take(self, repository: str, files: dict[str, bytes], entry: dict[str, Any], tag: str | None) -> None:
        data = files["blobs/" + entry["digest"].replace(":", "/")]
        self.manifest(repository, data, *([tag] if tag else []), media_type=entry["mediaType"])
        for below in json.loads(data).get("manifests", []):
            self._take(repository, files, below, None)

    # -- answering -----------------------------------------------------------------------------

    def answer(self, request: Request) -> None:
        parts = urlsplit(request.path)
        self.log.append((request.command, request.path))
        fault = self.faults.get((request.command, parts.path))
        if fault is not None:
            fault(request)
        elif parts.path == "/token":
            self._token(request, parse_qs(parts.query) or parse_qs(request.body.decode()))
        elif not self._allowed(request):
            self._refuse(request)
        elif parts.path == "/v2/":
            request.send(200)
        else:
            repository, _, rest = parts.path.removeprefix("/v2/").rpartition("/")
            repository, _, kind = repository.rpartition("/")
            if kind == "uploads":
                repository = repository.removesuffix("/blobs")
            handler = getattr(self, f"_{kind}", None)
            if handler is None:
                request.send(404)
            else:
                handler(request, repository, rest, parse_qs(parts.query))

    def _allowed(self, request: Request) -> bool:
        given = request.headers.get("Authorization", "")
        if self.auth == "basic":
            return given == "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()
        return self.auth != "bearer" or given.removeprefix("Bearer ") in self.tokens

    def _refuse(self, request: Request) -> None:
        challenge = 'Basic realm="test"'
        if self.auth == "bearer":
            challenge = f'Bearer realm="{self.server.url}/token",service="test"'
        request.send(401, {"WWW-Authenticate": challenge})

    def _token(self, request: Request, query: dict[str, list[str]]) -> None:
        self.token_requests.append(query)
        pair = "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()
        if request.command == "POST":
            ok = query.get("refresh_token") == [self.refresh]
        else:
            ok = not self.user or request.headers.get("Authorization") == pair
        if not ok:
            request.send(401)
            return
        token = f"token-{len(self.token_requests)}"
        self.tokens.add(token)
        name = "access_token" if request.command == "POST" else "token"
        request.send(200, {}, json.dumps({name: token, "expires_in": 300}).encode())

    def _manifests(self, request: Request, repository: str, version: str, query: dict[str, list[str]]) -> None:
        if request.command == "PUT":
            kind = request.headers.get("Content-Type", "")
            self.manifest(repository, request.body, version, media_type=kind)
            subject = json.loads(request.body).get("subject")
            headers = {"Docker-Content-Digest": digest(request.body)}
            if subject and self.referrers_api:
                headers["OCI-Subject"] = subject["digest"]
            request.send(201, headers)
            return
        kind, data = self.manifests.get((repository, version), ("", b""))
        if not kind:
            body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
            request.send(404, {"Content-Type": "application/json"}, body)
            return
        request.send(200, {"Content-Type": kind, "Docker-Content-Digest": digest(data)}, data)

    def _blobs(self, request: Request, repository: str, name: str, query: dict[str, list[str]]) -> None:
        data = self.blobs.get(name)
        if data is None:
            request.send(404)
        else:
            request.send_file(data, f'"{name}"')

    def _referrers(self, request: Request, repository: str, name: str, query: dict[str, list[str]]) -> None:
        if not self.referrers_api:
            request.send(404)
            return
        found = []
        for (where, version), (kind, data) in self.manifests.items():
            document = json.loads(data)
            if where == repository and version == digest(data) and document.get("subject", {}).get("digest") == name:
                found.append(
                    {
                        "mediaType": kind,
                        "digest": version,
                        "size": len(data),
                        "artifactType": document.get("artifactType"),
                    }
                )
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": found}).encode()
        request.send(200, {"Content-Type": INDEX}, body)

    def _uploads(self, request: Request, repository: str, name: str, query: dict[str, list[str]]) -> None:
        if request.command == "POST":
            mount = query.get("mount", [""])[0]
            if mount and self.mounts and mount in self.blobs:
                request.send(201, {"Location": f"/v2/{repository}/blobs/{mount}"})
                return
            name = f"upload{next(self._numbers)}"
            self.uploads[name] = b""
            request.send(202, {"Location": f"/v2/{repository}/blobs/uploads/{name}?state=1"})
        elif request.command == "PATCH":
            start = int(request.headers.get("Content-Range", "0-").partition("-")[0])
            if start != len(self.uploads[name]):
                request.send(416)
                return
            self.uploads[name] += request.body
            end = len(self.uploads[name]) - 1
            where = f"/v2/{repository}/blobs/uploads/{name}?state={end}"
            request.send(202, {"Location": where, "Range": f"0-{end}"})
        elif request.command == "GET":
            where = f"/v2/{repository}/blobs/uploads/{name}?state=2"
            request.send(204, {"Location": where, "Range": f"0-{len(self.uploads[name]) - 1}"})
        elif request.command == "DELETE":
            del self.uploads[name]
            request.send(204)
        else:
            data = self.uploads.pop(name) + request.body
            if digest(data) != query["digest"][0]:
                request.send(400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
                return
            self.blob(data)
            request.send(201, {"Location": f"/v2/{repository}/blobs/{digest(data)}"})


class _Everything(dict[str, Any]):
    """Leads every path to the registry."""

    def __init__(self, registry: FakeRegistry) -> None:
        super().__init__()
        self._registry = registry

    def get(self, key: str, default: object = None) -> Any:
        return self._registry.answer
