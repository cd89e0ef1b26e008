"""The command line's grammar, as engines write it: that of runc.

Long options may have one dash or two, and their value beside them or behind "=". Options come before the container's
ID; whatever follows it belongs to the verb, or to the command it runs.
"""

from __future__ import annotations

from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FLAG, VALUE, REPEAT = "flag", "value", "repeat"
# What programs written in Go take for a truth.
_TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), "true"),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), "false"),
}

GLOBAL = {
    "root": VALUE,
    "log": VALUE,
    "log-format": VALUE,
    "debug": FLAG,
    "systemd-cgroup": FLAG,
    "rootless": VALUE,
    "criu": VALUE,
    "version": FLAG,
    "help": FLAG,
}
SHORT_GLOBAL = {"v": "version", "h": "help"}

_MAKING = {
    "bundle": VALUE,
    "console-socket": VALUE,
    "pidfd-socket": VALUE,
    "pid-file": VALUE,
    "no-pivot": FLAG,
    "no-new-keyring": FLAG,
    "preserve-fds": VALUE,
}
_LIMITS = (
    *("blkio-weight", "cpu-period", "cpu-quota", "cpu-burst", "cpu-share", "cpu-rt-period", "cpu-rt-runtime"),
    *("cpuset-cpus", "cpuset-mems", "cpu-idle", "memory", "memory-reservation", "memory-swap", "pids-limit"),
)
_CRIU = {
    **dict.fromkeys(("image-path", "work-path", "manage-cgroups-mode"), VALUE),
    **dict.fromkeys(("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "link-remap", "auto-dedup"), FLAG),
    "empty-ns": REPEAT,
}
# verb → (options, short names, operands as the usage has them, file of this room and function that performs it, help)
VERBS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str], str, str, str]] = {
    "create": (_MAKING, {"b": "bundle"}, "ID", "make.create", "make a container"),
    "start": ({}, {}, "ID", "life.start", "run the process of a created container"),
    "run": (
        {**_MAKING, "detach": FLAG, "keep": FLAG, "no-subreaper": FLAG},
        {"b": "bundle", "d": "detach"},
        "ID",
        "make.run",
        "make and start a container",
    ),
    "state": ({}, {}, "ID", "look.state", "print the state of a container"),
    "list": ({"format": VALUE, "quiet": FLAG}, {"f": "format", "q": "quiet"}, "", "look.list_all", "list containers"),
    "kill": ({"all": FLAG}, {"a": "all"}, "ID [SIGNAL]", "life.kill", "send a signal (TERM) to a container's process"),
    "delete": ({"force": FLAG}, {"f": "force"}, "ID", "life.delete", "remove a container that has stopped"),
    "exec": (
        {
            "process": VALUE,
            "detach": FLAG,
            "pid-file": VALUE,
            "console-socket": VALUE,
            "pidfd-socket": VALUE,
            "tty": FLAG,
            "user": VALUE,
            "additional-gids": REPEAT,
            "env": REPEAT,
            "cwd": VALUE,
            "cap": REPEAT,
            "no-new-privs": FLAG,
            "apparmor": VALUE,
            "process-label": VALUE,
            "preserve-fds": VALUE,
            "cgroup": REPEAT,
            "ignore-paused": FLAG,
        },
        {
            "p": "process",
            "d": "detach",
            "t": "tty",
            "u": "user",
            "g": "additional-gids",
            "e": "env",
            "c": "cap",
        },
        "ID [COMMAND...]",
        "execute.execute",
        "run a command beside a container's process",
    ),
    "ps": ({"format": VALUE}, {"f": "format"}, "ID [PS-OPTIONS...]", "look.processes", "list a container's processes"),
    "pause": ({}, {}, "ID", "life.pause", "freeze a container"),
    "resume": ({}, {}, "ID", "life.resume", "thaw a container"),
    "update": (
        {"resources": VALUE, **dict.fromkeys(_LIMITS, VALUE)},
        {"r": "resources"},
        "ID",
        "limits.update",
        "change a container's limits",
    ),
    "events": (
        {"stats": FLAG, "interval": VALUE},
        {},
        "ID",
        "events.events",
        "print what a container uses, and when memory runs out",
    ),
    "checkpoint": (
        {**_CRIU, "leave-running": FLAG, "tcp-skip-in-flight": FLAG, "pre-dump": FLAG, "parent-path": VALUE},
        {},
        "ID",
        "checkpoint.checkpoint",
        "write a container to an image, with CRIU",
    ),
    "restore": (
        {
            **dict.fromkeys(("bundle", "console-socket", "pid-file"), VALUE),
            **dict.fromkeys(("no-pivot", "no-new-keyring", "detach", "no-subreaper", "tcp-close"), FLAG),
            **_CRIU,
            "lsm-profile": VALUE,
            "lsm-mount-context": VALUE,
        },
        {"b": "bundle", "d": "detach"},
        "ID",
        "restore.restore",
        "bring a container back from an image, with CRIU",
    ),
    "spec": (
        {"bundle": VALUE, "rootless": FLAG},
        {"b": "bundle"},
        "",
        "spec.write",
        "write a config.json to begin with",
    ),
    "features": ({}, {}, "", "features.show", "print what of the runtime-spec is supported"),
}


class Args:
    """What was given: `option(name)`, `flag(name)`, and the `words` that follow the options."""

    def __init__(self, given: dict[str, list[str]], words: list[str]) -> None:
        self._given = given
        self.words = words

    def option(self, name: str) -> str:
        """Return the last value of an option, "" when it was not given."""
        return self._given.get(name, [""])[-1]

    def options(self, name: str) -> list[str]:
        """Return all values of an option."""
        return self._given.get(name, [])

    def flag(self, name: str) -> bool:
        """Tell whether a flag was set."""
        return self.option(name) == "true"


def parse(words: Sequence[str], known: Mapping[str, str], short: Mapping[str, str], verb: str = "") -> Args:
    """Parse options up to the first word that is none. UsageError for unknown ones and missing values."""
    given: dict[str, list[str]] = {}
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            index += 1
            break
        if word[:1] != "-" or word == "-":
            break
        index += 1
        name, equals, value = word.lstrip("-").partition("=")
        name = short.get(name, name) if len(name) == 1 else name
        if len(word) > 2 and word[1] != "-" and name not in known and all(letter in short for letter in name):
            # Several short flags in one word.
            for letter in name:
                given.setdefault(short[letter], []).append("true")
            continue
        if name == "help" and name not in known:
            given["help"] = ["true"]
            continue
        if name not in known:
            raise UsageError(f"flag provided but not defined: -{name}", verb)
        if known[name] == FLAG:
            if equals and value not in _TRUTHS:
                raise UsageError(f"invalid boolean value {value!r} for -{name}", verb)
            value = _TRUTHS[value] if equals else "true"
        elif not equals:
            if index == len(words):
                raise UsageError(f"flag needs an argument: -{name}", verb)
            value = words[index]
            index += 1
        given.setdefault(name, []).append(value)
    return Args(given, list(words[index:]))
