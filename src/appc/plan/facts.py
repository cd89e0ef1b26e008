"""What of the host's facts the compiler looks at: `appc.host.probe.HostFacts` has it, tests make their own."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Facts(Protocol):
        """Attributes of the host, as data.

        `cgroup` is "v1", "hybrid", "v2" or "none"; `controllers` maps a controller to the mount point of its
        hierarchy; `unified` is the mount point of cgroup2 or ""; `caps` and `bounding` are masks of this process.
        """

        @property
        def cgroup(self) -> str: ...
        @property
        def controllers(self) -> dict[str, str]: ...
        @property
        def unified(self) -> str: ...
        @property
        def kernel(self) -> tuple[int, int]: ...
        @property
        def caps(self) -> int: ...
        @property
        def bounding(self) -> int: ...
        @property
        def initial_userns(self) -> bool: ...
        @property
        def setgroups(self) -> bool: ...
        @property
        def selinux(self) -> bool: ...
        @property
        def apparmor(self) -> bool: ...

        def as_text(self) -> dict[str, str]:
            """Return the facts for the header of a plan."""
            ...
