"""`exec`: a command beside a container's process."""

from __future__ import annotations

import os

from appc.errors import AppcError, PodStateError, Unenforceable, UsageError
from appc.host import probe
from appc.launch import spawn
from appc.oci.container import CREATED, PAUSED, RUNNING, find
from appc.oci.home import with_home
from appc.oci.make import ENVIRONMENT, explain, refuse_options, seccomp, wait
from appc.plan import wire
from appc.plan.compile_container import compile_exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    if args.options("cgroup"):
        raise Unenforceable("joining another control group is not supported", "--cgroup")
    config = container.config()
    config["process"] = with_home(_process(args, config["process"]), f"/proc/{container.pid()}/root")
    detached = args.flag("detach")
    refuse_options(args, detached, bool(config["process"].get("terminal")))
    facts = probe.facts()
    plan = compile_exec(
        config,
        pid=container.pid(),
        facts=facts,
        cgroups=container.cgroups,
        seccomp=seccomp(config, facts),
        keyring=f"_ses.{container.name}",
        console=os.path.abspath(args.option("console-socket")) if args.option("console-socket") else "",
        pid_file=os.path.abspath(args.option("pid-file")) if args.option("pid-file") else "",
        detached=detached,
    )
    keeper, reader = spawn.spawn_here(wire.encode(plan), "", ENVIRONMENT)
    report = spawn.read_report(reader)
    if not report.ready:
        os.waitpid(keeper, 0)
        raise explain(plan, report, f"exec in {container.name}")
    if detached:
        os.waitpid(keeper, 0)
        return 0
    return wait(keeper)


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
    process = {**container, "args": args.words[1:], "terminal": args.flag("tty")}
    process.pop("consoleSize", None)
    process["env"] = [*(container.get("env") or ()), *args.options("env")]
    for option, field in (("cwd", "cwd"), ("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if args.option(option):
            process[field] = args.option(option)
    if args.flag("no-new-privs"):
        process["noNewPrivileges"] = True
    if args.option("user"):
        process["user"] = _user(args.option("user"))
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
    user = {"uid": _number(uid, "--user"), "gid": 0}
    if colon:
        user["gid"] = _number(gid, "--user")
    return user


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 0xFFFFFFFE:
        raise AppcError(f"{text!r} is not the number of a user or group", where)
    return int(text)
