"""What servers ask for with 401, as RFC 9110 writes it and as servers do."""

from __future__ import annotations

import pytest

from appc.errors import InvalidValue
from appc.net.challenges import MAX_BYTES, parse


def read(*headers: str) -> list[tuple[str, dict[str, str]]]:
    return [(one.scheme, one.parameters) for one in parse(headers)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a registry"', [("basic", {"realm": "a registry"})]),
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('bEARER Realm = "x" , SERVICE=y', [("bearer", {"realm": "x", "service": "y"})]),
        (r'Basic realm="a \"b\" \\ c"', [("basic", {"realm": r'a "b" \ c'})]),
        ("Negotiate dGVzdA==", [("negotiate", {"": "dGVzdA=="})]),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Basic realm="x", Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (
            'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
            [
                ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
                ("basic", {"realm": "simple"}),
            ],
        ),
        ("Bearer realm=", [("bearer", {"": "realm="})]),
        ("Bearer realm", [("bearer", {"": "realm"})]),
        ("Bearer a b", None),
        ('Bearer realm="x" service="y"', None),
        ('Bearer realm="x', None),
        ('Bearer realm="x\\', None),
        ('="x"', None),
        ("Bearer\x00realm=x", None),
        ('Bearer realm="x",realm="y"', None),
        ("ä=b", None),
    ],
)
def test_challenges(header: str, expected: list[tuple[str, dict[str, str]]] | None) -> None:
    if expected is None:
        with pytest.raises(InvalidValue):
            parse([header])
    else:
        assert read(header) == expected


def test_several_headers() -> None:
    assert read('Basic realm="x"', "Negotiate") == [("basic", {"realm": "x"}), ("negotiate", {})]


@pytest.mark.parametrize(
    "headers",
    [
        ["Basic realm=" + "x" * MAX_BYTES],
        ["Basic" for _ in range(17)],
        [", ".join(["Basic"] * 17)],
        ["Bearer " + ", ".join(f"p{number}=1" for number in range(33))],
    ],
)
def test_what_is_endless_is_refused(headers: list[str]) -> None:
    with pytest.raises(InvalidValue, match="longer|more than"):
        parse(headers)
