"""What Go, the OCI and uname(2) call the machines that the labels `os` and `arch` name."""

from __future__ import annotations

from appc.errors import InvalidValue

# (os, appc arch) → (Go arch, variant). The OCI writes variants as v6, v7.
_TO_GO = {
    ("linux", "amd64"): ("amd64", ""),
    ("linux", "i386"): ("386", ""),
    ("linux", "aarch64"): ("arm64", ""),
    ("linux", "aarch64_be"): ("arm64be", ""),
    ("linux", "armv6l"): ("arm", "6"),
    ("linux", "armv7l"): ("arm", "7"),
    ("linux", "armv7b"): ("armbe", "7"),
    ("linux", "ppc64"): ("ppc64", ""),
    ("linux", "ppc64le"): ("ppc64le", ""),
    ("linux", "s390x"): ("s390x", ""),
    ("freebsd", "amd64"): ("amd64", ""),
    ("freebsd", "i386"): ("386", ""),
    ("freebsd", "arm"): ("arm", "6"),
    ("darwin", "x86_64"): ("amd64", ""),
    ("darwin", "i386"): ("386", ""),
}
_FROM_GO = {(os, *go): arch for (os, arch), go in _TO_GO.items()}
# Names with no variant, or one that makes no difference to appc.
_FROM_GO |= {
    ("linux", "amd64", "1"): "amd64",
    ("linux", "arm", ""): "armv6l",
    ("linux", "armbe", ""): "armv7b",
    ("linux", "arm64", "8"): "aarch64",
    ("freebsd", "arm", ""): "arm",
    ("freebsd", "arm", "5"): "arm",
    ("freebsd", "arm", "7"): "arm",
}
# What else a machine executes, best first: every ARMv7 what was made for ARMv6.
_ALSO_RUNS = {("linux", "armv7l"): ("armv6l",)}
# What uname(2) calls a Linux machine, where that is not the appc name.
_MACHINES = {"x86_64": "amd64", "i486": "i386", "i586": "i386", "i686": "i386", "armv8l": "armv7l"}


def from_go(os: str, architecture: str, variant: str = "") -> tuple[str, str]:
    """The labels `os` and `arch` of a Go or OCI platform such as linux/arm/v7; raises InvalidValue for others."""
    arch = _FROM_GO.get((os, architecture, variant.removeprefix("v")))
    if arch is None:
        words = "/".join(word for word in (os, architecture, variant) if word)
        raise InvalidValue("no os and arch labels stand for this platform", words)
    return os, arch


def to_go(os: str, arch: str) -> tuple[str, str, str]:
    """The Go or OCI names (os, architecture, variant) of a pair of labels; the variant is "", "6" or "7".

    Raises InvalidValue for a pair outside the table.
    """
    names = _TO_GO.get((os, arch))
    if names is None:
        raise InvalidValue("no Go or OCI platform stands for these labels", f"os={os},arch={arch}")
    return os, *names


def runs(os: str, arch: str) -> tuple[tuple[str, str], ...]:
    """The pairs of labels whose images a machine with this pair executes, the best first."""
    return ((os, arch), *((os, also) for also in _ALSO_RUNS.get((os, arch), ())))


def from_machine(machine: str) -> str:
    """The label `arch` of a Linux machine as uname(2) names it, such as x86_64; unknown names are kept."""
    return _MACHINES.get(machine, machine)
