"""What failed in a plan, as the sentence engines look for: some tell "not found" from "not executable" by the words."""

from __future__ import annotations

import errno

from appc.errors import AppcError, LaunchError, NotExecutable, ProgramNotFound
from appc.plan.explain import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.plan.ops import Plan


def failed(plan: Plan, track: str, index: int, number: int, where: str) -> AppcError:
    """Return the error for op `index` of `track` having failed with the errno `number`."""
    ops = next((one.ops for one in plan.tracks if one.name == track), [])
    if index < len(ops) and ops[index].name in ("program", "exec"):
        argv = ops[-1].args[1]
        assert isinstance(argv, tuple)
        return _not_executed(argv[0], number, where)
    return LaunchError(explain(plan, track, index, number), where)


def _not_executed(program: str, number: int, where: str) -> AppcError:
    if number == errno.ENOENT and "/" not in program:
        return ProgramNotFound(f'exec: "{program}": executable file not found in $PATH', where)
    if number == errno.ENOENT:
        return ProgramNotFound(f"exec {program}: no such file or directory", where)
    reasons = {errno.EACCES: "permission denied", errno.ENOEXEC: "exec format error"}
    import os

    text = reasons.get(number) or os.strerror(number).lower()
    return NotExecutable(f"exec {program}: {text}", where)
