"""libseccomp by ctypes: as much as is needed to build a filter and export it."""

from __future__ import annotations

import ctypes
import errno
import os

from appc.errors import HostError, InvalidValue

EPERM = errno.EPERM
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
WITH_NUMBER = frozenset(("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"))  # carry 16 bits for errno or tracer
COMPARISONS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_ATTRIBUTE_BAD_ARCHITECTURE = 2
_ATTRIBUTE_OPTIMIZE = 8
_BINARY_TREE = 2
_UNKNOWN_SYSCALL = -1


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise HostError(
            "libseccomp.so.2 is not installed, and this seccomp filter was not built before",
            hint="install libseccomp2 (Debian, Ubuntu) or libseccomp (Fedora, Arch, Alpine)",
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_release.restype = None
    library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    library.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return library


class Filter:
    """A filter under construction, for the native architecture and those added; a context manager."""

    def __init__(self, default: int) -> None:
        self._library = _load()
        self._context = self._library.seccomp_init(default)
        if not self._context:
            raise HostError(f"libseccomp does not know the action {default:#x}", "linux.seccomp.defaultAction")
        # A call through another architecture's entry ends the whole process, not one thread of it.
        self._library.seccomp_attr_set(self._context, _ATTRIBUTE_BAD_ARCHITECTURE, ACTIONS["SCMP_ACT_KILL_PROCESS"])
        # libseccomp before 2.5 has no trees: the program is only slower then.
        self._library.seccomp_attr_set(self._context, _ATTRIBUTE_OPTIMIZE, _BINARY_TREE)

    def __enter__(self) -> Filter:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.seccomp_release(self._context)
        self._context = None

    def add_architecture(self, name: str) -> None:
        """Let the filter also judge calls of the architecture SCMP_ARCH_…; one it has already is fine."""
        short = name.removeprefix("SCMP_ARCH_").lower()
        token = self._library.seccomp_arch_resolve_name(short.encode())
        if not token:
            raise InvalidValue(f"libseccomp knows no architecture {name}", "linux.seccomp.architectures")
        self._check(self._library.seccomp_arch_add(self._context, token), f"architecture {name}", "linux.seccomp")

    def add_rule(self, action: int, name: str, conditions: tuple[tuple[int, str, int, int], ...], where: str) -> None:
        """Let `action` happen to the system call when all conditions (index, operator, value, value two) hold.

        A call that no kernel known to libseccomp has is skipped.
        """
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_SYSCALL:
            return
        comparisons = (_Comparison * len(conditions))()
        for index, (argument, operator, first, second) in enumerate(conditions):
            if operator not in COMPARISONS:
                raise InvalidValue(f"no comparison is called {operator}", f"{where}.args[{index}].op")
            comparisons[index] = _Comparison(argument, COMPARISONS[operator], first, second)
        result = self._library.seccomp_rule_add_array(self._context, action, number, len(conditions), comparisons)
        self._check(result, f"the rule for {name}", where)

    def export(self) -> bytes:
        """Return the program as an array of struct sock_filter."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            self._check(self._library.seccomp_export_bpf(self._context, fd), "the filter", "linux.seccomp")
            size = os.lseek(fd, 0, os.SEEK_END)
            return os.pread(fd, size, 0)
        finally:
            os.close(fd)

    def _check(self, result: int, what: str, where: str) -> None:
        if result < 0 and result != -errno.EEXIST:
            raise HostError(f"libseccomp refuses {what}: {os.strerror(-result)}", where)
