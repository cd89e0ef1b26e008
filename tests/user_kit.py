"""An ordinary user made for a test; files are mounted over those of the machine's /etc, which stay as they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

UID = 12345
NAME = "tester"
FIRST, COUNT = 300_000, 65_536
RANGES = f"{NAME}:{FIRST}:{COUNT}\n"

TUN = "/dev/net/tun"
PROJECT = Path(__file__).resolve().parents[1]

_MOUNTS = (
    ("passwd", "/etc/passwd"),
    ("group", "/etc/group"),
    ("ranges", "/etc/subuid"),
    ("ranges", "/etc/subgid"),
    ("tun", TUN),
)


def make_user(base: Path, ranges: str = RANGES) -> None:
    """Make a user whose home is `base`/home; `ranges` are its lines of /etc/subuid and /etc/subgid."""
    base.chmod(0o755)
    passwd = f"{NAME}:x:{UID}:{UID}::{base}/home:/bin/sh\n"
    (base / "passwd").write_text(Path("/etc/passwd").read_text() + passwd)
    (base / "group").write_text(Path("/etc/group").read_text() + f"{NAME}:x:{UID}:\n")
    (base / "ranges").write_text(ranges)
    if os.path.exists(TUN):
        # For everybody, as distributions have it.
        os.mknod(base / "tun", stat.S_IFCHR, os.stat(TUN).st_rdev)
        (base / "tun").chmod(0o666)
    for directory in ("home", "runtime"):
        (base / directory).mkdir(mode=0o700)
        os.chown(base / directory, UID, UID)


def as_user(base: Path, *words: str, instead: Mapping[str, str] | None = None) -> list[str]:
    """Return the words that run a command as that user, on a machine that has other files `instead` of some."""
    mounts = {path: f"{base}/{mine}" for mine, path in _MOUNTS if (base / mine).exists()} | dict(instead or {})
    script = _opened(base) + "; ".join(f"mount --bind {source} {path}" for path, source in mounts.items())
    become = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", *words]
    return ["unshare", "--mount", "sh", "-c", f'{script}; cd /; exec "$@"', "sh", *become]


def closed() -> Path | None:
    """The first directory above the project that other users may not enter, such as root's home."""
    return next((path for path in reversed(PROJECT.parents) if not path.stat().st_mode & 0o001), None)


def _opened(base: Path) -> str:
    """Commands that put a directory that anybody may enter in the place of the closed one, with the project alone."""
    above = closed()
    if above is None:
        return ""
    way = base / "project"
    way.mkdir(exist_ok=True)
    return (
        f"mount --bind {PROJECT} {way}; mount -t tmpfs -o mode=755 none {above}; mkdir -p {PROJECT}; "
        f"mount --bind {way} {PROJECT}; "
    )


def environment(base: Path) -> dict[str, str]:
    """Return the environment of the user's commands."""
    home = f"{base}/home"
    return {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "XDG_DATA_HOME": f"{home}/data",
        "XDG_RUNTIME_DIR": f"{base}/runtime",
    }
