"""CRIU: writes processes down in files and brings them back from these.

It is a program of its own, called by a socket on which one request goes to it and its response comes back
(`criu swrk`). Between them it asks at points where its caller may have something to do, in the manner of its scripts.
"""

from __future__ import annotations

import os

from appc.errors import HostError
from appc.host import criu_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from appc.host.criu_wire import Option

    # What is called at a point of CRIU's work: the point's name, the pid it is about, and descriptors that came along.
    Notify = Callable[[str, int, list[int]], None]

PROGRAM = "criu"
FIRST = 4  # the number that the first of `descriptors` has in CRIU
_SOCKET = 3
_HIGH = 256  # from where on descriptors are out of the way of those that CRIU gets
_LAST = 0x7FFFFFFF  # what no descriptor's number exceeds
_PATIENCE = 60.0  # seconds that `criu check` may take
_LONGEST = 1 << 16  # bytes of a message
_MOST_LOG = 64 << 20  # bytes of a log that are looked at
_READY = b"ready"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(program: str = "") -> str:
    """Return the path of CRIU, "" when it is not installed."""
    # Not by shutil.which(): importing that takes longer than all else that `features` does.
    name = program or PROGRAM
    directories = f"{os.environ.get('PATH', '')}:{_PATH}".split(":")
    paths = [name] if "/" in name else [f"{directory}/{name}" for directory in directories if directory]
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), "")


def obstacle(program: str = "") -> str:
    """Return why processes cannot be written down on this host, "" when they can."""
    path = find(program)
    if not path:
        return "CRIU (the program criu) is not installed"
    from subprocess import DEVNULL, TimeoutExpired, run

    try:
        done = run([path, "check"], stdin=DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)
    except OSError as error:
        return f"{path} cannot be run: {error.strerror}"
    except TimeoutExpired:
        return f"criu check did not end in {_PATIENCE:.0f} s"
    if done.returncode == 0:
        return ""
    said = (done.stderr + done.stdout).decode(errors="replace").splitlines()
    reason = next((_reason(line) for line in said if _reason(line)), "") or f"exit status {done.returncode}"
    return f"CRIU does not work here, criu check says: {reason}"


def call(
    kind: int,
    options: Sequence[Option],
    *,
    images: str,
    work: str,
    program: str = "",
    descriptors: Sequence[int] = (),
    prepare: Callable[[], None] | None = None,
    notify: Notify | None = None,
) -> criu_wire.Response:
    """Have CRIU do something (DUMP, RESTORE …) and return its response. HostError when it cannot be asked.

    `images` and `work` are the directories of the image, and of its log. `inherit_fd` counts in CRIU's own descriptors,
    which from FIRST on are `descriptors`. `prepare` runs in its process before it. What `notify` raises fails the
    request, and is raised then.
    """
    import socket

    path = find(program)
    if not path:
        raise HostError("is not installed", program or PROGRAM, "apt-get install criu")
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with its:
            pid = os.fork()
            if pid == 0:
                _become(path, kind, its, (images, work), descriptors, prepare)
        opened: list[int] = []
        try:
            data, opened, _, _ = socket.recv_fds(ours, _LONGEST, 2, socket.MSG_CMSG_CLOEXEC)
            if data != _READY:
                raise HostError(criu_wire.Response(data).message or "ended before it was asked", path)
            # CRIU opens them by the numbers they have here.
            places: list[Option] = list(zip(("images_dir_fd", "work_dir_fd"), opened, strict=True))
            ours.send(criu_wire.request(kind, [*places, *options]))
            return _converse(ours, kind, notify)
        except ConnectionError:
            return criu_wire.Response(criu_wire.failure(kind, "it ended without an answer"))
        except OSError as error:
            raise HostError(f"cannot be asked: {error.strerror}", path) from error
        finally:
            for fd in opened:
                os.close(fd)
            ours.close()
            os.waitpid(pid, 0)


def first_error(log: str) -> str:
    """Return what the first line of a log says that tells of an error, "" when there is none, or no log."""
    try:
        with open(log, "rb") as file:
            read = 0
            for line in file:
                read += len(line)
                if read > _MOST_LOG:
                    break
                reason = _reason(line.decode(errors="replace"))
                if reason:
                    return reason
    except OSError:
        pass
    return ""


def _reason(line: str) -> str:
    """Return the text of a line such as `(00.739) Error (criu/files.c:17): text`, "" for another."""
    _, found, rest = line.partition("Error (")
    return rest.partition("): ")[2].strip() if found else ""


def _converse(ours: socket.socket, kind: int, notify: Notify | None) -> criu_wire.Response:
    import socket

    failed: BaseException | None = None
    while True:
        data, fds, _, _ = socket.recv_fds(ours, _LONGEST, 4, socket.MSG_CMSG_CLOEXEC)
        try:
            response = criu_wire.Response(data or criu_wire.failure(kind, "it ended without an answer"))
            if response.kind != criu_wire.NOTIFY:
                if failed is not None:
                    raise failed
                return response
            try:
                if notify is not None:
                    notify(response.script, response.pid, fds)
            except Exception as error:  # raised when CRIU has taken back what it did
                failed = failed or error
            ours.send(criu_wire.answer(failed is None))
        finally:
            for fd in fds:
                os.close(fd)


def _become(
    path: str,
    kind: int,
    its: socket.socket,
    directories: Sequence[str],
    descriptors: Sequence[int],
    prepare: Callable[[], None] | None,
) -> NoReturn:
    """Be CRIU, in a child, and send its caller the directories. What it says besides is in its log."""
    import fcntl
    import signal
    import socket

    answers = its.fileno()
    try:
        sources = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in (its.fileno(), *descriptors)]
        if prepare is not None:
            prepare()
        # Opened in the mount namespace that CRIU is in, since it mounts below them.
        opened = [os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for place in directories]
        socket.send_fds(its, [_READY], opened)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for target in range(_SOCKET):
            os.dup2(null, target)
        for target, fd in enumerate(sources, _SOCKET):
            os.dup2(fd, target)
        answers = _SOCKET
        os.closerange(_SOCKET + len(sources), _LAST)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        # What it writes is the memory of processes.
        os.umask(0o077)
        os.execve(path, [PROGRAM, "swrk", str(_SOCKET)], {"PATH": os.environ.get("PATH") or _PATH})
    except BaseException as error:  # nothing may come back from a fork
        text = f"{error.filename or path}: {error.strerror}" if isinstance(error, OSError) else str(error)
        try:
            os.write(answers, criu_wire.failure(kind, text))
        finally:
            os._exit(1)
