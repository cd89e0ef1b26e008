"""Arguments of ops in words: flags by name, modes in octal, filters by size."""

from __future__ import annotations

from appc.abi import capability_names
from appc.plan.constants import (
    ATTR_ATIME,
    ATTR_NOATIME,
    ATTR_STRICTATIME,
    ATTRIBUTES,
    MS_REC,
    NAMESPACES,
    NODE_TYPES,
    PROPAGATION,
    RLIMITS,
    ROOT,
    SECCOMP_FLAGS,
)
from appc.plan.ops import (
    ATTRIBUTES_RECURSIVE,
    BIND_ANEW,
    BIND_NO_SYMLINKS,
    BIND_RECURSIVE,
    OPCODES,
    TABLE,
    TREE_MAPPED,
    TREE_NO_SYMLINKS,
    TREE_PEER,
    TREE_RECURSIVE,
    UNLIMITED,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from appc.plan.ops import Op

_BPF_INSTRUCTION = 8  # bytes
_SPECIAL = frozenset(" \t\n\"'\\#")


def arguments(op: Op) -> list[str]:
    """Return the arguments of `op` as a reader wants them, without those that say nothing."""
    _, signature, _ = TABLE[OPCODES[op.name]]
    words = []
    for (name, _), value in zip(signature, op.args, strict=True):
        formatter = _FORMATS.get((op.name, name), _FORMATS.get(("", name), _plain))
        word = formatter(value)
        if word:
            words.append(word)
    return words


def quoted(text: str) -> str:
    """Return `text` so that its ends are seen: bare when it is one plain word."""
    if text and text.isprintable() and not _SPECIAL & set(text):
        return text
    body = "".join(c if c.isprintable() and c not in '"\\' else _escaped(c) for c in text)
    return f'"{body}"'


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}.get(character) or f"\\u{code:04x}"


def attributes(value: int) -> str:
    """Return MOUNT_ATTR_… flags by the names mount(8) has for them."""
    time = value & ATTR_ATIME
    names = [name for name, flag in ATTRIBUTES.items() if flag not in (ATTR_NOATIME, ATTR_STRICTATIME) and value & flag]
    names += [name for name, flag in ATTRIBUTES.items() if flag in (ATTR_NOATIME, ATTR_STRICTATIME) and time == flag]
    return ",".join(names)


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(quoted, value))
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    return quoted(value) if isinstance(value, str) else str(value)


def _some(label: str) -> Callable[[Any], str]:
    """Return a formatter that says nothing of an empty value, and names others."""
    return lambda value: f"{label}={_plain(value)}" if value else ""


def _number(label: str) -> Callable[[Any], str]:
    return lambda value: f"{label}={value}"


def _positive(label: str) -> Callable[[Any], str]:
    return lambda value: f"{label}={value}" if value else ""


def _milliseconds(name: str) -> Callable[[Any], str]:
    return lambda value: f"{name}={value}ms"


def _items(label: str) -> Callable[[Any], str]:
    return lambda value: f"{label}={','.join(map(quoted, value))}" if value else ""


def _octal(value: int) -> str:
    return f"{value & 0o7777:04o}"


def _node(value: int) -> str:
    kind = next((letter for letter, bits in NODE_TYPES.items() if bits == value & 0o170000), "?")
    return f"{kind} {_octal(value)}"


def _flags(value: int, names: dict[str, int]) -> str:
    known = [name for name, flag in names.items() if value & flag]
    rest = value & ~sum(names[name] for name in known)
    return ",".join([*known, *([hex(rest)] if rest else [])])


def _namespaces(value: int) -> str:
    return _flags(value, {file: flag for flag, file in NAMESPACES.values()})


def _joined(value: int) -> str:
    return "root" if value == ROOT else _namespaces(value)


def _propagation(value: int) -> str:
    kind = _flags(value & ~MS_REC, PROPAGATION)
    return f"r{kind}" if value & MS_REC else kind


def _bind(value: int) -> str:
    return _flags(value, {"recursive": BIND_RECURSIVE, "no-symlinks": BIND_NO_SYMLINKS, "anew": BIND_ANEW})


def _tree(value: int) -> str:
    return _flags(
        value, {"recursive": TREE_RECURSIVE, "no-symlinks": TREE_NO_SYMLINKS, "mapped": TREE_MAPPED, "peer": TREE_PEER}
    )


def _limit(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)


def _rlimit(value: int) -> str:
    return RLIMITS[value] if value < len(RLIMITS) else str(value)


def _capabilities(label: str) -> Callable[[Any], str]:
    def formatted(value: int) -> str:
        names = [name[4:].lower() for name in capability_names(value)]
        return f"{label}={','.join(names) or 'none'}"

    return formatted


def _filter(value: bytes) -> str:
    return f"({len(value) // _BPF_INSTRUCTION} instructions)"


# (op, argument) → formatter; ("", argument) holds for every op.
_FORMATS: dict[tuple[str, str], Callable[[Any], str]] = {
    ("", "mode"): _octal,
    ("", "attributes"): attributes,
    ("", "options"): lambda value: ",".join(map(quoted, value)),
    ("", "uid"): _number("uid"),
    ("", "gid"): _number("gid"),
    ("", "groups"): _items("groups"),
    ("", "timeout"): lambda value: f"timeout={value}ms" if value else "",
    ("join", "namespace"): _joined,
    ("adopt", "namespace"): _joined,
    ("unshare", "flags"): _namespaces,
    ("fork", "flags"): _namespaces,
    ("tree", "flags"): _tree,
    ("overlay", "lowers"): _items("lower"),
    ("overlay", "upper"): _some("upper"),
    ("overlay", "work"): _some("work"),
    ("", "uids"): _items("uids"),
    ("", "gids"): _items("gids"),
    ("init", "flags"): _namespaces,
    ("init", "cgroup"): _some("born-in"),
    ("runtime", "env"): _some("env"),
    ("runtime", "bundle"): _some("bundle"),
    ("runtime", "id"): _some("id"),
    ("runtime", "pid-file"): _some("pid-file"),
    ("propagation", "flags"): _propagation,
    ("root-overlay", "lowers"): _items("lower"),
    ("root-overlay", "upper"): _some("upper"),
    ("root-overlay", "work"): _some("work"),
    ("mknod", "mode"): _node,
    ("bind", "flags"): _bind,
    ("attributes", "flags"): lambda value: "recursive" if value & ATTRIBUTES_RECURSIVE else "",
    ("attributes", "set"): lambda value: f"+{attributes(value)}" if value else "",
    ("attributes", "clear"): lambda value: f"-{_cleared(value)}" if value else "",
    ("umask", "mask"): _octal,
    ("rlimit", "resource"): _rlimit,
    ("rlimit", "soft"): _limit,
    ("rlimit", "hard"): _limit,
    ("bounding", "keep"): _capabilities("keep"),
    ("caps", "effective"): _capabilities("effective"),
    ("caps", "permitted"): _capabilities("permitted"),
    ("caps", "inheritable"): lambda value: _capabilities("inheritable")(value) if value else "",
    ("caps", "ambient"): lambda value: _capabilities("ambient")(value) if value else "",
    ("seccomp", "flags"): lambda value: _flags(value, SECCOMP_FLAGS),
    ("seccomp", "filter"): _filter,
    ("device-filter", "filter"): _filter,
    ("console", "height"): lambda value: f"height={value}" if value else "",
    ("console", "width"): lambda value: f"width={value}" if value else "",
    ("program", "files"): _items("try"),
    ("exec", "files"): _items("try"),
    ("exec", "argv"): lambda value: f"argv=[{_plain(value)}]",
    ("exec", "env"): lambda value: f"env=[{_plain(value)}]",
    ("socket", "pod"): lambda value: "in-pod" if value else "",
    ("app", "stdin"): _some("in"),
    ("app", "stdout"): _some("out"),
    ("app", "stderr"): _some("err"),
    ("app", "log"): _some("log"),
    ("app", "cgroup"): _some("born-in"),
    ("process", "flags"): _namespaces,
    ("process", "detached"): lambda value: "detached" if value else "",
    ("process", "stdin"): _some("in"),
    ("process", "stdout"): _some("out"),
    ("process", "stderr"): _some("err"),
    ("process", "console"): _some("console"),
    ("process", "cgroup"): _some("born-in"),
    ("mount-propagation", "flags"): _propagation,
    ("copy-up", "attributes"): attributes,
    ("scheduler", "policy"): _number("policy"),
    ("scheduler", "nice"): lambda value: f"nice={value - (value >> 63 << 64)}" if value else "",
    ("scheduler", "priority"): _positive("priority"),
    ("scheduler", "flags"): _positive("flags"),
    ("scheduler", "runtime"): _positive("runtime"),
    ("scheduler", "deadline"): _positive("deadline"),
    ("scheduler", "period"): _positive("period"),
    ("io-priority", "class"): _number("class"),
    ("io-priority", "level"): _number("level"),
    ("start-hook", "argv"): lambda value: f"argv=[{_plain(value)}]",
    ("start-hook", "env"): lambda value: f"env=[{_plain(value)}]",
    ("start-hook", "state"): lambda _value: "",
    ("agent", "state"): lambda _value: "",
    ("hook", "argv"): lambda value: f"argv=[{_plain(value)}]",
    ("hook", "env"): lambda value: f"env=[{_plain(value)}]",
    ("hook", "inside"): lambda value: "inside" if value else "",
    ("hook", "state"): lambda _value: "",
    ("proceed", "pid-file"): _some("pid-file"),
    ("execute", "stdin"): _some("in"),
    ("execute", "stdout"): _some("out"),
    ("execute", "stderr"): _some("err"),
    ("execute", "cgroup"): _some("born-in"),
    ("handler", "log"): _some("log"),
    ("handler", "cgroup"): _some("born-in"),
    ("post-stop", "log"): _some("log"),
    ("post-stop", "cgroup"): _some("born-in"),
    **{
        (f"health-{kind}", name): _milliseconds(name)
        for kind in ("command", "port")
        for name in ("interval", "timeout", "start")
    },
    ("health-command", "most"): lambda value: f"most={value}",
    ("health-port", "most"): lambda value: f"most={value}",
    ("health-command", "cgroup"): _some("born-in"),
    ("health-port", "path"): _some("path"),
    ("restart", "when"): lambda value: {1: "on-failure", 2: "always"}.get(value, f"when={value}"),
    ("restart", "delay"): lambda value: f"delay={value}ms",
    ("restart", "longest"): lambda value: f"longest={value}ms",
    ("restart", "most"): lambda value: f"most={value}" if value else "",
    ("listen", "service"): _some("service"),
    ("supervise", "grace"): lambda value: f"grace={value}ms",
    ("supervise", "log-size"): lambda value: f"log-size={value}" if value else "",
    ("supervise", "log-files"): lambda value: f"log-files={value}" if value else "",
    ("stop-app", "grace"): lambda value: f"grace={value}ms",
    ("rmdir-cgroup", "procs"): lambda _value: "",
}


def _cleared(value: int) -> str:
    """Name cleared fields: of the access time it is the field as a whole."""
    names = [attributes(value & ~ATTR_ATIME), "atime" if value & ATTR_ATIME else ""]
    return ",".join(filter(None, names))
