"""Devices of the host that an app is given, as `--device` and the annotation `appc.io/devices` name them."""

from __future__ import annotations

from appc.errors import InvalidValue

EVERYTHING = "rwm"
_SPACE = " \t\n\r\v\f"


class DeviceName:
    """One device: a path of the host, where the app finds it and what it may do, or ("kind" and "device") one of the
    Container Device Interface.

    `access` has the letters r (read), w (write) and m (make a node of it).
    """

    __slots__ = ("access", "device", "kind", "path", "target")

    def __init__(self, path: str = "", target: str = "", access: str = "", kind: str = "", device: str = "") -> None:
        self.path = path
        self.target = target
        self.access = access
        self.kind = kind
        self.device = device

    @classmethod
    def parse(cls, text: str) -> DeviceName:
        """Read `PATH[:TARGET][:ACCESS]` or `VENDOR/CLASS=DEVICE`. Raises InvalidValue."""
        if any(character in text for character in _SPACE):
            raise InvalidValue(f"{text!r} holds white space")
        if not text.startswith("/"):
            kind, equals, device = text.partition("=")
            vendor, slash, category = kind.partition("/")
            if not (equals and slash and vendor and category and device) or "/" in category:
                raise InvalidValue(f"{text!r} is not PATH[:TARGET][:rwm] or VENDOR/CLASS=DEVICE")
            return cls(kind=kind, device=device)
        path, *rest = text.split(":")
        access = rest.pop() if rest and not rest[-1].startswith("/") else EVERYTHING
        target = rest.pop() if rest else path
        if rest or not is_access(access) or ".." in target.split("/") or not target.startswith("/"):
            raise InvalidValue(f"{text!r} is not PATH[:TARGET][:rwm]")
        return cls(path, target, access)


def is_access(text: str) -> bool:
    """Whether `text` is some of the letters r, w and m, each once."""
    return bool(text) and set(text) <= set(EVERYTHING) and len(set(text)) == len(text)
