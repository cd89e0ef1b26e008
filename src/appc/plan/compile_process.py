"""The process of a container: from `process` and `linux.seccomp` to the ops that turn appc-init into it.

The order is law (see `check`): label, bounding set, ids, then with no_new_privs final capabilities, the
flag and the filter; without it the filter while CAP_SYS_ADMIN is held, then the final capabilities.
"""

from __future__ import annotations

from appc.abi import CAPABILITY_BITS
from appc.errors import AppcError, Unenforceable
from appc.plan.constants import ENOSYS, RLIMITS, SECCOMP_FLAGS, SECCOMP_NEW_LISTENER, SIGKILL
from appc.plan.ops import UNLIMITED, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.plan.facts import Facts

# exec(3) without PATH: the working directory, then confstr(_CS_PATH).
FALLBACK_PATH = ":/bin:/usr/bin"
DEFAULT_UMASK = 0o022  # what appc-init gives an app that is told nothing
_SYS_ADMIN = 1 << CAPABILITY_BITS["CAP_SYS_ADMIN"]
# Fields of `process` and of `linux` that few have.
_SCHEDULED = frozenset(("scheduler", "ioPriority", "memoryPolicy", "personality"))
_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def process_ops(
    config: Mapping[str, Any],
    facts: Facts,
    seccomp: bytes | None,
    keyring: str,
    warnings: list[str],
    *,
    detached: bool = False,
    awaits_start: bool = False,
    in_user: bool = False,
    sockets: int = 0,
    start_hooks: Sequence[Op] = (),
) -> list[Op]:
    """Return the ops from the first limit to exec.

    A process `in_user`, in a user namespace of its container's, was given its limits before (`limit_ops`), and has
    every capability there.

    `seccomp` is the program for `linux.seccomp`; `keyring` names a session keyring to join ("" = stay in the
    caller's). A `detached` process outlives its keeper; one that `awaits_start` does so with its privileges dropped,
    as far as the filter lets it, and then come `start_hooks`. It finds `sockets` of its keeper's open. Capabilities
    that cannot be granted are told in `warnings` (runtime-spec: SHOULD NOT fail). Raises AppcError, naming the field,
    for what cannot be honoured.
    """
    process = config["process"]
    user = process.get("user") or {}
    ops = [] if in_user else limit_ops(config)
    if user.get("umask", DEFAULT_UMASK) != DEFAULT_UMASK:
        ops.append(Op("umask", user["umask"], source="process.user.umask"))
    if keyring:
        ops.append(Op("keyring", keyring, tolerate=(ENOSYS,), source="appc"))
    # While root still reads everything: a user need not be allowed to walk to where it works.
    ops.append(Op("chdir", process["cwd"], source="process.cwd"))
    executed = _exec(process)
    granted = (1 << 64) - 1 if in_user else facts.caps & facts.bounding
    if awaits_start:
        ops.append(Op("program", executed.args[0], source="process.args"))
    ops += _labels(process, facts)
    if sockets:
        # The numbers they get may have been those of descriptors that were needed up to here.
        ops.append(Op("sockets", sockets, source="appc"))
    waiting = [Op("await-start", source="appc")] if awaits_start else []
    groups = tuple(str(group) for group in user.get("additionalGids") or ())
    if not facts.setgroups and not in_user:
        if groups:
            raise Unenforceable("nobody may change groups in this user namespace", "process.user.additionalGids")
        groups = ("keep",)
    waiting += start_hooks
    ops += _privileges(config, granted, seccomp, warnings, 0 if detached else SIGKILL, waiting, groups)
    ops.append(executed)
    return ops


def console(process: Mapping[str, Any]) -> Op:
    """Return the op that makes the terminal of `process`."""
    size = process.get("consoleSize") or {}
    # What the kernel cannot store is as good as unset.
    height, width = (min(size.get(name, 0), 0xFFFF) for name in ("height", "width"))
    return Op("console", height, width, source="process.terminal")


def limit_ops(config: Mapping[str, Any]) -> list[Op]:
    """Return the ops for what only a privileged process may raise."""
    process, linux = config["process"], config.get("linux") or {}
    ops = _limits(process)
    if process.keys() & _SCHEDULED or linux.keys() & _SCHEDULED:
        from appc.plan.compile_scheduling import scheduling_ops

        ops += scheduling_ops(config)
    if process.get("oomScoreAdj") is not None:
        ops.append(Op("oom-score-adj", str(process["oomScoreAdj"]), source="process.oomScoreAdj"))
    return ops


def _limits(process: Mapping[str, Any]) -> list[Op]:
    ops = []
    seen = set()
    for index, limit in enumerate(process.get("rlimits") or ()):
        where, kind = f"process.rlimits[{index}]", limit["type"]
        if kind not in RLIMITS:
            raise Unenforceable(f"Linux has no limit {kind}", f"{where}.type")
        if kind in seen:
            raise AppcError(f"{kind} is given twice", f"{where}.type")
        if limit["soft"] > limit["hard"]:
            raise AppcError(f"soft limit {limit['soft']} exceeds the hard limit {limit['hard']}", f"{where}.soft")
        seen.add(kind)
        soft, hard = min(limit["soft"], UNLIMITED), min(limit["hard"], UNLIMITED)
        ops.append(Op("rlimit", RLIMITS.index(kind), soft, hard, source=where))
    return ops


def _labels(process: Mapping[str, Any], facts: Facts) -> list[Op]:
    ops = []
    for field, lsm, enabled in (
        ("selinuxLabel", "selinux", facts.selinux),
        ("apparmorProfile", "apparmor", facts.apparmor),
    ):
        label = process.get(field)
        if label and not enabled:
            raise Unenforceable(f"{lsm} is not enabled on this host", f"process.{field}")
        if label:
            ops.append(Op("label", lsm, label, source=f"process.{field}"))
    return ops


def _privileges(
    config: Mapping[str, Any],
    granted: int,
    seccomp: bytes | None,
    warnings: list[str],
    death_signal: int,
    waiting: Sequence[Op],
    groups: tuple[str, ...],
) -> list[Op]:
    process = config["process"]
    user = process.get("user") or {}
    bounding, effective, permitted, inheritable, ambient = _capabilities(process, granted, warnings)
    last = Op("caps", effective, permitted, inheritable, ambient, source="process.capabilities")
    ops = [
        Op("bounding", bounding, source="process.capabilities.bounding"),
        Op("ids", user.get("uid", 0), user.get("gid", 0), groups, source="process.user"),
        # The kernel forgets it when ids change, so it comes after.
        Op("death-signal", death_signal, source="appc"),
    ]
    filters = _filter(config, seccomp)
    if process.get("noNewPrivileges"):
        return [*ops, last, *waiting, Op("no-new-privs", source="process.noNewPrivileges"), *filters]
    ops += waiting
    if filters and user.get("uid", 0):
        # A change to an unprivileged user takes effective capabilities away, and without no_new_privs
        # the kernel takes a filter only from who has this one.
        ops.append(Op("caps", _SYS_ADMIN, permitted | _SYS_ADMIN, 0, 0, source="linux.seccomp"))
    return [*ops, *filters, last]


def _filter(config: Mapping[str, Any], program: bytes | None) -> list[Op]:
    section = (config.get("linux") or {}).get("seccomp")
    if not section:
        return []
    if not program:
        raise AppcError("no filter was built for this section", "linux.seccomp")
    flags = 0
    for index, name in enumerate(section.get("flags") or ()):
        if name not in SECCOMP_FLAGS:
            raise Unenforceable(f"there is no flag {name}", f"linux.seccomp.flags[{index}]")
        flags |= SECCOMP_FLAGS[name]
    if notifies(section):
        # With a listener the kernel does not synchronize threads, and there are none yet.
        flags = flags & ~SECCOMP_FLAGS["SECCOMP_FILTER_FLAG_TSYNC"] | SECCOMP_NEW_LISTENER
    return [Op("seccomp", flags, program, source="linux.seccomp")]


def notifies(section: Mapping[str, Any]) -> bool:
    """Tell whether a filter leaves calls to an agent."""
    return any(rule["action"] == "SCMP_ACT_NOTIFY" for rule in section.get("syscalls") or ())


def _capabilities(process: Mapping[str, Any], granted: int, warnings: list[str]) -> tuple[int, int, int, int, int]:
    """Return the masks of the five sets, each reduced to what the host and the other sets allow."""
    sets = process.get("capabilities") or {}
    masks = {}
    for name in _SETS:
        mask = 0
        for index, capability in enumerate(sets.get(name) or ()):
            bit = 1 << CAPABILITY_BITS.get(capability, 64)
            if bit & granted:
                mask |= bit
            else:
                warnings.append(f"process.capabilities.{name}[{index}]: this host does not grant {capability}")
        masks[name] = mask
    permitted = masks["permitted"]
    # The kernel refuses sets that are not within each other, and the whole call with them.
    effective, inheritable = masks["effective"] & permitted, masks["inheritable"] & masks["bounding"]
    ambient = masks["ambient"] & permitted & inheritable
    if ambient != masks["ambient"]:
        warnings.append("process.capabilities.ambient: only what is permitted and inheritable can be ambient")
    return masks["bounding"], effective, permitted, inheritable, ambient


def _exec(process: Mapping[str, Any]) -> Op:
    args, environment = tuple(process.get("args") or ()), tuple(process.get("env") or ())
    if not args:
        raise AppcError("at least one argument is needed: the program", "process.args")
    return Op("exec", candidates(args[0], environment, process["cwd"]), args, environment, source="process.args")


def candidates(name: str, environment: Sequence[str], cwd: str) -> tuple[str, ...]:
    """Return the files to try for a program, in order, as exec(3) searches: a name with a slash is itself."""
    if "/" in name:
        return (name,)
    # The first of several counts, as getenv(3) would find it.
    path = next((entry[5:] for entry in environment if entry.startswith("PATH=")), FALLBACK_PATH)
    found = []
    for directory in path.split(":"):
        # An empty part means the working directory, a relative one begins there.
        place = directory if directory.startswith("/") else f"{cwd.rstrip('/')}/{directory}"
        candidate = f"{place.rstrip('/')}/{name}"
        if candidate not in found:
            found.append(candidate)
    return tuple(found)
