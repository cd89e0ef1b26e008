"""The text of mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations


def unescape(field: str) -> str:
    """Undo the octal escapes (space, tab, newline, backslash, #) of a mountinfo field."""
    if "\\" not in field:
        return field
    head, *rest = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
