"""Seccomp programs from the `linux.seccomp` section of an OCI configuration.

libseccomp builds them, once for each section: the result is kept in a cache directory, so that a launch
reads a file and loads neither ctypes nor libseccomp.
"""

from __future__ import annotations

import os

from appc.errors import InvalidValue, Unenforceable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Part of every cache key: raise it when the same section is to give another program.
_VERSION = 1
_DIGEST_SIZE = 32
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_INSTRUCTION_SIZE = 8
_LIBRARY = "libseccomp.so.2"


def filter_bytes(section: Mapping[str, Any], cache_dir: str, arch: str) -> bytes:
    """Return the BPF program (an array of struct sock_filter) for a validated `linux.seccomp` section.

    `arch` is the host's, `cache_dir` is made (0700) when missing. Names of system calls that libseccomp
    does not know are skipped. InvalidValue for an errno where the action takes none, Unenforceable for a
    program longer than the kernel takes, HostError when libseccomp is needed and missing.
    """
    key = _digest(repr((_VERSION, arch, sorted(section.items(), key=lambda item: item[0]))).encode())
    path = f"{cache_dir}/{key.hex()}.bpf"
    program = _cached(path, arch)
    if not program:
        program = _build(section)
        _keep(cache_dir, path, program)
    return program


def _digest(content: bytes) -> bytes:
    try:
        from _blake2 import blake2b  # hashlib would load OpenSSL
    except ImportError:
        from hashlib import blake2b
    return blake2b(content, digest_size=_DIGEST_SIZE).digest()


def _cached(path: str, arch: str) -> bytes:
    """Return a program from the cache, or b"" when there is none, it is older than libseccomp or not whole."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022 or status.st_mtime < _library_time(arch):
            return b""
        content = os.read(fd, _DIGEST_SIZE + _MAX_INSTRUCTIONS * _INSTRUCTION_SIZE)
    finally:
        os.close(fd)
    digest, program = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    # Part of a program may well be a program, and a weaker one.
    return program if program and digest == _digest(program) else b""


def _library_time(arch: str) -> float:
    """Return when libseccomp was installed (it may know more system calls now), 0 when it is not found."""
    machine = {"amd64": "x86_64"}.get(arch, arch)
    for directory in (f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib"):
        try:
            return os.stat(f"{directory}/{_LIBRARY}").st_ctime
        except OSError:
            continue
    return 0.0


def _keep(cache_dir: str, path: str, program: bytes) -> None:
    """Write the program to the cache; a cache that cannot be written only costs the next launch time."""
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(cache_dir, 0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, _digest(program) + program)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass


def _build(section: Mapping[str, Any]) -> bytes:
    from appc.host import libseccomp

    default = _action(section, "defaultAction", "defaultErrnoRet", "linux.seccomp")
    with libseccomp.Filter(default) as program:
        for name in section.get("architectures") or ():
            program.add_architecture(name)
        for index, rule in enumerate(section.get("syscalls") or ()):
            where = f"linux.seccomp.syscalls[{index}]"
            action = _action(rule, "action", "errnoRet", where)
            if action == default:
                continue
            for conditions in _alternatives(rule.get("args") or ()):
                for name in rule["names"]:
                    program.add_rule(action, name, conditions, where)
        code = program.export()
    count = len(code) // _INSTRUCTION_SIZE
    if count > _MAX_INSTRUCTIONS:
        raise Unenforceable(f"needs {count} BPF instructions, the kernel takes {_MAX_INSTRUCTIONS}", "linux.seccomp")
    return code


def _action(section: Mapping[str, Any], name: str, errno_name: str, where: str) -> int:
    from appc.host import libseccomp

    action = section[name]
    errno = section.get(errno_name)
    number = libseccomp.ACTIONS.get(action)
    if number is None:
        raise InvalidValue(f"no seccomp action is called {action}", f"{where}.{name}")
    if action in libseccomp.WITH_NUMBER:
        return number | (libseccomp.EPERM if errno is None else int(errno) & 0xFFFF)
    if errno is not None and name == "action":
        raise InvalidValue(f"{action} returns no errno", f"{where}.{errno_name}")
    return number


def _alternatives(arguments: Any) -> list[tuple[tuple[int, str, int, int], ...]]:
    """Return the conditions of a rule as alternatives of conjunctions.

    All conditions must hold, unless two are about the same argument: then any one suffices, which is how
    profiles written for OCI runtimes mean it (libseccomp takes one comparison for each argument of a rule).
    """
    conditions = tuple(
        (argument["index"], argument["op"], argument["value"], argument.get("valueTwo") or 0) for argument in arguments
    )
    if len({condition[0] for condition in conditions}) == len(conditions):
        return [conditions]
    return [(condition,) for condition in conditions]
