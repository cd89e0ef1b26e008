"""What the verbs engines call import: time a node waits for with each of its containers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from appc.oci.options import VERBS
from starter import BANNED, START

# How many modules of ours a verb may import when it is called.
MOST = {"create": 46, "start": 14, "state": 13, "kill": 14, "delete": 14, "exec": 47}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_imports_nothing_dear_and_few_modules(verb: str) -> None:
    name = "appc.oci." + VERBS[verb][3].partition(".")[0]
    code = f"{START}; import appc.oci.main, {name}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    modules = result.stdout.split()
    assert not BANNED & set(modules)
    ours = sorted(module for module in modules if module.partition(".")[0] == "appc")
    assert len(ours) <= MOST.get(verb, 60), ours
