"""References to images in registries: what tools that take them agree on, and no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.errors import InvalidValue
from appc.schema.registry import RegistryReference, referrers_tag
from appc.values import ACIdentifier, Digest

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("docker://nginx", "docker.io/library/nginx:latest"),
        ("docker:nginx:1.2", "docker.io/library/nginx:1.2"),
        ("user/app", "docker.io/user/app:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("host:5000/app", "host:5000/app:latest"),
        ("Reg.Example.com/a/b/c:V1.0-rc_1", "reg.example.com/a/b/c:V1.0-rc_1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("[2001:DB8::1]/app", "[2001:db8::1]/app:latest"),
        (f"r.io/app@{SHA256}", f"r.io/app@{SHA256}"),
        (f"r.io/app:1@{SHA512}", f"r.io/app:1@{SHA512}"),
        ("r.io/a__b/c---d/e.f/g_h", "r.io/a__b/c---d/e.f/g_h:latest"),
        ("r.io/" + "a" * 255, "r.io/" + "a" * 255 + ":latest"),
        ("r.io/a:" + "t" * 128, "r.io/a:" + "t" * 128),
        ("r.io/a:_x", "r.io/a:_x"),
    ],
)
def test_what_a_reference_means(text: str, whole: str) -> None:
    assert str(RegistryReference.parse(text)) == whole
    assert str(RegistryReference.parse(whole)) == whole


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the repository is missing"),
        ("docker://", "the repository is missing"),
        ("r.io/", "the repository is missing"),
        ("docker://https://r.io/app", "without https://"),
        ("UPPER/app", "no part of a repository's name"),
        ("r.io/App", "no part of a repository's name"),
        ("r.io/a//b", "no part of a repository's name"),
        ("r.io/a/../b", "no part of a repository's name"),
        ("r.io/a..b", "no part of a repository's name"),
        ("r.io/a___b", "no part of a repository's name"),
        ("r.io/a.-b", "no part of a repository's name"),
        ("r.io/-a", "no part of a repository's name"),
        ("r.io/a_", "no part of a repository's name"),
        ("r.io/a b", "no part of a repository's name"),
        ("r.io/a?x=1", "no part of a repository's name"),
        ("r.io/a%2e", "no part of a repository's name"),
        ("r.io/ä", "no part of a repository's name"),
        ("r.io/" + "a" * 256, "at most 255"),
        ("0123456789abcdef" * 4, "are an ID"),
        ("r.io/a:", "is not a tag"),
        ("r.io/a:.x", "is not a tag"),
        ("r.io/a:" + "t" * 129, "is not a tag"),
        ("r.io/a:1:2", "is not a tag"),
        ("user:secret@r.io/a", "credentials do not belong"),
        ("secret@r.io/a", "credentials do not belong"),
        ("r.io/a@sha256:123", "needs 64 digits"),
        ("r.io/a@md5:" + "0" * 32, "is not a digest"),
        ("r.io:0/a", "is no port"),
        ("r.io:65536/a", "is no port"),
        ("r.io:/a", "is no port"),
        ("r.io:٣/a", "is no port"),
        ("-r.io/a", "is no host name"),
        ("r..io/a", "is no host name"),
        ("r_x.io/a", "is no host name"),
        ("[::1/a", "no IPv6 address"),
        ("[::1]x/a", "no IPv6 address"),
        ("[::1]:/a", "is no port"),
    ],
)
def test_what_is_no_reference(text: str, reason: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        RegistryReference.parse(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="aA0.:/@-_[]% s\n", max_size=40))
def test_what_is_accepted_is_canonical_and_fits_into_a_url(text: str) -> None:
    try:
        found = RegistryReference.parse(text)
    except InvalidValue:
        return
    assert str(RegistryReference.parse(str(found))) == str(found)
    assert not set(f"{found.repository}{found.tag}") & set(" ?#%@\n\\")
    assert not {"", ".", ".."} & set(found.repository.split("/"))
    ACIdentifier.parse(found.name)


def test_where_dockers_registry_answers() -> None:
    assert RegistryReference.parse("nginx").host == "registry-1.docker.io"
    assert RegistryReference.parse("r.io:5000/nginx").host == "r.io:5000"


def test_a_digest_counts_more_than_a_tag() -> None:
    assert RegistryReference.parse(f"r.io/app:1@{SHA256}").version == SHA256
    assert RegistryReference.parse("r.io/app:1").version == "1"


def test_the_name_is_one_that_keys_can_be_trusted_for() -> None:
    assert RegistryReference.parse("localhost:5000/a/b__c:1").name == "localhost_5000/a/b__c"


def test_the_tag_that_lists_what_refers_to_a_manifest() -> None:
    assert referrers_tag(Digest.parse(SHA256)) == SHA256.replace(":", "-")
    assert referrers_tag(Digest.parse(SHA512)) == SHA512.replace(":", "-")[:71]
