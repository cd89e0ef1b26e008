"""A plan as text: what `appc plan` prints, and what golden tests compare."""

from __future__ import annotations

from appc.abi import errno_name
from appc.plan.words import arguments, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.plan.ops import Op, Plan, Track

_COLUMN = 72  # where sources begin, when the op leaves room
_SHORT_WIDTH = 100


def show(plan: Plan, short: bool = False) -> str:
    """Return `plan` as text: the facts it rests on, then every track with its ops numbered from 0.

    The numbers are those error messages and records give. A line ends with `# ` and the field the op came from.
    `short`: runs of the same op on one line, without sources.
    """
    lines = [f"# {key}: {value}" for key, value in plan.facts.items()]
    for track in plan.tracks:
        lines += ["", f"{track.name}:"] if lines else [f"{track.name}:"]
        lines += _brief(track) if short else [_line(index, op) for index, op in enumerate(track.ops)]
    return "\n".join(lines) + "\n"


def _line(index: int, op: Op) -> str:
    words = [f"{index:4}  {op.name}", *arguments(op)]
    if op.tolerate:
        words.append(f"tolerate={','.join(errno_name(number) for number in op.tolerate)}")
    text = " ".join(words)
    return f"{text:<{_COLUMN}} # {op.source}" if op.source else text


def _brief(track: Track) -> list[str]:
    """One line for each run of the same op: the first number, how often, and what each is about."""
    kept = [(index, op) for index, op in enumerate(track.ops) if not _prepares(track.ops, index)]
    lines = []
    start = 0
    while start < len(kept):
        index, first = kept[start]
        end = start
        while end < len(kept) and kept[end][1].name == first.name:
            end += 1
        count = f" ×{end - start}" if end - start > 1 else ""
        subjects = " ".join(filter(None, [_subject(op) for _, op in kept[start:end]]))
        text = f"{index:4}  {first.name}{count} {subjects}".rstrip()
        lines.append(text if len(text) <= _SHORT_WIDTH else text[: _SHORT_WIDTH - 1] + "…")
        start = end
    return lines


def _prepares(ops: list[Op], index: int) -> bool:
    """Tell whether an op only makes the place of the mount that comes next."""
    if ops[index].name not in ("mkdir", "file", "remove"):
        return False
    after = next((op for op in ops[index + 1 :] if op.name not in ("mkdir", "file")), None)
    if after is None or after.name not in ("mount", "bind"):
        return False
    target, place = str(after.args[2 if after.name == "mount" else 1]), str(ops[index].args[0])
    return target == place or target.startswith(place + "/")


# Op → position of the argument it is about, where that is not the path (or else the first).
_SUBJECTS = {"exec": 1, "ids": 0, "symlink": 1, "root-overlay": 0}


def _subject(op: Op) -> str:
    """Return the one argument that tells an op from others of its kind."""
    if op.name in ("mount", "bind"):
        source = op.args[1] if op.name == "bind" else op.args[2]
        return quoted(str(source))
    if op.name in ("bounding", "caps", "seccomp", "supervise", "rmdir-cgroup", "ids", "join", "unshare", "init"):
        words = arguments(op)
        return words[0] if words else ""
    if not op.args:
        return ""
    value = op.args[_SUBJECTS.get(op.name, 0)]
    return quoted(" ".join(value) if isinstance(value, tuple) else str(value))
