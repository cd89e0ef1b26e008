"""Which AppArmor profiles are loaded (apparmor(7); the kernel's securityfs)."""

from __future__ import annotations

from appc.errors import Unenforceable

_PROFILES = "/sys/kernel/security/apparmor/profiles"
_UNCONFINED = "unconfined"


def missing(profile: str, listing: str = _PROFILES) -> str:
    """Return the part of `profile`, which may be a stack `A//&B`, that is not loaded; "" when all of it is, or when the
    kernel does not show what is."""
    loaded = {_UNCONFINED}
    try:
        with open(listing, encoding="utf-8", errors="surrogateescape") as stream:
            # A line is `NAME (MODE)`, and names may hold blanks.
            loaded.update(line.rstrip().rpartition(" (")[0] for line in stream)
    except OSError:
        return ""
    # A name that begins with a colon is one of another namespace, whose profiles are not shown here.
    return next((name for name in profile.split("//&") if name not in loaded and not name.startswith(":")), "")


def require(profile: str, where: str) -> None:
    """Raise Unenforceable for a profile that is not loaded (ace.md, apparmor-profile, note 6)."""
    lacking = missing(profile)
    if lacking:
        hint = "apparmor_parser --replace FILE loads one; aa-status shows which are loaded"
        raise Unenforceable(f"no AppArmor profile called {lacking} is loaded", where, hint)
