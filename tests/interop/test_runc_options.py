"""The command line of `appc-oci` beside the help of the runc that is installed: what engines may write."""

from __future__ import annotations

import re
import subprocess

import pytest

from appc.oci.options import GLOBAL, SHORT_GLOBAL, VERBS
from capabilities import need

pytestmark = pytest.mark.interop

# Verb → options of runc's that there are not; docs/oci-runtime.md says so.
MISSING = {
    "checkpoint": {"--lazy-pages", "--page-server", "--status-fd"},
    "restore": {"--lazy-pages"},
    "update": {"--l3-cache-schema", "--mem-bw-schema"},
}


def explained(*verb: str) -> tuple[set[str], set[str]]:
    """The options and the verbs of which runc's help tells."""
    need("runc")
    said = subprocess.run(["runc", *verb, "--help"], capture_output=True, text=True, check=True).stdout
    options: set[str] = set()
    for line in said.partition("OPTIONS:")[2].splitlines():
        if match := re.match(r" {3}(-.*?)(?: {2}|$)", line):
            options |= set(re.findall(r"(?:^|, )(--?[a-z0-9-]+)", match[1]))
    verbs = said.partition("COMMANDS:")[2].partition("OPTIONS:")[0]
    return options, set(re.findall(r"^ {3}([a-z]+)", verbs, re.MULTILINE))


def test_every_global_option_is_taken() -> None:
    options, verbs = explained()
    assert len(options) > 5
    assert {one for one in options if one.lstrip("-") not in {**GLOBAL, **SHORT_GLOBAL}} == set()
    assert verbs - {"help"} <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_taken_but_those_named(verb: str) -> None:
    known, short, *_ = VERBS[verb]
    missing = {one for one in explained(verb)[0] if one.lstrip("-") not in {**known, **short}}
    # Later versions of runc have lost some.
    assert missing <= MISSING.get(verb, set())
