"""The executables a container may ever see, sealed: nobody inside can write to the host's copy.

`appc-init` is copied into a memfd and sealed before every launch (67 kB, some microseconds), so
`/proc/1/exe` and `/proc/self/exe` in a pod lead to a file that cannot be changed and whose change
would not matter (the class of CVE-2019-5736).
"""

from __future__ import annotations

import errno
import fcntl
import os

from appc.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MFD_CLOEXEC = 0x1
MFD_ALLOW_SEALING = 0x2
MFD_EXEC = 0x10
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_MOST = 1 << 20  # bytes copied at a time


def native(name: str) -> str:
    """Return the path of one of appc's static programs; HostError when the package has none."""
    path = f"{os.path.dirname(os.path.dirname(__file__))}/_native/{name}"
    if not os.access(path, os.X_OK):
        raise HostError(
            "is missing from the installed package", path, "install appc from its wheel, or build it with `make build`"
        )
    return path


def sealed_init() -> int:
    """Return a descriptor (close-on-exec) of a sealed, executable copy of appc-init."""
    program = os.open(native("appc-init"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _sealed("appc-init", lambda fd: _copy(program, fd), executable=True)
    finally:
        os.close(program)


def sealed_plan(data: bytes) -> int:
    """Return a descriptor (close-on-exec) of a sealed memfd that holds an encoded plan."""
    return _sealed("appc-plan", lambda fd: _write(data, fd), executable=False)


def _copy(program: int, fd: int) -> None:
    """Have the kernel copy a file, which then takes no memory here."""
    while os.sendfile(fd, program, None, _MOST):
        pass


def _write(data: bytes, fd: int) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sealed(name: str, fill: Callable[[int], None], executable: bool) -> int:
    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create(name, flags | (MFD_EXEC if executable else 0))
    except OSError as error:
        if error.errno == errno.EACCES and executable:
            raise HostError(
                "the kernel refuses executable memory files",
                "vm.memfd_noexec",
                "set it to 0 or 1: sysctl vm.memfd_noexec=1",
            ) from None
        if error.errno != errno.EINVAL:
            raise HostError(os.strerror(error.errno or 0), "memfd_create") from None
        # Kernels before 6.3 do not know MFD_EXEC and make every memfd executable.
        fd = os.memfd_create(name, flags)
    try:
        fill(fd)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except OSError as error:
        os.close(fd)
        raise HostError(os.strerror(error.errno or 0), f"sealing {name}") from None
    return fd
