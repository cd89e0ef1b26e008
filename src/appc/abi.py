"""Names to which the Linux ABI gives numbers, as manifests and configurations spell them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

# capabilities(7); the position is the bit.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
CAPABILITY_BITS = {name: bit for bit, name in enumerate(CAPABILITIES)}

# errno(3) as most architectures number them; the position is the number, "-" is not assigned.
_ERRNOS = (
    "- EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST "
    "EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM "
    "ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP - ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG "
    "EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR ENODATA ETIME ENOSR ENONET "
    "ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG "
    "ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE "
    "EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE "
    "EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN "
    "ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL "
    "EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD "
    "ENOTRECOVERABLE ERFKILL EHWPOISON"
)
_ERRNO_SYNONYMS = {"EWOULDBLOCK": "EAGAIN", "EDEADLOCK": "EDEADLK", "ENOTSUP": "EOPNOTSUPP"}

# sysctl(8) parameters of IPC namespaces, besides fs.mqueue.*
_IPC_PARAMETERS = (
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
)


def capability_names(mask: int) -> list[str]:
    """Return the names of the bits set in `mask`, lowest first; bits without a name are left out."""
    return [name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1]


def errno_number(name: str) -> int:
    """Return the number of an errno name; 0 when Linux has none of that name."""
    names = _ERRNOS.split(" ")
    name = _ERRNO_SYNONYMS.get(name, name)
    return names.index(name) if name in names and name != "-" else 0


def errno_name(number: int) -> str:
    """Return the name of an errno, or its digits when it has none."""
    names = _ERRNOS.split(" ")
    return names[number] if 0 < number < len(names) and names[number] != "-" else str(number)


def is_own_sysctl(key: str, namespaces: Collection[str]) -> bool:
    """Tell whether a sysctl(8) parameter belongs to one of `namespaces` (OCI names); any other would change the host.

    A key that is not well formed belongs nowhere. The host name has a field of its own.
    """
    if not all(key.split(".")) or "/" in key:
        return False
    if key.startswith("net."):
        return "network" in namespaces
    if key in _IPC_PARAMETERS or key.startswith("fs.mqueue."):
        return "ipc" in namespaces
    return key == "kernel.domainname" and "uts" in namespaces


# signal(7), as most architectures number them; the position is the number.
_SIGNALS = (
    "- HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG"
)
_SIGNALS += " XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
_SIGNAL_NUMBERS = {name: number for number, name in enumerate(_SIGNALS.split()) if number}
_LAST_SIGNAL = 64
# What glibc leaves to programs of the real-time signals; beginning and end are counted from.
_REAL_TIME = {"RTMIN+": (34, 1), "RTMAX-": (_LAST_SIGNAL, -1)}


def signal_number(text: str) -> int:
    """Return the number of a signal: TERM, SIGTERM, sigterm, 15, RTMIN+3. ValueError for what is none."""
    name = text.upper().removeprefix("SIG")
    if name in _SIGNAL_NUMBERS:
        return _SIGNAL_NUMBERS[name]
    number = int(text) if text.isascii() and text.isdecimal() else 0
    base, offset = name[:6], name[6:] or "0"
    base = {"RTMIN": "RTMIN+", "RTMAX": "RTMAX-"}.get(base, base)
    if base in _REAL_TIME and offset.isascii() and offset.isdecimal():
        begin, step = _REAL_TIME[base]
        number = begin + step * int(offset)
        number = number if number >= _REAL_TIME["RTMIN+"][0] else 0
    if not 1 <= number <= _LAST_SIGNAL:
        raise ValueError(f"{text!r} is not a signal")
    return number


def signal_name(number: int) -> str:
    """Return the name of a signal, `SIGTERM`, or `signal N` for one that has none."""
    names = _SIGNALS.split()
    return f"SIG{names[number]}" if 0 < number < len(names) else f"signal {number}"
