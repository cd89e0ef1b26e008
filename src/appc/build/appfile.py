"""Build files: what is in one, checked as a whole before anything is done; see docs/building.md.

A value is checked by the row of a table. All faults are told together, each with the path of what it is about.
"""

from __future__ import annotations

import os
import re

from appc.errors import AppcError, InvalidValue, ManifestError
from appc.formats.layout import read_document
from appc.formats.limits import DEFAULT
from appc.images.edit import parse_dependency
from appc.network.setup import parse as parse_networks
from appc.schema.json import dumps
from appc.values import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from appc.schema.image import Dependency

    Faults = list[tuple[str, str]]
    Check = Callable[[Any], Any]
    Edit = Callable[[bytes], bytes]
    # Makes of a table of edits what performs them; `path` is where the table is, for the faults it adds.
    Edits = Callable[[Mapping[str, Any], str, Faults], Edit]

FLAT, THIN = "flat", "thin"
_MOST_STEPS = 200
_LONGEST_TITLE = 60
# What `set` cannot say, and what says it.
_NOT_SET = {
    "manifest": "there is no other manifest than what the file describes",
    "name": "name",
    "dependency": "dependencies",
    "remove-dependency": "dependencies",
    "path-whitelist": "output",
    "remove-path-whitelist": "output",
}
_TRIAL = (
    b'{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "trial",'
    b' "app": {"exec": [], "user": "0", "group": "0"}}'
)
_ARGUMENT = re.compile(r"\$\{args\.([^}]*)\}")


class Step:
    """One step: its path in the file, what it does, the checked fields of that, in short, and for `set` the edit."""

    __slots__ = ("action", "edit", "fields", "path", "title")

    def __init__(
        self, path: str, action: str, fields: dict[str, Any], title: str = "", edit: Edit | None = None
    ) -> None:
        self.path = path
        self.action = action
        self.fields = fields
        self.title = title
        self.edit = edit

    @property
    def text(self) -> str:
        """The step in one line that is the same whenever the step is."""
        return dumps({self.action: dict(sorted(self.fields.items()))})


class Appfile:
    """A build file that has no faults."""

    __slots__ = ("base", "dependencies", "exclude", "output", "path", "start", "steps")

    def __init__(self, path: str, values: Mapping[str, Any], start: Edit, steps: list[Step]) -> None:
        self.path = path
        self.base: str = values.get("base", "")
        self.output: str = values.get("output", FLAT)
        self.exclude: list[str] = values.get("exclude", [])
        self.dependencies: list[Dependency] = values.get("dependencies", [])
        self.start = start
        self.steps = steps


def read(path: str, arguments: Mapping[str, str], edits: Edits) -> Appfile:
    """Read a build file, with the values of `arguments` for its own. Raises ManifestError with all faults."""
    document = read_document(path)
    faults: Faults = []
    given = document.pop("args", {})
    if not isinstance(given, dict) or any(isinstance(value, dict | list) for value in given.values()):
        faults.append(("args", "is not a table of strings"))
        given = {}
    values = {name: str(value) for name, value in given.items()}
    faults += [("args", f"there is no {quoted(name)} to set") for name in arguments if name not in values]
    values.update(arguments)
    document = _Arguments(values, faults).put_into(document, "")
    steps = document.pop("steps", [])
    edited = document.pop("set", {})
    top = _table(document, _TOP, "", faults)
    start = {"label": top.get("labels", {}), "annotation": top.get("annotations", {})}
    if "name" in top:
        start["name"] = top["name"]
    first = _tried(edits, start, "", faults)
    found = [] if edited == {} else [_set(edited, "set", edits, faults)]
    if not isinstance(steps, list) or len(steps) > _MOST_STEPS:
        faults.append(("steps", f"is not an array of at most {_MOST_STEPS} tables"))
        steps = []
    default: dict[str, Any] = {key: top[key] for key in ("network", "shell") if key in top}
    for index, step in enumerate(steps):
        made = _step(step, f"steps[{index}]", default, edits, faults)
        if made is not None:
            found.append(made)
    if faults:
        raise ManifestError(faults, path)
    return Appfile(path, top, first, found)


class _Arguments:
    """Puts the values of arguments in the places of `${args.NAME}`, as long as that does not come to too much."""

    def __init__(self, values: Mapping[str, str], faults: Faults) -> None:
        self._values = values
        self._faults = faults
        self._left = DEFAULT.manifest

    def put_into(self, value: Any, path: str) -> Any:
        """`value` with every string in it replaced."""
        if isinstance(value, dict):
            return {key: self.put_into(item, f"{path}.{key}" if path else key) for key, item in value.items()}
        if isinstance(value, list):
            return [self.put_into(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        for name in _ARGUMENT.findall(value):
            if name not in self._values:
                self._faults.append((path, f"args has no {quoted(name)}"))
            before, self._left = self._left, self._left - len(self._values.get(name, ""))
            if self._left < 0:
                if before >= 0:
                    self._faults.append((path, f"with its arguments the file is longer than {DEFAULT.manifest} bytes"))
                return ""
        return _ARGUMENT.sub(lambda match: self._values.get(match[1], ""), value)


def _step(step: Any, path: str, default: Mapping[str, Any], edits: Edits, faults: Faults) -> Step | None:
    if not isinstance(step, dict) or len(step) != 1:
        faults.append((path, f"is not a table with one of {', '.join(_ACTIONS)}"))
        return None
    ((action, body),) = step.items()
    path = f"{path}.{action}"
    if action not in _ACTIONS:
        faults.append((path, _unknown(action, _ACTIONS)))
        return None
    if action == "set":
        return _set(body, path, edits, faults)
    if action == "env":
        return _set({"env": body}, path.removesuffix(".env"), edits, faults)
    rows, short = _FIELDS[action]
    if short and isinstance(body, str | list):
        body = {short: body}
    fields = _table(body, rows, path, faults)
    title = _title(fields)
    if action == "run":
        fields = {"network": "none", "shell": ["/bin/sh", "-c"], **default, **fields}
        if isinstance(fields.get("command"), str):
            fields["command"] = [*fields["shell"], fields["command"]]
        del fields["shell"]
    return Step(path, action, fields, title)


def _title(fields: Mapping[str, Any]) -> str:
    said = next((fields[name] for name in ("command", "to", "path", "paths") if name in fields), "")
    said = " ".join((" ".join(said) if isinstance(said, list) else said).split())
    return said if len(said) <= _LONGEST_TITLE else f"{said[: _LONGEST_TITLE - 3]}..."


def _set(body: Any, path: str, edits: Edits, faults: Faults) -> Step:
    if not isinstance(body, dict):
        faults.append((path, "is not a table"))
        body = {}
    for key in body:
        if key in _NOT_SET:
            faults.append((f"{path}.{key}", f"is said for the whole file: {_NOT_SET[key]}"))
    return Step(path, "set", {}, "", _tried(edits, body, path, faults))


def _tried(edits: Edits, body: dict[str, Any], path: str, faults: Faults) -> Edit:
    """The edit that `body` asks for, after trying it on a manifest that says little.

    What it removes depends on the base, so nothing can be said of that yet.
    """
    edit = edits(body, path, faults)
    try:
        edits({key: value for key, value in body.items() if not key.startswith("remove-")}, "", [])(_TRIAL)
    except ManifestError as error:
        faults += [(": ".join(part for part in (path, where) if part), what) for where, what in error.faults]
    return edit


def _table(body: Any, rows: Mapping[str, tuple[bool, Check]], path: str, faults: Faults) -> dict[str, Any]:
    """The checked values of a table."""
    if not isinstance(body, dict):
        faults.append((path, "is not a table"))
        return {}
    prefix = f"{path}." if path else ""
    found = {}
    for key, value in body.items():
        if key not in rows:
            faults.append((f"{prefix}{key}", _unknown(key, rows)))
            continue
        try:
            found[key] = rows[key][1](value)
        except InvalidValue as error:
            faults.append((f"{prefix}{key}", error.what))
        except AppcError as error:
            faults.append((f"{prefix}{key}", str(error)))
    faults += [(f"{prefix}{key}", "is missing") for key, (required, _) in rows.items() if required and key not in body]
    return found


def _unknown(key: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    import difflib  # only when something is already wrong

    near = difflib.get_close_matches(key, list(known), 1, 0.6)
    return f"is not known here; did you mean {near[0]}?" if near else f"is not known here: {', '.join(known)} are"


# Checks ---------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidValue("is not a text of at least one character")
    return value


def _any_text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidValue("is not a text")
    return value


def _texts(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values:
        raise InvalidValue("is neither a text nor an array of texts")
    return [_text(one) for one in values]


def _patterns(value: Any) -> list[str]:
    return [] if value == [] else _texts(value)


def _path(value: Any) -> str:
    text = _text(value)
    if not text.startswith("/"):
        raise InvalidValue(f"{quoted(text)} does not begin with a slash")
    return os.path.normpath("/" + text.lstrip("/")) + ("/" if text.endswith("/") and text.strip("/") else "")


def _paths(value: Any) -> list[str]:
    return [_path(one) for one in _texts(value)]


def _command(value: Any) -> str | list[str]:
    return _text(value) if isinstance(value, str) else _texts(value)


def _mode(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"(0o?)?[0-7]{1,4}", value):
        value = int(value.replace("o", ""), 8)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0o7777:
        raise InvalidValue('is not a mode such as "0644"')
    return value


def _owner(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    text = _text(value)
    if not re.fullmatch(r"[^:\s]+(:[^:\s]+)?", text):
        raise InvalidValue(f"{quoted(text)} is not USER or USER:GROUP")
    return text


def _one_of(*words: str) -> Check:
    def check(value: Any) -> str:
        if value not in words:
            raise InvalidValue(f"is not one of {', '.join(words)}")
        return str(value)

    return check


def _network(value: Any) -> str:
    text = _text(value)
    if text not in ("none", "host"):
        try:
            parse_networks(text)
        except AppcError as error:
            raise InvalidValue(error.what) from None
    return text


def _strings(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str | int | float) for one in value.values()):
        raise InvalidValue("is not a table of texts")
    return {key: one if isinstance(one, str) else str(one) for key, one in value.items()}


def _dependencies(value: Any) -> list[Dependency]:
    return [parse_dependency(one) for one in _patterns(value)]


_TOP = {
    "name": (False, _text),
    "base": (False, _text),
    "output": (False, _one_of(FLAT, THIN)),
    "labels": (False, _strings),
    "annotations": (False, _strings),
    "dependencies": (False, _dependencies),
    "exclude": (False, _patterns),
    "network": (False, _network),
    "shell": (False, _texts),
}

# For each action its fields (whether one has to be there, and its check), and the field that stands for a table.
_FIELDS: dict[str, tuple[dict[str, tuple[bool, Check]], str]] = {
    "copy": (
        {"from": (True, _texts), "to": (True, _path), "owner": (False, _owner), "mode": (False, _mode)},
        "",
    ),
    "run": (
        {
            "command": (True, _command),
            "network": (False, _network),
            "env": (False, _strings),
            "working-dir": (False, _path),
            "user": (False, _owner),
            "shell": (False, _texts),
        },
        "command",
    ),
    "remove": ({"paths": (True, _paths)}, "paths"),
    "mkdir": ({"path": (True, _path), "owner": (False, _owner), "mode": (False, _mode)}, "path"),
    "symlink": ({"path": (True, _path), "to": (True, _text)}, ""),
    "write": (
        {"path": (True, _path), "text": (True, _any_text), "owner": (False, _owner), "mode": (False, _mode)},
        "",
    ),
}
_ACTIONS = (*_FIELDS, "env", "set")
