"""What a verb knows besides its own words: where things are, how to speak, what is configured."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.config import Settings

LEVELS = ("error", "warn", "info", "debug")


class Context:
    """The invocation: directories, message level and formats.

    `root` holds images and pods, `state` what dies with a reboot, `config` the configuration directories in the
    order they are merged. `format` is what `--format` said ("table" when the verb has no such option).
    """

    def __init__(
        self,
        root: str = "",
        state: str = "",
        config: tuple[str, ...] = (),
        log_level: str = "info",
        log_format: str = "text",
    ) -> None:
        self.config = config or config_directories()
        self._root = os.path.abspath(root) if root else ""
        self._state = os.path.abspath(state) if state else ""
        self.log_level = log_level
        self.log_format = log_format
        self.format = "table"
        self.legend = True
        self.full = False
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The merged configuration, read when first asked for; ManifestError lists all its faults."""
        if self._settings is None:
            from appc.config import load

            self._settings = load(self.config)
        return self._settings

    @property
    def root(self) -> str:
        """Images and pods: `--root`, else $APPC_ROOT, else configured, else the default for this user."""
        if not self._root:
            self._root = os.path.abspath(os.environ.get("APPC_ROOT") or self.settings.paths_root or default_root())
        return self._root

    @property
    def state(self) -> str:
        """Sockets and OCI state: `--state`, else $APPC_STATE, else configured, else the default for this user."""
        if not self._state:
            self._state = os.path.abspath(os.environ.get("APPC_STATE") or self.settings.paths_state or default_state())
        return self._state

    def error(self, what: str, where: str = "", hint: str = "") -> None:
        """Say what failed on stderr; for verbs that go on with the next operand."""
        self._say("error", what, where, hint)

    def warn(self, what: str, where: str = "", hint: str = "") -> None:
        """Say on stderr what the user should know although it works."""
        self._say("warn", what, where, hint)

    def info(self, what: str, where: str = "") -> None:
        """Say on stderr what is going on."""
        self._say("info", what, where, "")

    def debug(self, what: str, where: str = "") -> None:
        """Say on stderr what only someone looking for a fault wants to know."""
        self._say("debug", what, where, "")

    def _say(self, level: str, what: str, where: str, hint: str) -> None:
        if LEVELS.index(level) > LEVELS.index(self.log_level) or sys.stderr is None:
            return
        sys.stderr.write(message(self.log_format, level, what, where, hint))


def message(log_format: str, level: str, what: str, where: str, hint: str) -> str:
    """Return a message as it goes to stderr: one line for each line of `what`, then the hint.

    Control characters are escaped: names and reasons may come from foreign bytes.
    """
    lines = what.split("\n")
    if log_format == "json":
        from appc.schema.json import dumps

        records = [{"level": level, "where": where, "what": line, "hint": hint} for line in lines]
        return "".join(dumps({k: v for k, v in record.items() if v}) + "\n" for record in records)
    prefix = "appc: warning: " if level == "warn" else "appc: "
    if where:
        prefix += printable(where) + ": "
    text = "".join(f"{prefix}{printable(line)}\n" for line in lines)
    return text + "".join(f"hint: {printable(line)}\n" for line in hint.split("\n") if line)


def printable(text: str) -> str:
    """Return `text` with every character a terminal might obey escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def default_root() -> str:
    """Return /var/lib/appc for root, $XDG_DATA_HOME/appc for others."""
    if os.geteuid() == 0:
        return "/var/lib/appc"
    return _xdg("XDG_DATA_HOME", ".local/share")


def default_state() -> str:
    """Return /run/appc for root, $XDG_RUNTIME_DIR/appc for others."""
    if os.geteuid() == 0:
        return "/run/appc"
    return (os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}") + "/appc"


def config_directories() -> tuple[str, ...]:
    """Return /usr/lib/appc, /etc/appc and $XDG_CONFIG_HOME/appc: later ones win."""
    return ("/usr/lib/appc", "/etc/appc", _xdg("XDG_CONFIG_HOME", ".config"))


def _xdg(variable: str, fallback: str) -> str:
    base = os.environ.get(variable, "")
    if not base.startswith("/"):
        base = os.path.expanduser("~/" + fallback)
    return base + "/appc"
