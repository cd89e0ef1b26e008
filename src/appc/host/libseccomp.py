"""libseccomp by ctypes, as the table of system call numbers of every architecture.

Its generator is not used: libseccomp 2.5 turns two ordered comparisons of one argument on both sides of 2^32
into a filter that allows what it should refuse, and does not end on some rules with two compared arguments.
"""

from __future__ import annotations

import ctypes

from appc.errors import HostError, InvalidValue

# What libseccomp gives for socket(2), msgget(2) and the like on architectures where socketcall(2) and ipc(2) do
# their work, even if newer kernels also have calls of their own for them.
_MULTIPLEXED = range(-299, -100)
_NUMBERS = 600


class Names:
    """Resolves names of architectures and system calls."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL("libseccomp.so.2")
        except OSError as error:
            raise HostError(
                "libseccomp.so.2 is not installed, and this seccomp filter was not built before",
                hint="install libseccomp2 (Debian, Ubuntu) or libseccomp (Fedora, Arch, Alpine)",
            ) from error
        library.seccomp_arch_native.restype = ctypes.c_uint32
        library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
        library.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
        library.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
        library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
        library.seccomp_syscall_resolve_num_arch.argtypes = (ctypes.c_uint32, ctypes.c_int)
        self._library = library
        self._direct: dict[int, dict[str, int]] = {}
        self.native = int(library.seccomp_arch_native())

    def architecture(self, name: str) -> int:
        """Return the AUDIT_ARCH_* number of SCMP_ARCH_… (x32 has one of libseccomp's own)."""
        token = self._library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        if not token:
            raise InvalidValue(f"libseccomp knows no architecture {name}", "linux.seccomp.architectures")
        return int(token)

    def call(self, architecture: int, name: str) -> int:
        """Return the number of a system call, negative when the architecture has none of that name."""
        number = int(self._library.seccomp_syscall_resolve_name_arch(architecture, name.encode()))
        if number in _MULTIPLEXED:
            if architecture not in self._direct:
                self._direct[architecture] = self._names(architecture)
            return self._direct[architecture].get(name, number)
        return number

    def name(self, architecture: int, number: int) -> str:
        """Return the name of a system call, "" for an unknown one."""
        found = self._library.seccomp_syscall_resolve_num_arch(architecture, number)
        if not found:
            return ""
        free = ctypes.CDLL(None).free
        free.argtypes = (ctypes.c_void_p,)
        name = ctypes.string_at(found).decode()
        free(found)
        return name

    def _names(self, architecture: int) -> dict[str, int]:
        """Return the numbers that are in use: of socket calls and the like these can be learned only this way."""
        names = ((number, self.name(architecture, number)) for number in range(_NUMBERS))
        return {name: number for number, name in names if name}
