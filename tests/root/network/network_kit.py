"""What tests of networks share."""

from __future__ import annotations

import subprocess

SERVER = "example.com/server"


def sh(command: str) -> str:
    """Run a command of the host and return what it prints."""
    done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def state_of_the_host() -> str:
    """The links, routes and packet filters there are."""
    return sh(
        "ip -o link | cut -d' ' -f2; ip route | sed 's, linkdown,,'; ip -6 route show proto boot; nft list ruleset"
    )
