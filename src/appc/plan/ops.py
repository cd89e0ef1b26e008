"""The vocabulary of launch plans: every op, its arguments, who performs it, and why it exists.

A plan is a list of tracks; a track is a flat list of ops, performed in order, without branches.
`native/ops.def` is the same table for the C side; a test compares the two. Adding an op means a
row here, a row there, a C function and a native test – and a reason why two existing ops will
not do.
"""

from __future__ import annotations

# Argument kinds, as the wire knows them: n = unsigned 64-bit number, s = string without NUL,
# l = list of strings, b = bytes.
#
# INSIDE ops are performed by appc-init (in the process that becomes the app, a handler or PID 1),
# OUTSIDE ops by appc-keep. Targets ("in the root") are resolved with openat2(RESOLVE_IN_ROOT)
# against the root fd that `root-overlay` or `root-bind` opened, or "/" after `pivot` or `join mnt`.

INSIDE = "init"
OUTSIDE = "keep"

# name, signature (argument names with kinds), performer. The row's position is its opcode.
TABLE: tuple[tuple[str, tuple[tuple[str, str], ...], str], ...] = (
    # Joining and leaving
    ("cgroup", (("file", "s"),), INSIDE),
    ("join", (("namespace", "n"),), INSIDE),
    ("unshare", (("flags", "n"),), INSIDE),
    # What a user namespace would forbid is done before it is joined. `tree` copies a mount, its owners mapped as in the
    # namespace that is about to be joined, unless `uids` and `gids` say otherwise, for a later `bind` of "#NUMBER";
    # `overlay` makes one of such copies ("#NUMBER/PATH"), whose own files the user `uid` makes, numbered likewise.
    # A new process namespace belongs to the one of users only if it is made after that was joined, for a process that
    # is born then and goes on in place of this one.
    ("tree", (("source", "s"), ("flags", "n"), ("uids", "l"), ("gids", "l")), INSIDE),
    (
        "overlay",
        (("lowers", "l"), ("upper", "s"), ("work", "s"), ("options", "l"), ("uid", "n"), ("gid", "n")),
        INSIDE,
    ),
    ("own-output", (("uid", "n"),), INSIDE),
    ("fork", (("flags", "n"),), INSIDE),
    ("act-as", (("uid", "n"), ("gid", "n")), INSIDE),
    # A time namespace of its own; `offsets` are lines of /proc/PID/timens_offsets, which nobody can write later.
    ("clocks", (("offsets", "l"),), INSIDE),
    ("propagation", (("flags", "n"),), INSIDE),
    # Building a root
    ("root-overlay", (("target", "s"), ("lowers", "l"), ("upper", "s"), ("work", "s"), ("options", "l")), INSIDE),
    ("root-bind", (("source", "s"), ("target", "s")), INSIDE),
    ("root-tmpfs", (("target", "s"), ("options", "l")), INSIDE),
    ("mkdir", (("path", "s"), ("mode", "n"), ("uid", "n"), ("gid", "n")), INSIDE),
    ("file", (("path", "s"), ("mode", "n"), ("content", "b")), INSIDE),
    ("remove", (("path", "s"),), INSIDE),
    ("symlink", (("target", "s"), ("path", "s")), INSIDE),
    ("mknod", (("path", "s"), ("mode", "n"), ("major", "n"), ("minor", "n"), ("uid", "n"), ("gid", "n")), INSIDE),
    ("mount", (("fstype", "s"), ("source", "s"), ("path", "s"), ("attributes", "n"), ("options", "l")), INSIDE),
    ("bind", (("source", "s"), ("path", "s"), ("flags", "n"), ("attributes", "n")), INSIDE),
    # A tmpfs that begins with what the root has at `path`.
    ("copy-up", (("path", "s"), ("attributes", "n"), ("options", "l")), INSIDE),
    ("attributes", (("path", "s"), ("flags", "n"), ("set", "n"), ("clear", "n")), INSIDE),
    # `propagation` is about this namespace's whole tree, this about one mount in the root.
    ("mount-propagation", (("path", "s"), ("flags", "n")), INSIDE),
    ("mask", (("path", "s"),), INSIDE),
    ("pivot", (), INSIDE),
    # Where the host's root cannot be pivoted away from, the initial RAM file system.
    ("move-root", (), INSIDE),
    # Into the mount namespace that was adopted, the host's or another's, which stays as it is: the root goes along as a
    # copy that is in no namespace, gone with the last process in it.
    ("carry-root", (), INSIDE),
    # The pod's sandbox
    ("hostname", (("name", "s"),), INSIDE),
    ("domainname", (("name", "s"),), INSIDE),
    ("link-up", (("name", "s"),), INSIDE),
    ("address", (("link", "s"), ("address", "s"), ("prefix", "n")), INSIDE),
    ("sysctl", (("key", "s"), ("value", "s")), INSIDE),
    # Becoming the app
    # A new terminal; 0 by 0 = its size is the caller's.
    ("console", (("height", "n"), ("width", "n")), INSIDE),
    ("sync", (("name", "s"),), INSIDE),
    # `sync` asks the keeper, which a container outlives: who starts one comes later, by the socket that `process`
    # listens at, and on that connection is told what fails from then on.
    ("await-start", (), INSIDE),
    # The sockets, or what else the keeper has for it, where sd_listen_fds(3) looks for them: from 3 on.
    ("sockets", (("count", "n"),), INSIDE),
    # A hook of the container's own files, with what privileges its process has; `state` is the text around the pid.
    ("start-hook", (("path", "s"), ("argv", "l"), ("env", "l"), ("timeout", "n"), ("state", "l")), INSIDE),
    ("affinity", (("cpus", "b"),), INSIDE),
    (
        "scheduler",
        (
            ("policy", "n"),
            ("nice", "n"),
            ("priority", "n"),
            ("flags", "n"),
            ("runtime", "n"),
            ("deadline", "n"),
            ("period", "n"),
        ),
        INSIDE,
    ),
    ("io-priority", (("class", "n"), ("level", "n")), INSIDE),
    ("memory-policy", (("mode", "n"), ("nodes", "b")), INSIDE),
    ("personality", (("domain", "n"),), INSIDE),
    ("rlimit", (("resource", "n"), ("soft", "n"), ("hard", "n")), INSIDE),
    ("oom-score-adj", (("value", "s"),), INSIDE),
    ("umask", (("mask", "n"),), INSIDE),
    ("keyring", (("name", "s"),), INSIDE),
    ("label", (("lsm", "s"), ("label", "s")), INSIDE),
    ("bounding", (("keep", "n"),), INSIDE),
    ("ids", (("uid", "n"), ("gid", "n"), ("groups", "l")), INSIDE),
    ("caps", (("effective", "n"), ("permitted", "n"), ("inheritable", "n"), ("ambient", "n")), INSIDE),
    ("chdir", (("path", "s"),), INSIDE),
    # `exec` tells only at the start that there is no program; engines want to know it when the container is made.
    ("program", (("files", "l"),), INSIDE),
    ("death-signal", (("signal", "n"),), INSIDE),
    ("no-new-privs", (), INSIDE),
    ("seccomp", (("flags", "n"), ("filter", "b")), INSIDE),
    ("exec", (("files", "l"), ("argv", "l"), ("env", "l")), INSIDE),
    # Another OCI runtime creates and starts the container that becomes what the track is for, of whose files nothing is
    # used here: `argv` is the runtime and what it is told each time, `id` the container's.
    ("runtime", (("argv", "l"), ("env", "l"), ("bundle", "s"), ("id", "s"), ("pid-file", "s")), INSIDE),
    ("reap", (), INSIDE),
    # The keeper's track
    ("mount-namespace", (), OUTSIDE),
    ("tmpfs", (("path", "s"), ("options", "l")), OUTSIDE),
    ("init", (("flags", "n"), ("track", "s"), ("cgroup", "s")), OUTSIDE),
    # For users, a `path` of another kind stands for the user namespace that owns it. Kind 0 is no namespace but the
    # root of a process, a directory; `join` enters it.
    ("adopt", (("namespace", "n"), ("path", "s")), OUTSIDE),
    ("userns", (("uids", "l"), ("gids", "l")), OUTSIDE),
    # A program for devices, in addition to those that a control group (cgroup2) has.
    ("device-filter", (("group", "s"), ("filter", "b")), OUTSIDE),
    # A link to the directory of PID 1's namespaces, for runtimes, which join them by path.
    ("namespaces", (("path", "s"),), OUTSIDE),
    ("listen", (("address", "s"), ("port", "n"), ("service", "s"), ("argv", "l")), OUTSIDE),
    # The journal of systemd, which gets a copy of what is logged.
    ("journal", (("socket", "s"),), OUTSIDE),
    # Where those connect who want to read and write an app's streams while it runs.
    ("attach", (("path", "s"),), OUTSIDE),
    # A socket that an app finds open: tcp or udp, made here or (`pod`) in the pod's network; or inherited, and then
    # `port` is which of the caller's.
    ("socket", (("app", "s"), ("kind", "s"), ("address", "s"), ("port", "n"), ("pod", "n")), OUTSIDE),
    # Where an app says that it is ready (sd_notify), as long as the pod runs.
    ("notify", (("app", "s"), ("path", "s")), OUTSIDE),
    (
        "app",
        (
            ("name", "s"),
            ("track", "s"),
            ("stdin", "s"),
            ("stdout", "s"),
            ("stderr", "s"),
            ("log", "s"),
            ("cgroup", "s"),
        ),
        OUTSIDE,
    ),
    ("handler", (("app", "s"), ("track", "s"), ("log", "s"), ("timeout", "n"), ("cgroup", "s")), OUTSIDE),
    ("post-stop", (("app", "s"), ("track", "s"), ("log", "s"), ("timeout", "n"), ("cgroup", "s")), OUTSIDE),
    # Of an app that ends: `when` is 1 for a failure, 2 always; milliseconds before it runs again, doubled each time up
    # to `longest`; `most` times in a row (0 = any number). `track` joins the root that the app has.
    (
        "restart",
        (("app", "s"), ("track", "s"), ("when", "n"), ("delay", "n"), ("longest", "n"), ("most", "n")),
        OUTSIDE,
    ),
    # Asked every `interval` milliseconds, an app is not well after more than `most` failures in a row; those of the
    # first `start` milliseconds do not count. A command beside the app, or a port of the pod and with `path` a GET.
    (
        "health-command",
        (
            ("app", "s"),
            ("track", "s"),
            ("cgroup", "s"),
            ("interval", "n"),
            ("timeout", "n"),
            ("most", "n"),
            ("start", "n"),
        ),
        OUTSIDE,
    ),
    (
        "health-port",
        (
            ("app", "s"),
            ("port", "n"),
            ("path", "s"),
            ("interval", "n"),
            ("timeout", "n"),
            ("most", "n"),
            ("start", "n"),
        ),
        OUTSIDE,
    ),
    ("start", (("app", "s"),), OUTSIDE),
    ("ready", (), OUTSIDE),
    # What changes in a pod that runs: an app ends, with its post-stop handlers, after `grace` milliseconds at most; is
    # run again by `track`, in the root it has; is forgotten.
    ("stop-app", (("app", "s"), ("grace", "n")), OUTSIDE),
    ("run-again", (("app", "s"), ("track", "s")), OUTSIDE),
    ("drop-app", (("app", "s"),), OUTSIDE),
    ("supervise", (("grace", "n"), ("log-size", "n"), ("log-files", "n")), OUTSIDE),
    ("execute", (("track", "s"), ("stdin", "s"), ("stdout", "s"), ("stderr", "s"), ("cgroup", "s")), OUTSIDE),
    # A container of its own, or a process beside one. Unlike what `app` and `execute` start it may be born into new
    # namespaces and outlive the keeper (`detached`); its terminal goes to the socket `console`. Then come hooks of the
    # runtime-spec (`state` is the text before and after the pid, which only now is known; `inside` its namespaces).
    (
        "process",
        (
            ("track", "s"),
            ("flags", "n"),
            ("detached", "n"),
            ("stdin", "s"),
            ("stdout", "s"),
            ("stderr", "s"),
            ("console", "s"),
            ("cgroup", "s"),
        ),
        OUTSIDE,
    ),
    # The process whose namespaces are adopted: it must be the same, and live, when the new one is made.
    ("target", (("pid", "n"), ("started", "n")), OUTSIDE),
    ("net-device", (("name", "s"), ("new-name", "s")), OUTSIDE),
    # Whom the listener of the process's filter is sent to; `state` is the text around each place of the pid.
    ("agent", (("socket", "s"), ("state", "l")), OUTSIDE),
    ("pidfd", (("socket", "s"),), OUTSIDE),
    (
        "hook",
        (("path", "s"), ("argv", "l"), ("env", "l"), ("timeout", "n"), ("inside", "n"), ("state", "l")),
        OUTSIDE,
    ),
    ("proceed", (("pid-file", "s"),), OUTSIDE),
    ("wait", (), OUTSIDE),
    ("rmdir-cgroup", (("path", "s"), ("procs", "s")), OUTSIDE),
    ("record", (), OUTSIDE),
    ("rename-phase", (("from", "s"), ("to", "s")), OUTSIDE),
    ("finish", (("argv", "l"),), OUTSIDE),
)

OPCODES = {row[0]: index for index, row in enumerate(TABLE)}

# bind flags
BIND_RECURSIVE = 1
BIND_NO_SYMLINKS = 2  # refuse a source path with any symbolic link in it (ace.md, Volume Setup)
BIND_ANEW = 4  # a tree is mounted as if copied only now, to come after what was mounted before; for directories
# tree flags
TREE_RECURSIVE = 1
TREE_NO_SYMLINKS = 2
TREE_MAPPED = 4
TREE_PEER = 8  # what is mounted below appears on the host, too, and the other way round
# attributes flags
ATTRIBUTES_RECURSIVE = 1

UNLIMITED = 2**64 - 1  # rlimit infinity


class Op:
    """One step of a plan: a name of `TABLE`, its arguments in order, the errnos it tolerates, and
    the field of the configuration it came from (for messages; never interpreted)."""

    __slots__ = ("args", "name", "source", "tolerate")

    def __init__(
        self,
        name: str,
        *args: int | str | bytes | tuple[str, ...],
        tolerate: tuple[int, ...] = (),
        source: str = "",
    ) -> None:
        self.name = name
        self.args = args
        self.tolerate = tolerate
        self.source = source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Op) and (self.name, self.args, self.tolerate, self.source) == (
            other.name,
            other.args,
            other.tolerate,
            other.source,
        )

    def __hash__(self) -> int:
        return hash((self.name, self.args, self.tolerate))

    def __repr__(self) -> str:
        return f"Op({self.name!r}, {', '.join(map(repr, self.args))})"


class Track:
    """A named, flat list of ops performed by one process."""

    __slots__ = ("name", "ops")

    def __init__(self, name: str, ops: list[Op]) -> None:
        self.name = name
        self.ops = ops


class Plan:
    """What will happen: the tracks in order, and the host facts (text) every choice rests on."""

    __slots__ = ("facts", "tracks")

    def __init__(self, tracks: list[Track], facts: dict[str, str] | None = None) -> None:
        self.tracks = tracks
        self.facts = facts or {}

    def track(self, name: str) -> Track:
        """Return the track called `name`; KeyError when there is none."""
        for track in self.tracks:
            if track.name == name:
                return track
        raise KeyError(name)
