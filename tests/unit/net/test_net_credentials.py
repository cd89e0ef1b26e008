"""auth.d: who is sent which credentials, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appc.errors import AppcError, ManifestError
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


def test_a_type_that_is_not_supported_says_so_when_it_is_needed(tmp_path: Path) -> None:
    write(tmp_path, "a.json", rkt(domains=["a.com"], type="aws", credentials={}))
    found = Credentials([str(tmp_path)])
    assert found.headers_for("https://b.com/") == {}
    with pytest.raises(AppcError, match="of type aws are not supported"):
        found.headers_for("https://a.com/")


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
