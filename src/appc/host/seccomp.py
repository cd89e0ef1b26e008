"""Seccomp programs from the `linux.seccomp` section of an OCI configuration.

A program is built once for each section and kept in a cache directory, so that a launch only reads a file.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Part of every cache key: raise it when the same section is to give another program.
_VERSION = 3
_DIGEST_SIZE = 32
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
INSTRUCTION_SIZE = 8
_LIBRARY = "libseccomp.so.2"


def filter_bytes(section: Mapping[str, Any], cache_dir: str, machine: str) -> bytes:
    """Return the BPF program (an array of struct sock_filter) for a validated `linux.seccomp` section.

    `machine` is the host's (uname -m), `cache_dir` is made (0700) when missing. Names of system calls that libseccomp
    does not know are skipped. InvalidValue for a name or an errno that makes no sense, Unenforceable for a program
    longer than the kernel takes, HostError when libseccomp is needed and missing.
    """
    key = _digest(repr((_VERSION, machine, sorted(section.items(), key=lambda item: item[0]))).encode())
    path = f"{cache_dir}/{key.hex()}.bpf"
    program = _cached(path, machine)
    if not program:
        from appc.host.seccomp_build import build

        program = build(section)
        _keep(cache_dir, path, program)
    return program


def _digest(content: bytes) -> bytes:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # hashlib would load OpenSSL
    except ImportError:
        from hashlib import sha256
    digest: bytes = sha256(content).digest()
    return digest


def _cached(path: str, machine: str) -> bytes:
    """Return a program from the cache, or b"" when there is none, it is older than libseccomp or not whole."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022 or status.st_mtime < _library_time(machine):
            return b""
        content = os.read(fd, _DIGEST_SIZE + MAX_INSTRUCTIONS * INSTRUCTION_SIZE)
    finally:
        os.close(fd)
    digest, program = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    # Part of a program may well be a program, and a weaker one.
    return program if program and digest == _digest(program) else b""


def _library_time(machine: str) -> float:
    """Return when libseccomp was installed (it may know more system calls now), 0 when it is not found."""
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
