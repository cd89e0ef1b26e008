"""Reading a registry that is well, and one that lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appc.errors import AppcError, HttpStatus, ImageNotFound, NetworkError
from appc.net.credentials import Credentials
from appc.net.http import Client, Settings
from appc.net.logins import Logins
from appc.net.registry import MAX_MANIFEST, Registry
from appc.schema.registry import RegistryReference
from appc.values import Digest
from net_kit import Authority, Names, Request, Server
from registry_kit import INDEX, MANIFEST, FakeRegistry, digest

SIGNATURE = "application/vnd.example.signature"


@pytest.fixture
def fake(server: Server) -> FakeRegistry:
    return FakeRegistry(server)


class Host:
    """What the machine has: a configuration directory and an environment."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.config = directory / "config"
        self.docker = directory / "docker"
        self.docker.mkdir()
        self.insecure: tuple[str, ...] = ()
        self.authority = authority
        self.warnings: list[str] = []

    def login(self, fake: FakeRegistry, user: str, password: str, **fields: str) -> None:
        fake.user, fake.password = user, password
        entry = {"username": user, "password": password, **fields}
        (self.docker / "config.json").write_text(json.dumps({"auths": {fake.host: entry}}))

    def open(self, fake: FakeRegistry, name: str = "a/app:1", **options: object) -> Registry:
        settings = Settings(ca_file=str(self.authority.file), insecure=self.insecure, pause=0.01, proxies={})
        environment = {"DOCKER_CONFIG": str(self.docker), "HOME": "/nonexistent"}
        logins = Logins(Credentials([str(self.config)]), environment)
        reference = RegistryReference.parse(f"{fake.host}/{name}")
        return Registry(Client(settings), logins, reference, warn=self.warnings.append, **options)


@pytest.fixture
def host(tmp_path: Path, authority: Authority) -> Host:
    return Host(tmp_path, authority)


def test_a_manifest_by_tag_and_by_digest(fake: FakeRegistry, host: Host) -> None:
    made = fake.manifest("a/app", {"layers": []}, "1")
    registry = host.open(fake)
    for version in ("1", made):
        found = registry.manifest(version)
        assert (found.digest, found.media_type) == (made, MANIFEST)
        assert json.loads(found.data) == {"layers": []}
    assert registry.digest("1") == made


def test_what_is_not_there(fake: FakeRegistry, host: Host) -> None:
    for ask in (host.open(fake).manifest, host.open(fake).digest):
        with pytest.raises(ImageNotFound) as caught:
            ask("2")
        assert str(caught.value) == f"docker://{fake.host}/a/app: has no image 2"


def test_another_manifest_than_was_asked_for_is_refused(fake: FakeRegistry, host: Host) -> None:
    wanted = fake.manifest("a/app", {"layers": []}, "1")
    fake.manifests["a/app", wanted] = (MANIFEST, b"{}")
    with pytest.raises(NetworkError, match="with the digest"):
        host.open(fake).manifest(wanted)


def test_a_tag_whose_digest_is_a_lie_is_refused(fake: FakeRegistry, host: Host) -> None:
    lie = {"Docker-Content-Digest": digest(b"another"), "Content-Type": MANIFEST}
    fake.faults["GET", "/v2/a/app/manifests/1"] = lambda request: request.send(200, lie, b"{}")
    with pytest.raises(NetworkError, match="with the digest"):
        host.open(fake).manifest("1")


def test_an_endless_manifest_is_not_read_to_its_end(fake: FakeRegistry, host: Host) -> None:
    sent = []

    def pour(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", MANIFEST)
        request.end_headers()
        try:
            while len(sent) < 64:
                request.wfile.write(bytes(1 << 20))
                sent.append(1)
        except OSError:
            pass
        request.close_connection = True

    fake.faults["GET", "/v2/a/app/manifests/1"] = pour
    with pytest.raises(NetworkError, match=f"larger than {MAX_MANIFEST}"):
        host.open(fake).manifest("1")


def test_blobs_whole_and_from_the_middle(fake: FakeRegistry, host: Host) -> None:
    name = Digest.parse(fake.blob(b"0123456789"))
    registry = host.open(fake)
    for offset, rest, start in ((0, b"0123456789", 0), (4, b"456789", 4), (10, b"0123456789", 0)):
        answer, begins = registry.blob(name, offset, 10)
        with answer:
            assert (answer.read(100), begins) == (rest, start)


def test_a_registry_without_ranges_begins_again(fake: FakeRegistry, host: Host) -> None:
    name = Digest.parse(fake.blob(b"0123456789"))
    fake.faults["GET", f"/v2/a/app/blobs/{name}"] = lambda request: request.send(200, {}, b"0123456789")
    answer, begins = host.open(fake).blob(name, 4, 10)
    with answer:
        assert (answer.read(100), begins) == (b"0123456789", 0)


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({"Content-Range": "bytes 3-9/10"}, b"3456789", "another part"),
        ({}, b"456789", "another part"),
        ({"Content-Range": "bytes 4-11/12"}, b"456789ab", "12 bytes instead of 10"),
    ],
)
def test_another_part_than_was_asked_for(
    fake: FakeRegistry, host: Host, headers: dict[str, str], body: bytes, reason: str
) -> None:
    name = Digest.parse(fake.blob(b"0123456789"))
    fake.faults["GET", f"/v2/a/app/blobs/{name}"] = lambda request: request.send(206, headers, body)
    with pytest.raises(NetworkError, match=reason):
        host.open(fake).blob(name, 4, 10)


def test_a_blob_that_says_another_length_is_refused_before_it_is_read(fake: FakeRegistry, host: Host) -> None:
    name = Digest.parse(fake.blob(b"0123456789"))
    with pytest.raises(NetworkError, match="10 bytes instead of 9"):
        host.open(fake).blob(name, 0, 9)


def test_errors_say_what_the_registry_said(fake: FakeRegistry, host: Host) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"not\\u001b[31m you"}]}'
    fake.faults["GET", "/v2/a/app/manifests/1"] = lambda request: request.send(403, {}, body)
    with pytest.raises(HttpStatus) as caught:
        host.open(fake).manifest("1")
    assert caught.value.what == "the registry answers 403: DENIED: not [31m you"


def test_warnings_are_said_once(fake: FakeRegistry, host: Host) -> None:
    fake.manifest("a/app", {}, "1")
    headers = {"Warning": '299 - "going away soon"'}
    fake.faults["GET", "/v2/a/app/manifests/1"] = lambda request: request.send(200, headers, b"{}")
    registry = host.open(fake)
    registry.manifest("1")
    registry.manifest("1")
    assert host.warnings == ["the registry says: going away soon"]


def test_too_many_requests_waits_as_asked(fake: FakeRegistry, host: Host) -> None:
    answers: Iterator[Callable[[Request], None]] = iter(
        (
            lambda request: request.send(429, {"Retry-After": "0"}),
            lambda request: request.send(200, {}, b"{}"),
            lambda request: request.send(429, {"Retry-After": "999"}),
        )
    )
    fake.faults["GET", "/v2/a/app/manifests/1"] = lambda request: next(answers)(request)
    assert host.open(fake).manifest("1").data == b"{}"
    with pytest.raises(HttpStatus, match="answers 429") as raised:
        host.open(fake).manifest("1")
    assert raised.value.hint == "it asks to come back in 999 s"


# -- who we are -------------------------------------------------------------------------------------


def test_basic_authentication(fake: FakeRegistry, host: Host) -> None:
    fake.auth = "basic"
    fake.manifest("a/app", {}, "1")
    host.login(fake, "me", "se:cret")
    assert host.open(fake).manifest("1").data == b"{}"


def test_no_credentials(fake: FakeRegistry, host: Host) -> None:
    fake.auth = "basic"
    with pytest.raises(HttpStatus, match="no credentials for it"):
        host.open(fake).manifest("1")


def test_wrong_credentials_are_tried_once(fake: FakeRegistry, host: Host) -> None:
    fake.auth = "basic"
    host.login(fake, "me", "wrong")
    fake.password = "right"
    with pytest.raises(HttpStatus, match="401"):
        host.open(fake).manifest("1")
    assert len([path for _, path in fake.log if "manifests" in path]) <= 3


def test_a_token_is_had_once_and_used_for_all(fake: FakeRegistry, host: Host) -> None:
    fake.auth = "bearer"
    fake.manifest("a/app", {}, "1")
    registry = host.open(fake)
    registry.manifest("1")
    registry.manifest("1")
    assert fake.token_requests == [{"service": ["test"], "scope": ["repository:a/app:pull"]}]


def test_a_token_for_credentials(fake: FakeRegistry, host: Host) -> None:
    fake.auth = "bearer"
    fake.manifest("a/app", {}, "1")
    host.login(fake, "me", "secret")
    host.open(fake, actions=("pull", "push"), also=("b",)).manifest("1")
    (asked,) = fake.token_requests
    assert asked["account"] == ["me"]
    assert asked["scope"] == ["repository:a/app:pull,push", "repository:b:pull"]


def test_a_token_for_a_refresh_token(fake: FakeRegistry, host: Host) -> None:
    fake.auth, fake.refresh = "bearer", "r3fresh"
    fake.manifest("a/app", {}, "1")
    host.login(fake, "me", "", identitytoken="r3fresh")
    host.open(fake).manifest("1")
    (asked,) = fake.token_requests
    assert asked["grant_type"] == ["refresh_token"]
    assert asked["client_id"] == ["appc"]


def test_a_token_that_ran_out_is_renewed(fake: FakeRegistry, host: Host) -> None:
    fake.auth = "bearer"
    fake.manifest("a/app", {}, "1")
    registry = host.open(fake)
    registry.manifest("1")
    fake.tokens.clear()
    registry.manifest("1")
    assert len(fake.token_requests) == 2


def test_a_registry_that_takes_no_token_is_given_up(fake: FakeRegistry, host: Host) -> None:
    fake.auth = "bearer"
    challenge = {"WWW-Authenticate": f'Bearer realm="{fake.server.url}/token"'}
    fake.faults["GET", "/v2/a/app/manifests/1"] = lambda request: request.send(401, challenge)
    with pytest.raises(HttpStatus, match="401"):
        host.open(fake).manifest("1")
    assert len(fake.token_requests) <= 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"token": 5}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX-Evil: 1"}',
        b'{"token": "' + b"x" * (65 << 10) + b'"}',
        b'{"token": "x", "pad": "' + b"x" * (1 << 20) + b'"}',
    ],
)
def test_what_is_no_token(fake: FakeRegistry, host: Host, body: bytes) -> None:
    fake.auth = "bearer"
    fake.faults["GET", "/token"] = lambda request: request.send(200, {}, body)
    with pytest.raises(NetworkError, match="gives no token|larger than"):
        host.open(fake).manifest("1")


@pytest.mark.parametrize("realm", ["", "ftp://x/", "/token", "https://", "http://[x/"])
def test_what_is_no_token_service(fake: FakeRegistry, host: Host, realm: str) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}"'}
    fake.faults["GET", "/v2/a/app/manifests/1"] = lambda request: request.send(401, challenge)
    with pytest.raises(NetworkError, match="names no token service"):
        host.open(fake).manifest("1")


def test_a_token_does_not_go_to_where_a_blob_is_redirected(
    fake: FakeRegistry, host: Host, authority: Authority, names: Names
) -> None:
    fake.auth = "bearer"
    name = Digest.parse(fake.blob(b"0123456789"))
    with Server(authority.certificate("localhost")) as elsewhere:
        elsewhere.pages["/blob"] = b"0123456789"
        where = {"Location": f"{elsewhere.url}/blob"}
        registry = host.open(fake)
        fake.manifest("a/app", {}, "1")
        registry.manifest("1")
        fake.faults["GET", f"/v2/a/app/blobs/{name}"] = lambda request: request.send(307, where)
        answer, _ = registry.blob(name, 0, 10)
        with answer:
            assert answer.read(100) == b"0123456789"
        ((_, _, headers),) = elsewhere.requests
        assert "authorization" not in {key.lower() for key in headers}


def test_where_a_blob_is_redirected_nobody_gets_credentials(
    fake: FakeRegistry, host: Host, authority: Authority, names: Names
) -> None:
    name = Digest.parse(fake.blob(b"0123456789"))
    host.login(fake, "me", "secret")
    with Server(authority.certificate("localhost")) as elsewhere:
        elsewhere.pages["/blob"] = (401, {"WWW-Authenticate": 'Basic realm="give"'}, b"")
        where = {"Location": f"{elsewhere.url}/blob"}
        fake.faults["GET", f"/v2/a/app/blobs/{name}"] = lambda request: request.send(307, where)
        with pytest.raises(HttpStatus, match="401"):
            host.open(fake).blob(name, 0, 10)
        assert all("authorization" not in {key.lower() for key in headers} for _, _, headers in elsewhere.requests)


def test_plain_http_only_where_asked_for(plain: Server, host: Host) -> None:
    fake = FakeRegistry(plain)
    fake.manifest("a/app", {}, "1")
    with pytest.raises(NetworkError):
        host.open(fake).manifest("1")
    host.insecure = ("http",)
    assert host.open(fake).manifest("1").data == b"{}"


def test_credentials_are_not_sent_in_the_clear(plain: Server, host: Host, names: Names) -> None:
    names["registry.example.com"] = plain
    fake = FakeRegistry(plain)
    fake.auth = "basic"
    host.insecure = ("http",)
    host.login(fake, "me", "secret")
    config = host.docker / "config.json"
    config.write_text(config.read_text().replace(fake.host, "registry.example.com"))
    reference = RegistryReference.parse("registry.example.com/a/app:1")
    registry = host.open(fake)
    registry.reference = reference
    with pytest.raises(AppcError, match="over plain http"):
        registry.manifest("1")


# -- referrers --------------------------------------------------------------------------------------


def artifact(subject: str, kind: str = SIGNATURE) -> dict[str, object]:
    about = {"mediaType": MANIFEST, "digest": subject, "size": 2}
    return {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "layers": [], "subject": about}


@pytest.mark.parametrize("api", [True, False])
def test_referrers_by_the_api_and_by_the_tag(fake: FakeRegistry, host: Host, api: bool) -> None:
    fake.referrers_api = api
    subject = Digest.parse(fake.manifest("a/app", {}, "1"))
    document = artifact(subject)
    name = fake.manifest("a/app", document)
    fake.manifest("a/app", artifact(subject, "application/other"))
    if not api:
        size = len(json.dumps(document).encode())
        entry = {"mediaType": MANIFEST, "digest": name, "size": size, "artifactType": SIGNATURE}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        fake.manifest("a/app", index, subject.replace(":", "-"), media_type=INDEX)
    assert [one.digest for one in host.open(fake).referrers(subject, SIGNATURE)] == [name]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]"])
def test_a_referrers_tag_that_is_no_index_means_none(fake: FakeRegistry, host: Host, data: bytes) -> None:
    fake.referrers_api = False
    subject = Digest.parse(fake.manifest("a/app", {}, "1"))
    fake.manifests["a/app", subject.replace(":", "-")] = (INDEX, data)
    assert host.open(fake).referrers(subject, SIGNATURE) == []


def test_pages_of_referrers_end(fake: FakeRegistry, host: Host) -> None:
    subject = Digest.parse(fake.manifest("a/app", {}, "1"))
    path = f"/v2/a/app/referrers/{subject}"
    entry = {"mediaType": MANIFEST, "digest": subject, "size": 1, "artifactType": SIGNATURE}
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    headers = {"Link": f'<{path}?artifactType={SIGNATURE}&last=x>; rel="next"'}
    fake.faults["GET", path] = lambda request: request.send(200, headers, body)
    assert 1 < len(host.open(fake).referrers(subject, SIGNATURE)) < 100


def test_a_list_does_not_continue_elsewhere(fake: FakeRegistry, host: Host) -> None:
    subject = Digest.parse(fake.manifest("a/app", {}, "1"))
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    headers = {"Link": '<https://elsewhere.example.com/x>; rel="next"'}
    fake.faults["GET", f"/v2/a/app/referrers/{subject}"] = lambda request: request.send(200, headers, body)
    with pytest.raises(NetworkError, match="at another host"):
        host.open(fake).referrers(subject, SIGNATURE)
