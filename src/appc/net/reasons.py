"""What an exception of the network means, in the words of one line."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl

from urllib3 import exceptions

from appc.errors import NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Numbers of OpenSSL (x509_vfy.h), which Python passes on without names.
_CERTIFICATES = {
    9: "its certificate is not valid yet: is this host's clock right?",
    10: "its certificate has expired",
    18: "its certificate is self-signed, and not trusted here",
    19: "its certificate was issued by an authority that is not trusted here",
    20: "its certificate was issued by an authority that is not trusted here",
    21: "its certificate was issued by an authority that is not trusted here",
    23: "its certificate was revoked",
    62: "its certificate is for another name",
    64: "its certificate is for another address",
}
_TLS = {
    "WRONG_VERSION_NUMBER": "does not speak TLS on this port",
    "HTTP_REQUEST": "does not speak TLS on this port",
    "UNSUPPORTED_PROTOCOL": "speaks only versions of TLS that are no longer safe",
    "TLSV1_ALERT_PROTOCOL_VERSION": "speaks only versions of TLS that are no longer safe",
    "UNEXPECTED_EOF_WHILE_READING": "closed the connection within the TLS exchange",
}
_AUTHORITY_HINT = "the configuration's net.caFile names the certificates of authorities to trust as well"


def explain(error: BaseException, where: str, host: str, connect: float, read: float, proxy: str = "") -> NetworkError:
    """Return the NetworkError that `error`, raised while `where` was fetched from `host`, means.

    `proxy` is the host of the proxy in between, if there is one. `connect` and `read` are the times, in seconds, after
    which connecting or reading was given up.
    """
    if isinstance(error, NetworkError):
        return error
    chain = list(_causes(error))
    if any(isinstance(cause, exceptions.ProxyError) for cause in chain):
        host = f"{proxy} (the proxy)"
    for cause in chain:
        found = _one(cause, where, host, connect, read)
        if found is not None:
            return found
    return NetworkError(f"cannot be fetched from {host}: {str(error).splitlines()[0]}", where)


def dropped(error: BaseException) -> bool:
    """Tell whether the connection broke in a way that another attempt may not: a reset, or an end without answer."""
    kinds = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, http.client.RemoteDisconnected)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what led to it, the innermost first: urllib3 wraps what happened in its own."""
    chain: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if not isinstance(cause, BaseException) or cause in chain:
            continue
        chain.append(cause)
        waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return reversed(chain)


def _one(cause: BaseException, where: str, host: str, connect: float, read: float) -> NetworkError | None:
    if isinstance(cause, ssl.SSLError):
        return _tls(cause, where, host)
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            return NetworkError(f"the name {host} cannot be looked up: the name server does not answer", where)
        return NetworkError(f"there is no host {host}", where)
    if isinstance(cause, exceptions.ConnectTimeoutError) and not isinstance(cause, exceptions.NewConnectionError):
        return NetworkError(f"{host} does not answer (waited {connect:.0f} s)", where)
    if isinstance(cause, exceptions.ReadTimeoutError):
        return NetworkError(f"{host} has sent nothing for {read:.0f} s", where)
    if isinstance(cause, ConnectionRefusedError):
        return NetworkError(f"{host} refuses connections", where)
    if isinstance(cause, exceptions.IncompleteRead | http.client.IncompleteRead):
        return NetworkError(f"{host} ended its answer before it was complete", where)
    if isinstance(cause, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return NetworkError(f"{host} closed the connection without an answer", where)
    if isinstance(cause, OSError) and cause.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
        return NetworkError(f"no way to {host}: {os.strerror(cause.errno).lower()}", where)
    if isinstance(cause, http.client.LineTooLong) or "got more than" in str(cause):
        return NetworkError(f"{host} sends too many headers, or too long ones", where)
    if isinstance(cause, http.client.HTTPException) and not isinstance(cause, http.client.InvalidURL):
        return NetworkError(f"{host} does not speak HTTP as it should ({type(cause).__name__})", where)
    if isinstance(cause, exceptions.LocationValueError | http.client.InvalidURL | UnicodeError):
        return NetworkError("is not a URL", where)
    if isinstance(cause, OSError) and "Tunnel connection failed" in str(cause):
        return NetworkError(f"the proxy refuses it ({str(cause).rpartition('failed: ')[2]})", where)
    return None


def _tls(error: ssl.SSLError, where: str, host: str) -> NetworkError:
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATES.get(error.verify_code)
        what = known or f"its certificate is not accepted ({error.verify_message})"
        hint = _AUTHORITY_HINT if error.verify_code in (18, 19, 20, 21) else ""
        return NetworkError(f"{host} is not who it should be: {what}", where, hint)
    what = _TLS.get(error.reason or "", f"TLS with it fails ({(error.reason or str(error)).lower().replace('_', ' ')})")
    return NetworkError(f"{host}: {what}", where)
