"""auth.d: who is sent which credentials, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appc.errors import ManifestError
from appc.net import aws
from appc.net.credentials import Credentials


def write(directory: Path, name: str, document: object, mode: int = 0o600) -> None:
    path = directory / "auth.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    path.chmod(mode)


def rkt(kind: str = "auth", **fields: object) -> dict[str, object]:
    return {"rktKind": kind, "rktVersion": "v1", **fields}


BASIC = {"user": "aladdin", "password": "open sesame"}
HEADER = {"authorization": "Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ=="}


def test_own_form(tmp_path: Path) -> None:
    write(tmp_path, "a.json", {"hosts": {"example.com": BASIC, "Tokens.example.com:8443": {"token": "abc"}}})
    found = Credentials([str(tmp_path)])
    assert found.headers_for("https://example.com/x") == HEADER
    assert found.headers_for("https://EXAMPLE.com:443/x") == HEADER
    assert found.headers_for("https://tokens.example.com:8443/x") == {"authorization": "Bearer abc"}


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "https://example.com:8443/x",
        "https://www.example.com/x",
        "https://example.community/x",
        "https://other.com/example.com",
    ],
)
def test_only_the_very_host_and_only_over_https(url: str, tmp_path: Path) -> None:
    write(tmp_path, "a.json", {"hosts": {"example.com": BASIC}})
    assert Credentials([str(tmp_path)]).headers_for(url) == {}


def test_files_of_rkt(tmp_path: Path) -> None:
    write(tmp_path, "a.json", rkt(domains=["a.com", "b.com"], type="basic", credentials=BASIC))
    write(tmp_path, "b.json", rkt(domains=["c.com"], type="oauth", credentials={"token": "t"}))
    write(tmp_path, "c.json", rkt("dockerAuth", registries=["r.com"], credentials={"user": "u", "password": "p"}))
    found = Credentials([str(tmp_path)])
    assert found.headers_for("https://b.com/") == HEADER
    assert found.headers_for("https://c.com/") == {"authorization": "Bearer t"}
    assert found.headers_for("https://r.com/") == {}
    assert found.for_registry("r.com") == ("u", "p")
    assert found.for_registry("a.com") == ("aladdin", "open sesame")
    assert found.for_registry("c.com") is None


AWS = {"accessKeyID": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}


def test_requests_are_signed_for_aws(tmp_path: Path) -> None:
    write(tmp_path, "a.json", rkt(domains=["b.s3.amazonaws.com"], type="aws", credentials=AWS))
    write(tmp_path, "b.json", rkt(domains=["minio:9000"], type="aws", credentials={**AWS, "awsRegion": "here"}))
    found = Credentials([str(tmp_path)])
    assert found.headers_for("https://other.s3.amazonaws.com/") == {}
    assert "/us-east-1/s3/aws4_request," in found.headers_for("https://b.s3.amazonaws.com/x.aci")["authorization"]
    got, head = (found.headers_for("https://minio:9000/x.aci", method) for method in ("GET", "HEAD"))
    assert "/here/s3/aws4_request," in got["authorization"]
    assert got["authorization"] != head["authorization"]
    assert found.for_registry("minio:9000") is None


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_examples_of_the_signature(query: str, signature: str) -> None:
    """Amazon S3, API Reference, "Signature Calculations for the Authorization Header", its examples of GET."""
    url = f"https://examplebucket.s3.amazonaws.com/?{query}"
    fields = aws.signed("GET", url, AWS["accessKeyID"], AWS["secretAccessKey"], now=1369353600.0)
    assert fields["x-amz-date"] == "20130524T000000Z"
    assert fields["authorization"].endswith(f",Signature={signature}")


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("s3-bucket.s3.eu-west-1.amazonaws.com", "eu-west-1"),
        ("s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1"),
        ("bucket.s3-ap-south-1.amazonaws.com", "ap-south-1"),
        ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bucket.s3.amazonaws.com", "us-east-1"),
        ("s3-external-1.amazonaws.com", "us-east-1"),
        ("s3.example.com", "us-east-1"),
    ],
)
def test_the_region_is_that_of_the_host(host: str, region: str) -> None:
    assert aws.region_of(host) == region


def test_later_directories_win(tmp_path: Path) -> None:
    write(tmp_path / "1", "a.json", {"hosts": {"a.com": BASIC, "b.com": BASIC}})
    write(tmp_path / "2", "a.json", {"hosts": {"a.com": {"token": "t"}}})
    found = Credentials([str(tmp_path / "1"), str(tmp_path / "2"), str(tmp_path / "none")])
    assert found.headers_for("https://a.com/") == {"authorization": "Bearer t"}
    assert found.headers_for("https://b.com/") == HEADER


def test_secrets_that_others_can_read_are_warned_about(tmp_path: Path) -> None:
    write(tmp_path, "a.json", {"hosts": {"a.com": BASIC}}, 0o644)
    said: list[tuple[str, str]] = []
    found = Credentials([str(tmp_path)], lambda what, where: said.append((what, where)))
    found.headers_for("http://a.com/")
    assert said == []
    found.headers_for("https://a.com/")
    found.headers_for("https://a.com/")
    assert len(said) == 1
    assert said[0][1].endswith("a.json")


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ([], "not a JSON object"),
        ({}, "neither"),
        ({"hosts": {"a.com": {"user": "x"}}}, "hosts.a.com"),
        ({"hosts": {"a.com": {"user": "x:y", "password": ""}}}, "hosts.a.com.user"),
        ({"hosts": {"a.com": {"token": "a\nb"}}}, "hosts.a.com.token"),
        ({"rktVersion": "v1"}, "rktKind"),
        (rkt("paths"), "rktKind"),
        ({"rktKind": "auth", "domains": ["a"], "type": "basic", "credentials": BASIC}, "rktVersion"),
        (rkt(domains="a.com", type="basic", credentials=BASIC), "domains"),
        (rkt(domains=["a.com"], type="digest", credentials=BASIC), "type"),
        (rkt(domains=["a.com"], type="oauth", credentials=BASIC), "credentials"),
    ],
)
def test_faults_name_file_and_field(document: object, key: str, tmp_path: Path) -> None:
    write(tmp_path, "a.json", document)
    with pytest.raises(ManifestError) as raised:
        Credentials([str(tmp_path)]).headers_for("https://a.com/")
    assert key in str(raised.value)
    assert "a.json" in str(raised.value)
    assert "sesame" not in str(raised.value)


def test_a_host_twice_in_one_directory_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, "a.json", {"hosts": {"a.com": BASIC}})
    write(tmp_path, "b.json", rkt(domains=["a.com"], type="oauth", credentials={"token": "t"}))
    with pytest.raises(ManifestError, match=r"b\.json: a\.com is also in .*a\.json"):
        Credentials([str(tmp_path)]).headers_for("https://a.com/")
