"""CRIU's messages (its images/rpc.proto), as Protocol Buffers write them: numbered fields, each a number or a string.

Of the format only what these messages use is here: whole numbers from 0 on, strings, and messages within messages, all
of whose fields are given in their order.
"""

from __future__ import annotations

from appc.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Scalar = int | str
    Option = tuple[str, Scalar | tuple[Scalar, ...]]

# enum criu_req_type
DUMP, RESTORE, PRE_DUMP, NOTIFY = 1, 2, 4, 6
# enum criu_cg_mode, by the names of --manage-cgroups-mode; IGNORE would restore processes to the caller's groups.
CGROUP_MODES = {"soft": 3, "full": 4, "strict": 5}
# message criu_opts: what is a tuple here is a message of its own there.
OPTIONS = {
    "images_dir_fd": 1,
    "pid": 2,
    "leave_running": 3,
    "ext_unix_sk": 4,
    "tcp_established": 5,
    "shell_job": 7,
    "file_locks": 8,
    "log_level": 9,
    "log_file": 10,
    "notify_scripts": 12,
    "root": 13,
    "parent_img": 14,
    "track_mem": 15,
    "auto_dedup": 16,
    "work_dir_fd": 17,
    "link_remap": 18,
    "ext_mnt": 23,  # (key, value)
    "manage_cgroups": 24,
    "cg_root": 25,  # (controller, path)
    "rst_sibling": 26,
    "inherit_fd": 27,  # (key, descriptor)
    "manage_cgroups_mode": 34,
    "external": 37,
    "empty_ns": 38,
    "join_ns": 39,  # (namespace, file)
    "freeze_cgroup": 44,
    "tcp_skip_in_flight": 46,
    "orphan_pts_master": 50,
    "tcp_close": 52,
    "lsm_profile": 53,
    "lsm_mount_context": 63,
}
# message criu_req
_TYPE, _OPTS, _NOTIFY_SUCCESS = 1, 2, 3
# message criu_resp, and those in it
_SUCCESS, _RESTORED, _NOTICE, _MESSAGE = 2, 4, 5, 9
_RESTORED_PID = 1
_SCRIPT, _SCRIPT_PID = 1, 2

_NUMBER, _EIGHT, _STRING, _FOUR = 0, 1, 2, 5  # wire types
_MOST_BITS = 64


class Response:
    """What CRIU says: `kind` is the type of the request it answers, or NOTIFY, when it awaits an answer to `script`.

    `pid` is that of the first process restored, or of the one that a script is about; `message` is the reason of a
    failure, if it gives one.
    """

    __slots__ = ("kind", "message", "pid", "script", "success")

    def __init__(self, data: bytes) -> None:
        """Read a message; HostError for what is none."""
        fields = _decode(data)
        self.kind = _int(fields, _TYPE)
        self.success = bool(_int(fields, _SUCCESS))
        self.message = _bytes(fields, _MESSAGE).decode(errors="replace")
        notice = _decode(_bytes(fields, _NOTICE))
        self.script = _bytes(notice, _SCRIPT).decode(errors="replace")
        self.pid = _int(notice, _SCRIPT_PID) or _int(_decode(_bytes(fields, _RESTORED)), _RESTORED_PID)


def request(kind: int, options: Iterable[Option]) -> bytes:
    """Return a request with options by their names, of which some may be given several times."""
    opts = b"".join(_field(OPTIONS[name], value) for name, value in options)
    return _field(_TYPE, kind) + _field(_OPTS, opts)


def answer(success: bool) -> bytes:
    """Return the answer to a NOTIFY."""
    return _field(_TYPE, NOTIFY) + _field(_NOTIFY_SUCCESS, int(success))


def failure(kind: int, message: str) -> bytes:
    """Return the response to a request that failed before CRIU itself could say so."""
    return _field(_TYPE, kind) + _field(_SUCCESS, 0) + _field(_MESSAGE, message)


def _field(number: int, value: Scalar | bytes | tuple[Scalar, ...]) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _NUMBER) + _varint(value)
    if isinstance(value, tuple):
        # An empty string is an optional field that is not there.
        value = b"".join(_field(index, part) for index, part in enumerate(value, 1) if part != "")
    data = value if isinstance(value, bytes) else value.encode(errors="surrogateescape")
    return _varint(number << 3 | _STRING) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _decode(data: bytes) -> dict[int, int | bytes]:
    """Return the fields by number, the last of each."""
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        key, at = _read(data, at)
        kind = key & 7
        if kind == _NUMBER:
            fields[key >> 3], at = _read(data, at)
            continue
        if kind == _STRING:
            size, at = _read(data, at)
        elif kind in (_EIGHT, _FOUR):
            size = {_EIGHT: 8, _FOUR: 4}[kind]
        else:
            raise HostError(f"a field of the unknown kind {kind} came", "criu")
        if size > len(data) - at:
            raise HostError("a message came that ends in a field", "criu")
        fields[key >> 3] = data[at : at + size]
        at += size
    return fields


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, _MOST_BITS, 7):
        if at == len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise HostError("a message came that ends in a number", "criu")


def _int(fields: dict[int, int | bytes], number: int) -> int:
    value = fields.get(number, 0)
    return value if isinstance(value, int) else 0


def _bytes(fields: dict[int, int | bytes], number: int) -> bytes:
    value = fields.get(number, b"")
    return value if isinstance(value, bytes) else b""
