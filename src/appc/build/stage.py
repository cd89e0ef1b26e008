"""A stage of a Dockerfile: its files, and the configuration that its instructions make."""

from __future__ import annotations

import re

from appc.build.manifest import manifest
from appc.errors import InvalidValue
from appc.formats.convert_image import CMD, ENTRYPOINT, STOP_SIGNAL, command_of, volume_name
from appc.schema.image import App, EnvVar, ImageManifest
from appc.schema.json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from appc.build.layered import Layered
    from appc.build.overlay import Overlay
    from appc.images.view import TreeView

_SHELL = ("/bin/sh", "-c")


class Stage:
    """One stage: its number, its name, its files and what its image will say beside them."""

    def __init__(self, number: int, name: str, files: Layered, config: Config) -> None:
        self.number = number
        self.name = name
        self.files = files
        self.config = config
        self.arguments: dict[str, str] = {}
        self._shown: Overlay | None = None

    def root(self) -> str:
        """The directory that shows the stage's files, which are complete."""
        if self._shown is None:
            self._shown = self.files.show("files")
        return self._shown.root

    def unmount(self) -> None:
        """Show nothing any more."""
        if self._shown is not None:
            self._shown.unmount()
            self._shown = None


class Config:
    """What a stage's image will say beside its files."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.entrypoint: tuple[str, ...] = ()
        self.command: tuple[str, ...] = ()
        self.shell: tuple[str, ...] = _SHELL
        self.user = "0"
        self.group = "0"
        self.working_directory = ""
        self.volumes: list[str] = []
        self.ports: dict[str, dict[str, Any]] = {}
        self.authors = ""
        self.stop_signal = ""
        self._app: dict[str, Any] = {}

    @classmethod
    def of(cls, data: bytes) -> Config:
        """What an image's manifest says.

        Its exec is what CMD replaces, except for the part that is known to have been an ENTRYPOINT.
        """
        config = cls()
        image = ImageManifest.parse(data)
        app = image.app
        config.stop_signal = image.annotation(STOP_SIGNAL)
        if app is None:
            return config
        entrypoint, command = command_of(image, app) or ([], app.exec)
        config.entrypoint, config.command = tuple(entrypoint), tuple(command)
        config.user, config.group = app.user, app.group
        config.working_directory = app.working_directory
        config.environment = {variable.name: variable.value for variable in app.environment}
        config.labels = dict(app.user_labels)
        config._app = loads(data)["app"]
        config.ports = {port["name"]: port for port in config._app.get("ports", ())}
        return config

    def copy(self) -> Config:
        """The same again, to be changed alone."""
        other = Config()
        for name, value in vars(self).items():
            setattr(other, name, value.copy() if isinstance(value, dict | list) else value)
        other.shell = _SHELL
        return other

    def set_user(self, text: str) -> None:
        """USER NAME[:GROUP]; without a group it is the user's, as far as a manifest can say so: 0."""
        user, _, group = text.partition(":")
        if not user:
            raise InvalidValue("names no user")
        self.user, self.group = user, group or "0"

    def expose(self, text: str) -> None:
        """EXPOSE PORT[-PORT][/PROTOCOL]."""
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", text.lower())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 1 <= first <= last <= 65535:
            raise InvalidValue(f"{text!r} is no port")
        protocol = match[3] or "tcp"
        port: dict[str, Any] = {"name": f"{first}-{protocol}", "protocol": protocol, "port": first}
        if last > first:
            port["count"] = last - first + 1
        self.ports[port["name"]] = port

    def step(self, words: tuple[str, ...], arguments: Mapping[str, str]) -> App:
        """The app that one RUN is."""
        variables = {**arguments, **self.environment}
        return App(
            exec=words,
            user=self.user,
            group=self.group,
            working_directory=self.working_directory,
            environment=tuple(EnvVar(name=name, value=value) for name, value in variables.items()),
        )

    @staticmethod
    def owner(view: TreeView, text: str) -> tuple[int, int]:
        """What --chown=USER[:GROUP] means in a root file system; without a group it is the user's number."""
        if not text:
            return 0, 0
        from appc.pods import users

        user, _, group = text.partition(":")
        found = users.resolve(view, user or "0", group or (user if user.isdigit() else "0"), (), "--chown")
        return found.uid, found.gid

    def manifest(self, name: str) -> bytes:
        """The manifest of the finished image; whether it can be executed is for its user to know."""
        command = (*self.entrypoint, *self.command)
        app = {**self._app}
        app.update({"exec": list(command), "user": self.user, "group": self.group})
        lists: dict[str, Any] = {
            "workingDirectory": self.working_directory,
            "environment": [{"name": key, "value": value} for key, value in self.environment.items()],
            "ports": list(self.ports.values()),
            "userLabels": self.labels,
        }
        points = list(self._app.get("mountPoints", ()))
        known = {point["path"] for point in points}
        taken = {point["name"] for point in points}
        points += [{"name": volume_name(path, taken), "path": path} for path in self.volumes if path not in known]
        lists["mountPoints"] = points
        for key, value in lists.items():
            app.pop(key, None)
            if value:
                app[key] = value
        annotations = [
            ("authors", self.authors),
            # For what begins with this image, and for OCI images made of it.
            (ENTRYPOINT, dumps(list(self.entrypoint)) if self.entrypoint else ""),
            (CMD, dumps(list(self.command)) if self.command else ""),
            (STOP_SIGNAL, self.stop_signal),
        ]
        document = loads(manifest(name, annotations=[pair for pair in annotations if pair[1]]))
        if command or self._app:
            document["app"] = app
        return dumps(document).encode()
