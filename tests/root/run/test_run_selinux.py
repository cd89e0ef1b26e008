"""`os/linux/selinux-context` where SELinux enforces the policy of tests/vm/selinux.conf, which tests/vm/test_selinux.py
loads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pod_kit import PROBE, Appc

from appc.host import libc

pytestmark = pytest.mark.root

CONFINED = "system_u:system_r:confined_t:s0"
SCRIPT = "cat /proc/self/attr/current; echo; mknod /made c 1 3 && echo made; true"
SHELL = ("--exec", "/bin/sh", "--", "-c", SCRIPT)


@pytest.fixture(autouse=True, scope="module")
def _policy() -> None:
    """Load the policy and have it enforced; what was begun before goes on as kernel_t."""
    policy = os.environ.get("APPC_SELINUX_POLICY")
    if not policy:
        pytest.skip("SELinux is not enabled with the policy of these tests")
    libc.mount("selinuxfs", "/sys/fs/selinux", "selinuxfs", 0)
    Path("/sys/fs/selinux/load").write_bytes(Path(policy).read_bytes())
    Path("/sys/fs/selinux/enforce").write_text("1")


def context(text: str) -> tuple[str, str]:
    """The option that asks for a context."""
    fields = zip(("user", "role", "type", "level"), text.split(":", 3), strict=True)
    return "--isolator", "os/linux/selinux-context," + ",".join(f"{key}={value}" for key, value in fields)


@pytest.mark.parametrize("scope", ["app", "pod"])
def test_a_context_takes_away_what_capabilities_would_let(appc: Appc, scope: str) -> None:
    words = context(CONFINED)
    done = appc.run(*words, PROBE, *SHELL) if scope == "pod" else appc.run(PROBE, *words, *SHELL)
    assert done.out == f"{CONFINED}\0\n", done
    assert "mknod: /made: Operation not permitted" in done.err
    (row,) = appc.status(appc.the_pod().uuid)["isolators"]
    assert (row["name"], row["outcome"]) == ("os/linux/selinux-context", "enforced")


def test_without_one_an_app_is_what_appc_is(appc: Appc) -> None:
    assert appc.run(PROBE, *SHELL).out == "system_u:system_r:kernel_t:s0\0\nmade\n"


def test_an_apps_context_goes_before_the_pods(appc: Appc) -> None:
    done = appc.run(*context("system_u:system_r:kernel_t:s0"), PROBE, *context(CONFINED), *SHELL)
    assert done.out == f"{CONFINED}\0\n"


def test_a_context_the_policy_does_not_know_ends_the_launch(appc: Appc) -> None:
    done = appc.run(PROBE, *context("system_u:system_r:absent_t:s0"), "--", "echo", "ran")
    assert (done.status, done.out) == (125, "")
    assert "the kernel does not know it" in done.err
