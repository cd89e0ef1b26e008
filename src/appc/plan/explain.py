"""One sentence for an op that failed: what was being done, why it could not be, which field asked for it."""

from __future__ import annotations

import os

from appc.plan.words import arguments, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.plan.ops import Op, Plan

EPERM, ENOENT, ESRCH, ECHILD, EACCES, EBUSY, EEXIST, EXDEV, ENODEV = 1, 2, 3, 10, 13, 16, 17, 18, 19
ENOTDIR, EISDIR, EINVAL, EROFS, ENOSYS, ELOOP = 20, 21, 22, 30, 38, 40
EPROTO, ECONNRESET, ETIMEDOUT, ECONNREFUSED, ESTALE = 71, 104, 110, 111, 116

# Op → what it does, with {0} … for its arguments.
_DOING = {
    "cgroup": "join the control group {0}",
    "join": "join the {words} namespace",
    "unshare": "make new namespaces ({words})",
    "tree": "copy the mount {0} with its owners mapped",
    "overlay": "lay the image's trees over each other with their owners mapped",
    "own-output": "give its output to user {0}",
    "fork": "be born into new namespaces ({words})",
    "act-as": "act as user {0}, group {1}",
    "clocks": "make a time namespace",
    "propagation": "set the propagation of mounts",
    "root-overlay": "mount the image as an overlay on {0}",
    "root-bind": "use {0} as the root",
    "root-tmpfs": "mount an empty root on {0}",
    "mkdir": "make the directory {0} in the root",
    "file": "make the file {0} in the root",
    "remove": "remove {0} from the root",
    "symlink": "make the link {1} in the root",
    "mknod": "make the device {0} in the root",
    "mount": "mount {0} on {2}",
    "bind": "mount {0} on {1}",
    "attributes": "change the mount at {0}",
    "copy-up": "mount a tmpfs on {0} with what is there",
    "mount-propagation": "set the propagation of the mount at {0}",
    "mask": "hide {0}",
    "pivot": "move into the root",
    "move-root": "move the root to /",
    "carry-root": "take the root into the mount namespace",
    "hostname": "set the host name to {0}",
    "domainname": "set the domain name to {0}",
    "link-up": "bring the interface {0} up",
    "address": "give the interface {0} the address {1}",
    "sysctl": "set the kernel parameter {0} to {1}",
    "console": "make a terminal",
    "sync": "wait for its keeper",
    "await-start": "await its start",
    "sockets": "hand on its sockets",
    "start-hook": "run the hook {0}",
    "affinity": "bind the process to these CPUs",
    "scheduler": "set the scheduling policy",
    "io-priority": "set the I/O priority",
    "memory-policy": "set the memory policy",
    "personality": "set the personality",
    "oom-score-adj": "set the OOM score adjustment to {0}",
    "umask": "set the file mode mask",
    "keyring": "join a session keyring of its own",
    "label": "take on the {0} label {1}",
    "bounding": "drop capabilities from the bounding set",
    "ids": "become user {0}, group {1}",
    "caps": "set the capabilities",
    "chdir": "change to the working directory {0}",
    "program": "find the program {0[0]}",
    "death-signal": "tie its life to the keeper's",
    "no-new-privs": "give up gaining privileges",
    "seccomp": "load the seccomp filter",
    "exec": "execute {1[0]}",
    "runtime": "have the runtime {0[0]} make and start a container",
    "reap": "become the pod's first process",
    "mount-namespace": "make a mount namespace for the pod",
    "tmpfs": "mount the pod's shared memory on {0}",
    "init": "start the pod's first process",
    "userns": "make a user namespace",
    "adopt": "open the namespace {1}",
    "device-filter": "restrict the use of devices in the control group {0}",
    "namespaces": "tell where the pod's namespaces are",
    "listen": "listen on {0}, port {1}, for the metadata service",
    "journal": "have the journal at {0} get what is logged",
    "attach": "listen for those who attach",
    "socket": "make the socket {1} {2} {3} for the app {0}",
    "notify": "listen for what the app {0} says of itself",
    "app": "set up the app {0}",
    "handler": "run the pre-start handler of {0}",
    "post-stop": "prepare the post-stop handler of {0}",
    "restart": "prepare to run the app {0} again",
    "health-command": "prepare to check the health of {0}",
    "health-port": "prepare to check the health of {0}",
    "start": "start the app {0}",
    "ready": "record that the pod is running",
    "supervise": "supervise the pod",
    "stop-app": "stop the app {0}",
    "run-again": "start the app {0}",
    "drop-app": "remove the app {0}",
    "execute": "run the command",
    "process": "start {0}",
    "target": "reach the container's process {0}",
    "net-device": "give the container the network device {0}",
    "agent": "know its seccomp agent",
    "pidfd": "send a pidfd to {0}",
    "hook": "run the hook {0}",
    "proceed": "let the process go on",
    "wait": "wait for the process",
    "rmdir-cgroup": "remove the control group {0}",
    "record": "record how the apps ended",
    "rename-phase": "move the pod's directory to {1}",
    "finish": "run {0[0]}",
}

# (op, errno) → a reason better than the kernel's own words.
_REASONS = {
    ("bind", ELOOP): "the source has a symbolic link in its path",
    ("bind", ENOENT): "the source or the target does not exist",
    ("bind", ENOTDIR): "a directory cannot be mounted on a file",
    ("bind", EISDIR): "a file cannot be mounted on a directory",
    ("bind", EXDEV): "the path leads out of the root",
    ("mount", ENOENT): "the target does not exist in the root",
    ("mount", EXDEV): "the path leads out of the root",
    ("mount", EINVAL): "the file system does not take these options",
    ("tree", EINVAL): "its file system, or one mounted below, cannot have its owners mapped",
    ("tree", EPERM): "its file system has its owners mapped already, or cannot",
    ("overlay", EINVAL): "the kernel lays no mapped trees over each other",
    ("carry-root", EPERM): "the namespace belongs to other users",
    ("ids", EINVAL): "this user namespace has no such user or group (see docs/users.md)",
    ("chdir", ENOENT): "it does not exist in the app's root",
    ("chdir", ENOTDIR): "it is not a directory",
    ("chdir", ELOOP): "a link in its path has no end, or leads through an open descriptor",
    ("mkdir", ENOTDIR): "a part of the path is not a directory",
    ("mkdir", EROFS): "the root is read-only there",
    ("mknod", ESTALE): "something else was put in its place",
    ("sysctl", ENOENT): "this kernel has no such parameter, or not for namespaces",
    ("sysctl", EINVAL): "the kernel does not take this value",
    ("label", ENOENT): "it is not loaded on this host",
    ("label", EINVAL): "the kernel does not know it",
    ("seccomp", EINVAL): "the kernel does not take it",
    ("seccomp", EACCES): "neither no_new_privs nor CAP_SYS_ADMIN is there to allow it",
    ("handler", ECHILD): "it failed; its output is in the app's log",
    ("handler", ETIMEDOUT): "it did not end in time and was killed",
    ("hook", ECHILD): "it failed",
    ("hook", ETIMEDOUT): "it did not end in time and was killed",
    ("start-hook", ECHILD): "it failed",
    ("start-hook", ETIMEDOUT): "it did not end in time and was killed",
    ("runtime", ECHILD): "it failed; what it said is in the app's log",
    ("runtime", ENOENT): "it made none",
    ("runtime", EPROTO): "it gave the container to a process of its own",
    ("target", ESRCH): "it has ended",
    ("process", ESRCH): "the container has ended",
    ("hook", ESRCH): "the container has ended",
    ("net-device", ENODEV): "there is none of that name",
    ("net-device", EEXIST): "the container has one of that name",
    ("memory-policy", ENOSYS): "this kernel has no memory policies",
    ("scheduler", EINVAL): "the kernel does not take these values together",
    ("affinity", EINVAL): "none of them is there for the process",
    ("seccomp", ENOENT): "the agent's socket does not exist",
    ("seccomp", ECONNREFUSED): "no agent listens at its socket",
    ("process", ECONNRESET): "it was killed while its root was being built",
    ("proceed", ECONNRESET): "it was gone before it could run",
    ("app", ECONNRESET): "it was killed while its root was being built",
    ("start", ECONNRESET): "it was gone before it could run",
    ("run-again", ECONNRESET): "it was gone before it could run",
    ("run-again", EBUSY): "it runs, or is on its way to",
    ("drop-app", EBUSY): "it runs, or is on its way to",
    ("adopt", EINVAL): "it is no namespace of that type",
    ("adopt", ENOENT): "the process it belongs to has ended",
    ("rlimit", EPERM): "the host's own hard limit is lower",
    ("root-overlay", EINVAL): "the kernel does not take these directories as an overlay",
}


def explain(plan: Plan, track: str, index: int, errno: int) -> str:
    """Return one sentence on op `index` of `track` having failed with `errno`: what, why, from which field.

    An index past the track's end means that its performer did not get as far as the first op.
    """
    ops = next((one.ops for one in plan.tracks if one.name == track), [])
    if index >= len(ops):
        return f"{track}: the plan could not be read or performed: {os.strerror(errno)}"
    op = ops[index]
    reason = _REASONS.get((op.name, errno)) or os.strerror(errno)
    source = f" ({op.source})" if op.source and op.source != "appc" else ""
    return f"{track}: cannot {_doing(op)}: {reason}{source}"


def _doing(op: Op) -> str:
    if op.name == "rlimit":
        resource, soft, hard = arguments(op)
        return f"set {resource} to {soft} (hard limit {hard})"
    values = [quoted(arg) if isinstance(arg, str) else arg for arg in op.args]
    return _DOING[op.name].format(*values, words=" ".join(arguments(op)))
