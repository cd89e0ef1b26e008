"""What the links of a pod may carry, from its manifest, and what is told of limits that are not as asked."""

from __future__ import annotations

import json

import pytest

from appc.network.bandwidth import Rates, Unlimited
from appc.schema.pod import PodManifest


def manifest(own: list[str], **apps: list[str]) -> PodManifest:
    """A pod manifest with these limits of the pod and of its apps."""

    def isolators(limits: list[str]) -> list[object]:
        return [
            {"name": "resource/network-bandwidth", "value": {"default": True, "limit": limit}} for limit in limits
        ] + [{"name": "resource/pids", "value": {"limit": 1}}]

    entries = [
        {
            "name": name,
            "image": {"id": f"sha512-{'0' * 128}"},
            "app": {"exec": ["/x"], "user": "0", "group": "0", "isolators": isolators(limits)},
        }
        for name, limits in apps.items()
    ]
    document = {"acVersion": "0.8.11", "acKind": "PodManifest", "apps": entries, "isolators": isolators(own)}
    return PodManifest.parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("own", "apps", "pod", "of_apps"),
    [
        ([], {"a": []}, 0, {}),
        (["2M"], {"a": ["3M"]}, 2_000_000, {}),
        (["3M"], {"a": ["2M"]}, 2_000_000, {}),  # one that is alone has the pod's links for itself
        (["3M"], {"a": ["2M"], "b": []}, 3_000_000, {"a": 2_000_000}),
        ([], {"a": ["2M", "1M"], "b": ["5M"]}, 0, {"a": 1_000_000, "b": 5_000_000}),
        (["4M", "3M"], {"a": [], "b": []}, 3_000_000, {}),
    ],
)
def test_of_several_limits_in_one_place_the_least_counts(
    own: list[str], apps: dict[str, list[str]], pod: int, of_apps: dict[str, int]
) -> None:
    rates = Rates.of(manifest(own, **apps))
    assert (rates.pod, rates.apps) == (pod, of_apps)
    assert rates.least == min(filter(None, (pod, *of_apps.values())), default=0)


def test_what_is_lacking_is_told_where_it_is() -> None:
    assert Unlimited().rows("web") == []
    shared = Unlimited(apps=["here", "there"])
    assert shared.rows("web") == [("web", "links", "modified", "applied to the pod: here; there")]
    assert shared.rows("") == []
    both = Unlimited(["no end"], ["here"])
    assert [row[:3] for row in both.rows("")] == [("", "links", "ignored")]
    assert [row[2] for row in both.rows("web")] == ["ignored", "modified"]
