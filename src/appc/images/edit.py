"""Changing image manifests: names, labels, the app's fields, isolators, dependencies, one edit after the other.

A manifest is edited as the JSON object it is, so that what no edit names survives: unknown fields, the order and the
spelling of keys. Adding replaces what has the same name, at its place. Faults, of edits and of the result alike, are
collected and raised together by `finish`.
"""

from __future__ import annotations

from appc.errors import InvalidValue, ManifestError
from appc.schema.image import Dependency, ImageManifest
from appc.schema.isolators import CAPS_REMOVE, CAPS_RETAIN, SECCOMP_REMOVE, SECCOMP_RETAIN
from appc.schema.json import loads
from appc.schema.record import encoded
from appc.values import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from appc.schema.image import MountPoint, Port
    from appc.schema.isolators import Isolator

# Isolators that say the same in two ways: setting one removes the other.
_RIVALS = {
    CAPS_RETAIN: CAPS_REMOVE,
    CAPS_REMOVE: CAPS_RETAIN,
    SECCOMP_RETAIN: SECCOMP_REMOVE,
    SECCOMP_REMOVE: SECCOMP_RETAIN,
}


class NothingToRemove(ManifestError):
    """All that is wrong is that what was to be removed is not there."""


class ManifestEditor:
    """An image manifest being edited. `data` is its JSON text; raises ManifestError when that is no object."""

    def __init__(self, data: bytes, where: str = "") -> None:
        try:
            manifest = loads(data)
            if not isinstance(manifest, dict):
                raise InvalidValue("must be an object")
        except InvalidValue as error:
            raise ManifestError([("", error.what)], where) from None
        except ManifestError as error:
            raise ManifestError(list(error.faults), where) from None
        self._data = data
        self._where = where
        self._manifest: dict[str, Any] = manifest
        self._before = encoded(manifest)
        self._faults: list[tuple[str, str]] = []
        self._absences = 0
        self._makes_app = False

    # The image ----------------------------------------------------------------------------------

    def set_name(self, name: str) -> None:
        """Set the image's name."""
        _put(self._manifest, "name", name)

    def set_label(self, name: str, value: str) -> None:
        """Set a label; the version of an image is one."""
        self._set(self._list("labels"), _named(name), {"name": name, "value": value})

    def remove_label(self, name: str) -> None:
        """Remove a label."""
        self._remove(("labels",), _named(name), f"label {quoted(name)}")

    def set_annotation(self, name: str, value: str) -> None:
        """Set an annotation."""
        self._set(self._list("annotations"), _named(name), {"name": name, "value": value})

    def remove_annotation(self, name: str) -> None:
        """Remove an annotation."""
        self._remove(("annotations",), _named(name), f"annotation {quoted(name)}")

    def set_dependency(self, dependency: Dependency) -> None:
        """Add a dependency after the others, or put it in the place of the one on the image of that name."""
        self._set(self._list("dependencies"), _named(dependency.image_name, "imageName"), dependency.to_dict())

    def remove_dependency(self, name: str) -> None:
        """Remove the dependencies on images of that name."""
        self._remove(("dependencies",), _named(name, "imageName"), f"dependency on {quoted(name)}")

    def add_whitelisted(self, path: str) -> None:
        """Add a path to the whitelist, unless it is there."""
        listed = self._list("pathWhitelist")
        if path not in listed:
            listed.append(path)

    def remove_whitelisted(self, path: str) -> None:
        """Remove a path from the whitelist."""
        self._remove(("pathWhitelist",), lambda item: item == path, quoted(path))

    # The app ------------------------------------------------------------------------------------

    def set_exec(self, words: Sequence[str]) -> None:
        """Set the app's command; an image without an app gets one."""
        self._makes_app = True
        _put(self._app(), "exec", list(words))

    def set_user(self, user: str) -> None:
        """Set the user the app runs as: a name, a number, or a path whose owner is meant."""
        _put(self._app(), "user", user)

    def set_group(self, group: str) -> None:
        """Set the group the app runs as."""
        _put(self._app(), "group", group)

    def set_supplementary_gids(self, gids: Sequence[int]) -> None:
        """Set the app's further groups."""
        self._put_or_drop("supplementaryGIDs", list(gids))

    def set_working_directory(self, path: str) -> None:
        """Set the app's working directory; "" removes it."""
        self._put_or_drop("workingDirectory", path)

    def set_variable(self, name: str, value: str) -> None:
        """Set a variable of the app's environment."""
        self._set(self._list("environment", app=True), _named(name), {"name": name, "value": value})

    def remove_variable(self, name: str) -> None:
        """Remove a variable."""
        self._remove(("app", "environment"), _named(name), f"variable {quoted(name)}")

    def set_mount_point(self, point: MountPoint) -> None:
        """Add a mount point, or replace the one of its name."""
        self._set(self._list("mountPoints", app=True), _named(point.name), point.to_dict())

    def remove_mount_point(self, key: str) -> None:
        """Remove the mount point of that name, or of that path if `key` begins with a slash."""
        self._remove(
            ("app", "mountPoints"), _named(key, "path" if key[:1] == "/" else "name"), f"mount point {quoted(key)}"
        )

    def set_port(self, port: Port) -> None:
        """Add a port, or replace the one of its name."""
        self._set(self._list("ports", app=True), _named(port.name), port.to_dict())

    def remove_port(self, key: str) -> None:
        """Remove the ports of that name, or of that number."""
        number = int(key) if key.isascii() and key.isdigit() else None
        self._remove(
            ("app", "ports"),
            lambda item: _named(key)(item) or (number is not None and _get(item, "port") == number),
            f"port {quoted(key)}",
        )

    def set_isolator(self, isolator: Isolator) -> None:
        """Add an isolator, or replace those of its name and those that would contradict it."""
        rival = _RIVALS.get(isolator.name)
        isolators = self._list("isolators", app=True)
        if rival:
            isolators[:] = [item for item in isolators if not _named(rival)(item)]
        self._set(isolators, _named(isolator.name), isolator.to_dict())

    def remove_isolator(self, name: str) -> None:
        """Remove the isolators of that name."""
        self._remove(("app", "isolators"), _named(name), f"isolator {quoted(name)}")

    def set_handler(self, name: str, words: Sequence[str]) -> None:
        """Set what is executed at an event: pre-start or post-stop."""
        self._set(self._list("eventHandlers", app=True), _named(name), {"name": name, "exec": list(words)})

    def remove_handler(self, name: str) -> None:
        """Remove the handler of an event."""
        self._remove(("app", "eventHandlers"), _named(name), f"event handler {quoted(name)}")

    def set_user_entry(self, field: str, name: str, value: str) -> None:
        """Set an entry of the app's `userLabels` or `userAnnotations`."""
        app = self._app()
        entries = _get(app, field)
        if not isinstance(entries, dict):
            entries = {}
            _put(app, field, entries)
        entries[name] = value

    def remove_user_entry(self, field: str, name: str) -> None:
        """Remove an entry of the app's `userLabels` or `userAnnotations`."""
        entries = _get(self._app(), field)
        if not isinstance(entries, dict) or name not in entries:
            self._absent(f"app.{field}", quoted(name))
            return
        del entries[name]
        self._put_or_drop(field, entries)

    # --------------------------------------------------------------------------------------------

    def finish(self) -> bytes:
        """The edited manifest as JSON; the very bytes it was made from if nothing changed.

        Raises ManifestError with all faults.
        """
        faults = list(self._faults)
        app = _get(self._manifest, "app")
        if isinstance(app, dict) and _get(self._before, "app") is None and not self._makes_app:
            _drop(self._manifest, "app")
            if app:
                faults.append(("app", "is missing: an image without a command has no app to change"))
        try:
            manifest = ImageManifest.parse(self._manifest)
        except ManifestError as error:
            faults += error.faults
        if faults:
            kind = NothingToRemove if len(faults) == self._absences else ManifestError
            raise kind(faults, self._where)
        return self._data if self._manifest == self._before else manifest.to_json()

    def _app(self) -> dict[str, Any]:
        """The app section, made if need be; `finish` sees to it that it is allowed."""
        app = _get(self._manifest, "app")
        if not isinstance(app, dict):
            app = {}
            _put(self._manifest, "app", app)
        return app

    def _list(self, field: str, app: bool = False) -> list[Any]:
        """The list `field` of the manifest or of its app, made if need be."""
        holder = self._app() if app else self._manifest
        items = _get(holder, field)
        if not isinstance(items, list):
            items = []
            _put(holder, field, items)
        return items

    def _set(self, items: list[Any], same: Callable[[Any], bool], new: dict[str, Any]) -> None:
        """Put `new` in the place of the first that is the same, and drop the others; at the end if there is none."""
        places = [index for index, item in enumerate(items) if same(item)]
        if not places:
            items.append(new)
            return
        items[places[0]] = new
        for index in reversed(places[1:]):
            del items[index]

    def _remove(self, path: tuple[str, ...], same: Callable[[Any], bool], what: str) -> None:
        holder: Any = self._manifest
        for step in path[:-1]:
            holder = _get(holder, step)
        items = _get(holder, path[-1])
        left = [item for item in items if not same(item)] if isinstance(items, list) else None
        if left is None or len(left) == len(items):
            self._absent(".".join(path), what)
        elif left:
            _put(holder, path[-1], left)
        else:
            _drop(holder, path[-1])

    def _put_or_drop(self, field: str, value: object) -> None:
        app = self._app()
        if value:
            _put(app, field, value)
        else:
            _drop(app, field)

    def _absent(self, path: str, what: str) -> None:
        self._absences += 1
        self._faults.append((path, f"there is no {what} to remove"))


def parse_dependency(text: str) -> Dependency:
    """Read `NAME[:VERSION][,LABEL=VALUE…][,imageID=ID][,size=BYTES]`. Raises InvalidValue."""
    form = "the form is NAME[:VERSION][,LABEL=VALUE...][,imageID=sha512-...][,size=BYTES]"
    head, *parts = text.split(",")
    name, colon, version = head.partition(":")
    raw: dict[str, Any] = {"imageName": name}
    labels = [{"name": "version", "value": version}] if colon else []
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidValue(f"{quoted(part)} should be LABEL=VALUE", quoted(text), form)
        if key == "imageID":
            raw["imageID"] = value
        elif key == "size":
            if not value.isascii() or not value.isdigit() or len(value) > 20:
                raise InvalidValue(f"size: {quoted(value)} should be a number of bytes", quoted(text), form)
            raw["size"] = int(value)
        else:
            labels.append({"name": key, "value": value})
    if labels:
        raw["labels"] = labels
    try:
        return Dependency.parse(raw)
    except ManifestError as error:
        raise InvalidValue("; ".join(f"{path}: {what}" for path, what in error.faults), quoted(text), form) from None


def _named(name: str, key: str = "name") -> Callable[[Any], bool]:
    return lambda item: _get(item, key) == name


def _key(holder: dict[str, Any], key: str) -> str:
    """The spelling in which `holder` has `key`: readers ignore case."""
    return next((own for own in holder if own.casefold() == key.casefold()), key)


def _get(holder: Any, key: str) -> Any:
    return holder.get(_key(holder, key)) if isinstance(holder, dict) else None


def _put(holder: dict[str, Any], key: str, value: Any) -> None:
    holder[_key(holder, key)] = value


def _drop(holder: dict[str, Any], key: str) -> None:
    holder.pop(_key(holder, key), None)
