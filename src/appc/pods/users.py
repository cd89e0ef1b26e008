"""Who an app runs as: names, numbers and paths of the manifest resolved in the app's own root.

aci.md ("app": user, group, supplementaryGIDs): a name is looked up in the image's /etc/passwd and
/etc/group first, then read as a number; a string that begins with "/" means the owner of that path.
"""

from __future__ import annotations

import os

from appc.errors import AppcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from appc.images.view import TreeView

DATABASE_LIMIT = 4 * 1024 * 1024
HIGHEST_ID = 2**32 - 2


class Identity:
    """uid, gid and supplementary groups, as numbers, and the passwd entry's home and name if any."""

    __slots__ = ("gid", "groups", "home", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], name: str, home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.name = name
        self.home = home


def resolve(view: TreeView, user: str, group: str, supplementary: tuple[int, ...], where: str) -> Identity:
    """Resolve `user` and `group` of an app in its root; AppcError names the field that has no answer."""
    users = _entries(view, "/etc/passwd", 7, f"{where}.user")
    if user.startswith("/"):
        uid = _owner(view, user, f"{where}.user")[0]
    else:
        uid = _lookup(users, user, f"{where}.user", "/etc/passwd")
    if group.startswith("/"):
        gid = _owner(view, group, f"{where}.group")[1]
    else:
        gid = _lookup(_entries(view, "/etc/group", 3, f"{where}.group"), group, f"{where}.group", "/etc/group")
    entry = next((fields for fields in users if fields[0] == user or fields[2] == str(uid)), None)
    return Identity(uid, gid, supplementary, entry[0] if entry else "", entry[5] if entry else "")


def beside(view: TreeView, user: str, group: str, own: Mapping[str, Any]) -> Identity:
    """Resolve who a command beside an app is to run as; `own` is the app's user as its OCI configuration has it.

    Without `user` that is the app's own. Without `group` it is that of the user's entry in /etc/passwd, else the app's.
    """
    found = resolve(view, user or str(own["uid"]), group or str(own["gid"]), (), "enter")
    if user and not group and found.name:
        fields = next(entry for entry in _entries(view, "/etc/passwd", 7, "enter.user") if entry[0] == found.name)
        if _is_number(fields[3]):
            found.gid = _checked(fields[3], "enter.user")
    return found


def _entries(view: TreeView, path: str, count: int, where: str) -> list[list[str]]:
    try:
        text = view.read(path, DATABASE_LIMIT).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []
    except OSError as error:
        raise AppcError(f"the image's {path} cannot be read: {os.strerror(error.errno or 0)}", where) from None
    return [fields for fields in (line.split(":") for line in text.split("\n")) if len(fields) >= count]


def _lookup(entries: list[list[str]], name: str, where: str, database: str) -> int:
    for fields in entries:
        if fields[0] == name and _is_number(fields[2]):
            return _checked(fields[2], where)
    if _is_number(name):
        return _checked(name, where)
    raise AppcError(
        f"{name!r} is neither in the image's {database} nor a number",
        where,
        "use a name the image has, a number, or the path of a file whose owner is meant",
    )


def _owner(view: TreeView, path: str, where: str) -> tuple[int, int]:
    try:
        found = view.stat(path)
    except OSError:
        raise AppcError(f"{path} does not exist in the image, so its owner cannot be taken", where) from None
    return found.st_uid, found.st_gid


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _checked(digits: str, where: str) -> int:
    if len(digits) > 20 or int(digits) > HIGHEST_ID:
        raise AppcError(f"{digits[:20]} is not a valid ID (0 to {HIGHEST_ID})", where)
    return int(digits)
