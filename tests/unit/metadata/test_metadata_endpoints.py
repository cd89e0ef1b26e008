"""The metadata service's answers, endpoint by endpoint (ace.md, "Metadata Service")."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from appc.metadata.endpoints import respond
from appc.metadata.messages import FORM, Request, Response
from appc.metadata.pods import Pod
from pod_directory import IMAGE, IMAGE_ID, POD, TOKEN, UUID, make_pod

OTHER = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_pod(tmp_path)
    return tmp_path


def ask(root: Path, path: str, method: str = "GET", token: str = TOKEN, uuid: str = UUID) -> Response:
    return respond(Request(method, f"/{token}/acMetadata/v1/{path}"), Pod(str(root), uuid))


def post(root: Path, path: str, body: bytes | dict[str, Any], content_type: str = FORM, uuid: str = UUID) -> Response:
    data = urlencode(body).encode() if isinstance(body, dict) else body
    return respond(Request("POST", f"/{TOKEN}/acMetadata/v1/{path}", content_type, data), Pod(str(root), uuid))


@pytest.mark.parametrize(
    ("path", "content_type", "expected"),
    [
        ("pod/uuid", "text/plain; charset=us-ascii", UUID.encode()),
        ("pod/annotations/ip-address", "text/plain; charset=utf-8", b"10.1.2.3"),
        ("apps/worker/image/id", "text/plain; charset=us-ascii", IMAGE_ID.encode()),
        ("apps/worker/image/manifest", "application/json", json.dumps(IMAGE, indent=3).encode()),
        ("apps/worker/annotations/lorem", "text/plain; charset=utf-8", b"dolor"),
        ("apps/worker/annotations/example.com/new", "text/plain; charset=utf-8", "grüße".encode()),
        ("apps/worker/annotations/example.com%2fnew", "text/plain; charset=utf-8", "grüße".encode()),
    ],
)
def test_values_come_byte_for_byte_and_with_their_content_type(
    root: Path, path: str, content_type: str, expected: bytes
) -> None:
    answer = ask(root, path)
    assert (answer.status, answer.content_type, answer.body) == (200, content_type, expected)


def test_the_pod_manifest_and_its_annotations_are_json(root: Path) -> None:
    manifest, annotations = ask(root, "pod/manifest"), ask(root, "pod/annotations")
    assert manifest.content_type == annotations.content_type == "application/json"
    assert json.loads(manifest.body) == POD
    assert json.loads(annotations.body) == POD["annotations"]


def test_app_annotations_keep_the_images_order_and_take_the_pods_values(root: Path) -> None:
    answer = ask(root, "apps/worker/annotations")
    assert answer.content_type == "application/json"
    assert json.loads(answer.body) == [
        IMAGE["annotations"][0],
        IMAGE["annotations"][1],
        {"name": "lorem", "value": "dolor"},
        {"name": "example.com/new", "value": "grüße"},
    ]


def test_a_pod_without_annotations_has_an_empty_list_of_them_everywhere(tmp_path: Path) -> None:
    pod = {"acVersion": "0.8.11", "acKind": "PodManifest", "apps": []}
    make_pod(tmp_path, pod=pod)
    assert ask(tmp_path, "pod/annotations").body == b"[]"
    assert json.loads(ask(tmp_path, "pod/manifest").body) == {**pod, "annotations": []}


@pytest.mark.parametrize(
    "path",
    [
        "pod",
        "pod/",
        "pod/uuid/",
        "pod/nonsense",
        "pod/annotations/absent",
        "pod/hmac",
        "pod/hmac/",
        "apps",
        "apps/worker",
        "apps/absent/image/id",
        "apps/../../token/image/manifest",
        "apps/worker/image",
        "apps/worker/image/manifest/more",
        "",
    ],
)
def test_what_is_not_there_is_404(root: Path, path: str) -> None:
    assert ask(root, path).status == 404


def test_another_version_of_the_interface_is_404(root: Path) -> None:
    assert respond(Request("GET", f"/{TOKEN}/acMetadata/v2/pod/uuid"), Pod(str(root), UUID)).status == 404


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), UUID, "é" * 32])
def test_only_the_pods_token_opens_it(root: Path, token: str) -> None:
    answer = ask(root, "pod/uuid", token=token)
    assert answer.status == 401
    assert UUID.encode() not in answer.body


def test_the_token_of_another_pod_does_not_open_this_one(root: Path) -> None:
    make_pod(root, OTHER, "f" * 32)
    assert ask(root, "pod/uuid", token="f" * 32).status == 401
    assert ask(root, "pod/uuid", token="f" * 32, uuid=OTHER).body == OTHER.encode()


def test_a_pod_that_is_gone_has_no_token(root: Path) -> None:
    assert ask(root, "pod/uuid", uuid=OTHER).status == 401


def test_an_empty_token_file_opens_nothing(tmp_path: Path) -> None:
    make_pod(tmp_path, token="")
    assert ask(tmp_path, "pod/uuid", token="").status == 401


def test_a_query_is_ignored(root: Path) -> None:
    assert ask(root, "pod/uuid?recursive=true&alt=json").body == UUID.encode()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "pod/uuid", "GET, HEAD"),
        ("DELETE", "apps/worker/image/id", "GET, HEAD"),
        ("GET", "pod/hmac/sign", "POST"),
        ("PUT", "pod/hmac/verify", "POST"),
    ],
)
def test_a_wrong_method_is_405_and_says_which_would_do(root: Path, method: str, path: str, allowed: str) -> None:
    answer = ask(root, path, method)
    assert answer.status == 405
    assert ("Allow", allowed) in answer.fields


def test_records_that_cannot_be_read_are_500_without_a_traceback(root: Path) -> None:
    (root / "pods" / "run" / UUID / "pod").write_text("{")
    answer = ask(root, "pod/annotations")
    assert answer.status == 500
    assert b"Traceback" not in answer.body


class TestIdentity:
    def sign(self, root: Path, content: str, uuid: str = UUID) -> str:
        answer = post(root, "pod/hmac/sign", {"content": content}, uuid=uuid)
        assert (answer.status, answer.content_type) == (200, "text/plain; charset=us-ascii")
        return answer.body.decode()

    def verify(self, root: Path, **fields: Any) -> int:
        answer = post(root, "pod/hmac/verify", fields)
        assert answer.content_type == "text/plain; charset=us-ascii"
        return answer.status

    def test_the_signature_is_base64_of_a_sha512_hmac_with_the_pods_key(self, root: Path) -> None:
        expected = hmac.digest(b"k" * 64, bytes.fromhex(UUID.replace("-", "")) + b"Old MacDonald", "sha512")
        assert base64.b64decode(self.sign(root, "Old MacDonald"), validate=True) == expected

    @pytest.mark.parametrize("content", ["Old MacDonald Had A Farm", "a=b&c=d+%41", "ünïcode", "\x00\n", "x" * 100_000])
    def test_what_was_signed_verifies_and_nothing_else(self, root: Path, content: str) -> None:
        signature = self.sign(root, content)
        assert self.verify(root, content=content, uuid=UUID, signature=signature) == 200
        assert self.verify(root, content=content, uuid=UUID.upper(), signature=signature) == 200
        assert self.verify(root, content=content + "x", uuid=UUID, signature=signature) == 403
        assert self.verify(root, content=content, uuid=UUID, signature=base64.b64encode(b"x" * 64).decode()) == 403

    def test_pods_verify_each_others_signatures(self, root: Path) -> None:
        make_pod(root, OTHER, key=b"o" * 64)
        signature = self.sign(root, "hello", uuid=OTHER)
        assert self.verify(root, content="hello", uuid=OTHER, signature=signature) == 200
        assert self.verify(root, content="hello", uuid=UUID, signature=signature) == 403

    def test_a_signature_outlives_its_pod_until_that_is_collected(self, root: Path) -> None:
        directory = make_pod(root, OTHER, key=b"o" * 64)
        signature = self.sign(root, "hello", uuid=OTHER)
        exited = root / "pods" / "exited"
        exited.mkdir()
        directory.rename(exited / OTHER)
        assert self.verify(root, content="hello", uuid=OTHER, signature=signature) == 200
        (exited / OTHER).rename(root / "pods" / "collected")
        assert self.verify(root, content="hello", uuid=OTHER, signature=signature) == 403

    def test_an_unescaped_plus_in_the_signature_is_understood(self, root: Path) -> None:
        content = next(str(n) for n in range(1000) if "+" in self.sign(root, str(n)))
        body = f"content={content}&uuid={UUID}&signature={self.sign(root, content)}".encode()
        assert post(root, "pod/hmac/verify", body).status == 200

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"content",
            b"content=",
            b"other=x",
            b"content=%4",
            b"content=%zz",
            b"content=%+1",
            b"content=a&content=b",
        ],
    )
    def test_a_form_without_content_or_malformed_is_400(self, root: Path, body: bytes) -> None:
        assert post(root, "pod/hmac/sign", body).status == 400

    @pytest.mark.parametrize(
        "change",
        [
            {"uuid": ""},
            {"uuid": "../../run/" + UUID},
            {"uuid": UUID[:-1]},
            {"uuid": UUID.replace("-", "")},
            {"signature": ""},
            {"signature": "not base64!"},
            {"signature": "YQ"},
            {"content": ""},
        ],
    )
    def test_a_field_missing_or_malformed_is_400(self, root: Path, change: dict[str, str]) -> None:
        fields = {"content": "x", "uuid": UUID, "signature": self.sign(root, "x"), **change}
        assert self.verify(root, **fields) == 400

    def test_a_body_of_another_type_is_400(self, root: Path) -> None:
        assert post(root, "pod/hmac/sign", b'{"content": "x"}', "application/json").status == 400
        assert post(root, "pod/hmac/sign", b"content=x", "").status == 400

    def test_any_bytes_can_be_signed(self, root: Path) -> None:
        content = bytes(range(256))
        answer = post(root, "pod/hmac/sign", b"content=" + quote(content).encode())
        expected = hmac.digest(b"k" * 64, bytes.fromhex(UUID.replace("-", "")) + content, "sha512")
        assert base64.b64decode(answer.body) == expected
