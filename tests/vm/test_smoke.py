"""The root tests again, in a virtual machine with pure cgroup v2, every controller and Debian's kernel."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from vm import suite


def test_control_groups_on_pure_v2() -> None:
    assert re.search(r"\d+ passed", suite.run_tests(suite.SMOKE, timeout=900))


def test_what_is_left_to_the_host_is_there() -> None:
    """A file that was renamed would run in the machine from then on."""
    left = [f"{suite.TESTS}/{path}" for paths in suite.HOST_ONLY.values() for path in paths]
    assert [path for path in (*suite.SMOKE, *left) if not (suite.ROOT / path).exists()] == []


@pytest.mark.slow
def test_everything_in_which_the_kernel_has_a_say() -> None:
    """In two machines at once, of a processor each: emulating one keeps one busy, and emulating two is slower."""
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda half: suite.attempt(half, timeout=5400, processors=1), suite.halves()))
    complaints = [complaint for _, complaint in outcomes if complaint]
    for output, _ in outcomes:
        print(output)
    if complaints:
        pytest.fail("\n\n".join(complaints), pytrace=False)
    assert all(re.search(r"\d+ passed", output) for output, _ in outcomes)
