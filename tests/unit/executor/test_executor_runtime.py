"""What another OCI runtime is given."""

from __future__ import annotations

import os
from pathlib import Path

from pod_on_disk import OnDisk

from appc.executor.runtime import Making
from appc.host.probe import HostFacts
from appc.pods.layout import RUNTIME


def test_a_prepared_pod_can_be_run_after_a_launch_that_was_taken_back(tmp_path: Path) -> None:
    pod = OnDisk(tmp_path, "run").pod
    making = Making(pod, "true", HostFacts())
    making.write_bundles(())
    Path(pod.file(f"{RUNTIME}/left")).touch()
    making.write_bundles(())
    assert os.listdir(pod.file(RUNTIME)) == ["state"]
