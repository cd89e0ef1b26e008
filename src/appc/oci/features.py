"""`features`: what is supported, in the form of the runtime-spec's features.md."""

from __future__ import annotations

import sys

from appc.abi import CAPABILITY_BITS
from appc.oci.scope import ANNOTATION
from appc.plan.compile_keeper import HOOKS
from appc.plan.compile_mounts import SUPPORTED
from appc.plan.constants import NAMESPACES, SECCOMP_FLAGS
from appc.schema.json import dumps
from appc.schema.oci_runtime import MEMORY_FLAGS, MEMORY_MODES, OCI_VERSION
from appc.schema.oci_seccomp import ACTIONS, ARCHITECTURES, OPERATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from appc.oci.main import Context
    from appc.oci.options import Args


def features(checkpoints: bool = False) -> dict[str, Any]:
    """Return the object; nothing is said of what is not supported but where that is the way to say it.

    `checkpoints` tells whether CRIU is installed.
    """
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(SUPPORTED),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(CAPABILITY_BITS),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": list(ACTIONS),
                "operators": list(OPERATORS),
                "archs": list(ARCHITECTURES),
                "knownFlags": list(SECCOMP_FLAGS),
                "supportedFlags": list(SECCOMP_FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
            "memoryPolicy": {"modes": list(MEMORY_MODES), "flags": list(MEMORY_FLAGS)},
        },
        # The specification has no field for it: the name is runc's, which others use, too.
        "annotations": {"org.opencontainers.runc.checkpoint.enabled": "true" if checkpoints else "false"},
        "potentiallyUnsafeConfigAnnotations": [ANNOTATION],
    }


def show(args: Args, context: Context) -> int:
    """Print it."""
    from appc.host import criu

    # Engines ask often. Whether this kernel lets CRIU work takes a minute to find out at worst, and is told by those
    # who try: `checkpoint` and `restore`.
    sys.stdout.write(dumps(features(bool(criu.find(context.criu))), 2) + "\n")
    return 0
