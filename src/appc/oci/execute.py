"""`exec`: a command beside a container's process."""

from __future__ import annotations

import os

from appc.errors import AppcError, PodStateError, UsageError
from appc.host import cgroupfs, probe, procs
from appc.launch import spawn
from appc.oci.container import CREATED, PAUSED, RUNNING, find
from appc.oci.handles import handles, with_listened
from appc.oci.home import with_home
from appc.oci.running import ENVIRONMENT, explain, seccomp, tell_warnings, wait
from appc.plan import wire
from appc.plan.compile_exec import compile_exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from appc.host.probe import HostFacts
    from appc.oci.container import Container
    from appc.oci.main import Context
    from appc.oci.options import Args

_GRANTED = ("bounding", "effective", "permitted")


def execute(args: Args, context: Context) -> int:
    """Run a command; return its status, unless it is detached."""
    container = find(context.root, args.words[0])
    status = container.status()
    if status == PAUSED and not args.flag("ignore-paused"):
        raise PodStateError("cannot exec in a paused container (use --ignore-paused to override)", container.name)
    if status not in (RUNNING, CREATED, PAUSED):
        raise PodStateError("cannot exec in a stopped container", container.name)
    config = container.config()
    detached = args.flag("detach")
    facts = probe.facts()
    target = container.process()
    groups = sub_groups(container.cgroups, args.options("cgroup"), facts)
    if facts.unified and not args.options("cgroup"):
        groups = [_inhabitable(group, target[0], facts.unified) for group in groups]
    config["process"] = with_listened(_with_home(_process(args, config.get("process") or {}), *target))
    given = handles(args, detached, bool(config["process"].get("terminal")))
    warnings: list[str] = []
    plan = compile_exec(
        config,
        target=target,
        facts=facts,
        cgroups=groups,
        seccomp=seccomp(config, facts),
        keyring=f"_ses.{container.name}",
        agent_state=_agent_state(config, container),
        handles=given,
        detached=detached,
        warnings=warnings,
    )
    keeper, reader = spawn.spawn_here(wire.encode(plan), "", ENVIRONMENT, given.descriptors)
    report = spawn.read_report(reader)
    if not report.ready:
        os.waitpid(keeper, 0)
        raise explain(plan, report, f"exec in {container.name}")
    tell_warnings(warnings, context)
    if detached:
        os.waitpid(keeper, 0)
        return 0
    return wait(keeper)


def _with_home(process: dict[str, Any], pid: int, started: int) -> dict[str, Any]:
    """Return `process` with HOME as the container's root has it."""
    # What is opened stays this process's, whoever gets the number later.
    fd = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not procs.is_alive(pid, started):
            raise PodStateError("cannot exec in a stopped container", str(pid))
        return with_home(process, f"/proc/self/fd/{fd}/root")
    finally:
        os.close(fd)


def _agent_state(config: dict[str, Any], container: Container) -> tuple[str, ...]:
    section = config["linux"].get("seccomp") or {}
    if not section.get("listenerPath"):
        return ()
    from appc.oci.agent import state_texts

    state = container.state()
    return state_texts(section, state, state["pid"])


def sub_groups(groups: Sequence[str], options: Sequence[str], facts: HostFacts) -> list[str]:
    """Return the groups of a command: the container's, or what is below them as `--cgroup [CONTROLLERS:]PATH` says.

    AppcError for one that does not exist, or that is not the container's own.
    """
    chosen = list(groups)
    for option in options:
        controllers, colon, path = option.rpartition(":")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise AppcError(f"{path} leads out of the container's control group", "--cgroup")
        wanted = set(controllers.split(",")) if colon else set()
        places = {place for name, place in facts.controllers.items() if name in wanted}
        if wanted and (len(places) == 0 or not wanted <= {*facts.controllers}):
            raise AppcError(f"there is no hierarchy of {controllers}", "--cgroup")
        for index, group in enumerate(groups):
            if wanted and not any((group + "/").startswith(place + "/") for place in places):
                continue
            chosen[index] = "/".join((group, *parts))
            if not os.path.isdir(chosen[index]):
                raise AppcError(f"the container has no control group {path}", "--cgroup")
    return chosen


def _inhabitable(group: str, pid: int, unified: str) -> str:
    """Return the group that a command comes into: a container's own, or that of its first process `pid` below it.

    Where the container has given controllers to groups below its own, as systemd does, its own can have no processes
    (cgroup-v2, "No Internal Process Constraint").
    """
    if not f"{group}/".startswith(f"{unified}/"):
        return group
    try:
        if not cgroupfs.read(f"{group}/cgroup.subtree_control").strip():
            return group
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            place = next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), "")
    except OSError:
        return group
    return unified + place if f"{unified}{place}/".startswith(f"{group}/") else group


def _process(args: Args, container: dict[str, Any]) -> dict[str, Any]:
    """Return the process to run: that of --process, or the container's with what the options change."""
    path = args.option("process")
    if path:
        from appc.schema.json import loads
        from appc.schema.kinds import Faults
        from appc.schema.oci_runtime import PROCESS

        with open(path, "rb") as file:
            process: dict[str, Any] = loads(file.read())
        faults = Faults()
        PROCESS(process, faults)
        faults.check()
        return process
    if len(args.words) < 2:
        raise UsageError("process args cannot be empty", "exec")
    process = {"cwd": "/", **container, "args": args.words[1:], "terminal": args.flag("tty")}
    process.pop("consoleSize", None)
    process["env"] = [*(container.get("env") or ()), *args.options("env")]
    for option, field in (("cwd", "cwd"), ("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if args.option(option):
            process[field] = args.option(option)
    if args.option("no-new-privs"):
        process["noNewPrivileges"] = args.flag("no-new-privs")
    if args.option("user"):
        # Its groups and mask are the container's: nobody who is not told gets those of root.
        process["user"] = {**(process.get("user") or {}), **_user(args.option("user"))}
    if args.options("additional-gids"):
        groups = [_number(text, "--additional-gids") for text in args.options("additional-gids")]
        user = process.get("user") or {}
        process["user"] = {**user, "additionalGids": [*(user.get("additionalGids") or ()), *groups]}
    if args.options("cap"):
        sets = dict(process.get("capabilities") or {})
        for name in _GRANTED:
            # Never the inheritable ones: those would outlive a change of user.
            sets[name] = [*(sets.get(name) or ()), *args.options("cap")]
        process["capabilities"] = sets
    return process


def _user(text: str) -> dict[str, int]:
    """Parse UID[:GID]; nothing but numbers, since a name that is not understood must not become root."""
    uid, colon, gid = text.partition(":")
    user = {"uid": _number(uid, "--user")}
    if colon:
        user["gid"] = _number(gid, "--user")
    return user


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 0xFFFFFFFE:
        raise AppcError(f"{text!r} is not the number of a user or group", where)
    return int(text)
