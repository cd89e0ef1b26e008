"""The directories of a pod, as they are before anything runs."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.pods.layout import Pod

SUBDIRECTORIES = ("apps", "config", "images", "logs", "status", "volumes")


def make(pod: Pod) -> None:
    """Make the directories that every pod has, and the one it is moved to at its end. Raises OSError."""
    for name in SUBDIRECTORIES:
        os.mkdir(pod.file(name), 0o700)
    os.makedirs(f"{pod.root}/pods/exited", 0o700, exist_ok=True)


def make_app(pod: Pod, app: str) -> str:
    """Make the directory of an app, with the place its root is mounted at, and return its path. Raises OSError."""
    directory = pod.file(f"apps/{app}")
    os.mkdir(directory, 0o700)
    os.mkdir(f"{directory}/rootfs", 0o755)
    return directory


def make_layer(directory: str, lower: str) -> None:
    """Make an app's own layer over the tree `lower`, in the app's directory. Raises OSError."""
    os.mkdir(f"{directory}/upper", 0o755)
    os.mkdir(f"{directory}/work", 0o755)
    # The app sees the upper's own mode and owner as those of "/".
    top = os.stat(lower)
    os.chown(f"{directory}/upper", top.st_uid, top.st_gid)
    os.chmod(f"{directory}/upper", top.st_mode & 0o7777)
