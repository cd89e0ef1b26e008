"""What is looked at before a restored process runs."""

from __future__ import annotations

import os
from typing import Any

import pytest

from appc.errors import HostError
from appc.oci.restore import check_groups


def own_groups() -> list[tuple[str, str]]:
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    return [(name, path) for _, names, path in lines for name in names.split(",")]


def test_a_process_is_in_its_groups_or_below() -> None:
    groups = own_groups()
    assert groups
    check_groups(os.getpid(), groups, {}, "one")
    for name, path in groups:
        with pytest.raises(HostError, match="one: the image does not restore it to its control groups"):
            check_groups(os.getpid(), [(name, path.rstrip("/") + "/other")], {}, "one")


def test_a_namespace_of_its_own_is_not_the_callers() -> None:
    config: dict[str, Any] = {"linux": {"namespaces": [{"type": "cgroup"}]}}
    with pytest.raises(HostError, match="control group namespace"):
        check_groups(os.getpid(), [], config, "one")
