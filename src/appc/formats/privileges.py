"""What an image asks for that takes its app out of containment."""

from __future__ import annotations

from appc.schema.isolators import CAPS_RETAIN, SECCOMP_RETAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from appc.schema.isolators import Isolator

# capabilities(7): with one of these, root in a pod becomes root of the host.
OVER_THE_HOST = frozenset(
    ("CAP_BPF", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO")
)
_EVERYTHING = "@appc.io/all"


def dangers(isolators: Iterable[Isolator]) -> list[str]:
    """Return what whoever runs an app with these isolators should know, each as the end of "it makes the app …"."""
    isolators = list(isolators)
    retained = [one.value.set for one in isolators if one.name == CAPS_RETAIN]
    # What is kept is in each of them (formats.enforce).
    kept = OVER_THE_HOST.intersection(*(map(str, names) for names in retained)) if retained else ()
    found = []
    if kept:
        found.append(f"keep {', '.join(sorted(kept))}, with which it can take over the host")
    if any(one.name == SECCOMP_RETAIN and _EVERYTHING in map(str, one.value.set) for one in isolators):
        found.append(f"run without a filter of system calls ({_EVERYTHING})")
    return found
