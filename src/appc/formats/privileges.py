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
    # Of several sets of capabilities the last one counts.
    last = {str(isolator.name): isolator.value for isolator in isolators}
    found = []
    if CAPS_RETAIN in last:
        kept = OVER_THE_HOST.intersection(str(capability) for capability in last[CAPS_RETAIN].set)
        if kept:
            found.append(f"keep {', '.join(sorted(kept))}, with which it can take over the host")
    if SECCOMP_RETAIN in last and _EVERYTHING in [str(call) for call in last[SECCOMP_RETAIN].set]:
        found.append(f"run without a filter of system calls ({_EVERYTHING})")
    return found
