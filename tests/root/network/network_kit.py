"""What tests of networks share."""

from __future__ import annotations

import re
import subprocess
from typing import NamedTuple

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


class Share(NamedTuple):
    """A class of what leaves by a link (tc-htb(8)): bytes per second, sure and at most, and bytes that left."""

    sure: float
    most: float
    sent: int


def shares(link: str) -> dict[str, Share]:
    """The classes of a link of the host by their handles."""
    words = re.findall(
        r"class htb (\S+) .*? rate (\d+)([KMGT]?)bit ceil (\d+)([KMGT]?)bit .*\n Sent (\d+) bytes",
        sh(f"tc -s class show dev {link}"),
    )
    return {
        handle: Share(*(int(number) * 1000 ** " KMGT".index(unit or " ") / 8 for number, unit in rates), int(sent))
        for handle, *four, sent in words
        for rates in (((four[0], four[1]), (four[2], four[3])),)
    }
