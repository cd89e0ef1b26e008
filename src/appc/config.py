"""Where things are, and the configuration: JSON files of a few directories, merged, checked against one table.

A configuration directory contributes `config.json`, then every `config.d/*.json` in the order of their names.
Objects merge key by key, anything else replaces what came before, and `null` brings the default back. It is JSON
because a launch reads it, and JSON is the one format with a parser that costs nothing to import. Floor 3: it reads
files.
"""

from __future__ import annotations

import os

from appc.errors import ManifestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

LIMIT = 1 << 20  # bytes of one file


class Setting:
    """One row of the table: a dotted key, how its value is checked, its default and its meaning."""

    __slots__ = ("attribute", "check", "default", "key", "meaning")

    def __init__(self, key: str, check: Callable[[object], Any], default: object, meaning: str) -> None:
        self.key = key
        self.check = check
        self.default = default
        self.meaning = meaning
        self.attribute = "".join("_" + c.lower() if c.isupper() else c for c in key.replace(".", "_"))


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("is not an absolute path")
    return value


def _paths(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("is not a list of absolute paths")
    return tuple(_path(path) for path in value)


def _subnet(value: object) -> str:
    from appc.errors import InvalidValue
    from appc.schema.subnet import Subnet

    try:
        return str(Subnet.parse(str(value)))
    except InvalidValue as error:
        raise ValueError(error.what) from None


def _one_of(*words: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return value

    return check


def _whole(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return value

    return check


def _seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 86400:
        raise ValueError("is not a number of seconds from 0 to 86400")
    return float(value)


def budget(value: object) -> str:
    """Return a size, such as 20Gi, or a part of a disk, such as 20%, as text. Raises ValueError for what is neither."""
    from appc.errors import InvalidValue
    from appc.quantity import Quantity

    text = str(value)
    try:
        amount = float(text[:-1]) if text.endswith("%") else float(Quantity.parse(text).value)
    except (ValueError, InvalidValue):
        amount = -1.0
    if isinstance(value, bool) or not 0 <= amount <= (100 if text.endswith("%") else 1 << 60):
        raise ValueError("is neither a size, such as 20Gi, nor a part of the disk, such as 20%")
    return text


def _references(value: object) -> tuple[str, ...]:
    from appc.errors import InvalidValue
    from appc.values import ImageReference

    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("is not a list of names of images")
    for name in value:
        try:
            ImageReference.parse(name)
        except InvalidValue as error:
            raise ValueError(error.what) from None
    return tuple(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is not true or false")
    return value


def _ports(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or not all(type(port) is int and 0 < port < 65536 for port in value.values()):
        raise ValueError("is not an object of hosts and their ports")
    return value


def _mirrors(value: object) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise ValueError("is not an object of prefixes and lists of places")
    for prefix, places in value.items():
        if not isinstance(places, list) or not all(isinstance(place, str) and place for place in places):
            raise ValueError(f"has for {prefix!r} what is not a list of places")
        for place in places:
            if not place.startswith("/") and "://" not in place:
                raise ValueError(f"has {place!r}, which is neither a URL nor an absolute path")
    return value


TABLE = (
    Setting("paths.root", _path, "", "where images and pods are; --root and $APPC_ROOT go before it"),
    Setting("paths.state", _path, "", "where is what dies with a reboot; --state and $APPC_STATE go before it"),
    Setting(
        "images.keepOriginal",
        _one_of("signed", "never", "always"),
        "signed",
        "which imported files are kept as they came, for export with their signatures",
    ),
    Setting(
        "images.passphraseFile",
        _path,
        "",
        "a file whose first line is the passphrase of encrypted images; --passphrase-file goes before it",
    ),
    Setting(
        "build.cacheSize",
        _whole(0, 1 << 50),
        10 << 30,
        "bytes of what the steps of build files made that are kept for the next build",
    ),
    Setting("net.caFile", _path, "", "certificates of authorities that are trusted besides the system's"),
    Setting("net.timeout", _seconds, 30.0, "seconds that a server may take to send nothing"),
    Setting("net.offline", _flag, False, "never use the network: as if --offline were always given"),
    Setting("discovery.mirrors", _mirrors, {}, "places to look for images first, by prefix of their names"),
    Setting("discovery.ports", _ports, {}, "the port of discovery on hosts where it is not 443"),
    Setting(
        "network.subnet", _subnet, "172.16.28.0/22", "the IPv4 addresses of pods in the built-in network `default`"
    ),
    Setting(
        "network.pluginPath",
        _paths,
        ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"),
        "the directories where plugins of other networks are looked for, in this order",
    ),
    Setting(
        "network.helper",
        _one_of("pasta", "slirp4netns"),
        "",
        "what connects an ordinary user's pods; without it pasta, else slirp4netns",
    ),
    Setting(
        "devices.cdiPath",
        _paths,
        ("/etc/cdi", "/var/run/cdi"),
        "the directories of specs of the Container Device Interface, the last one first",
    ),
    Setting(
        "metadata.verifier",
        _path,
        "",
        "the program that is asked whether a pod of another host signed something (pod/hmac/verify)",
    ),
    Setting("logs.size", _whole(4096, 1 << 40), 16 << 20, "bytes after which an app's log is rotated"),
    Setting("logs.files", _whole(1, 100), 3, "how many files of an app's log are kept, the current one included"),
    Setting("logs.journal", _path, "", "the journal's socket, which gets a copy of what apps write"),
    Setting("gc.podGrace", _whole(0, 1 << 32), 1800, "seconds that `appc gc` keeps pods after their end"),
    Setting("gc.preparedGrace", _whole(0, 1 << 32), 86400, "seconds that `appc gc` keeps pods nobody has run yet"),
    Setting("gc.podBudget", budget, "", "what pods may take on disk, 20Gi or 20%, before more that have ended go"),
    Setting(
        "gc.imageGrace", _whole(0, 1 << 32), 86400, "seconds that `appc image gc` keeps images after their last use"
    ),
    Setting("gc.imageBudget", budget, "", "what images may take on disk, 20Gi or 20%, before more of them go"),
    Setting("gc.pinned", _references, (), "names of images that `appc image gc` never removes"),
    Setting("stop.grace", _seconds, 10.0, "seconds that apps get between SIGTERM and SIGKILL"),
)


class Settings:
    """The merged settings: an attribute for each row of the table, named after its key (`logs.size` → `logs_size`).

    `origin` tells which file set a key; a key that no file set is not in it.
    """

    paths_root: str
    paths_state: str
    images_keep_original: str
    images_passphrase_file: str
    build_cache_size: int
    net_ca_file: str
    net_timeout: float
    net_offline: bool
    discovery_mirrors: dict[str, list[str]]
    discovery_ports: dict[str, int]
    network_subnet: str
    network_plugin_path: tuple[str, ...]
    network_helper: str
    devices_cdi_path: tuple[str, ...]
    gc_pod_grace: int
    gc_prepared_grace: int
    gc_pod_budget: str
    gc_image_grace: int
    gc_image_budget: str
    gc_pinned: tuple[str, ...]
    metadata_verifier: str
    logs_size: int
    logs_files: int
    logs_journal: str
    stop_grace: float

    def __init__(self) -> None:
        self.origin: dict[str, str] = {}
        for row in TABLE:
            setattr(self, row.attribute, row.default)


class Directories:
    """Where images, pods and the configuration are: --root, --state and --config, or what stands in for them.

    `root` holds images and pods: given, else $APPC_ROOT, else `paths.root`, else /var/lib/appc for root and
    $XDG_DATA_HOME/appc for others. `state` holds what dies with a reboot: given, else $APPC_STATE, else
    `paths.state`, else /run/appc or $XDG_RUNTIME_DIR/appc. `config` is the directories of the configuration, later
    ones winning: given (`config_given`), else /usr/lib/appc, /etc/appc and $XDG_CONFIG_HOME/appc.
    """

    def __init__(self, root: str = "", state: str = "", config: Sequence[str] = ()) -> None:
        self.config_given = bool(config)
        self.config = tuple(config) or ("/usr/lib/appc", "/etc/appc", _xdg("XDG_CONFIG_HOME", ".config"))
        self._root = os.path.abspath(root) if root else ""
        self._state = os.path.abspath(state) if state else ""
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The merged configuration, read when first asked for; ManifestError lists all its faults."""
        if self._settings is None:
            self._settings = load(self.config)
        return self._settings

    @property
    def root(self) -> str:
        """The absolute path of the directory of images and pods."""
        chosen = self._root or os.environ.get("APPC_ROOT") or self.settings.paths_root
        if not chosen:
            chosen = "/var/lib/appc" if os.geteuid() == 0 else _xdg("XDG_DATA_HOME", ".local/share")
        self._root = os.path.abspath(chosen)
        return self._root

    @property
    def state(self) -> str:
        """The absolute path of the directory of what dies with a reboot."""
        chosen = self._state or os.environ.get("APPC_STATE") or self.settings.paths_state
        if not chosen:
            runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
            chosen = "/run/appc" if os.geteuid() == 0 else f"{runtime}/appc"
        self._state = os.path.abspath(chosen)
        return self._state


def _xdg(variable: str, fallback: str) -> str:
    """Return appc's directory below an XDG base directory; relative values are ignored, as that specification asks."""
    base = os.environ.get(variable, "")
    return (base if base.startswith("/") else os.path.expanduser("~/" + fallback)) + "/appc"


def load(directories: Sequence[str]) -> Settings:
    """Merge the files of the directories, later ones winning; ManifestError lists the faults of all files.

    Directories and files that do not exist contribute nothing.
    """
    settings = Settings()
    faults: list[tuple[str, str]] = []
    for directory in directories:
        for path in _files(directory):
            faults += [(f"{path}: {key}" if key else path, what) for key, what in _merge(settings, path)]
    if faults:
        raise ManifestError(faults, hint="`appc config --full` lists the settings there are")
    return settings


def _files(directory: str) -> Iterator[str]:
    yield directory + "/config.json"
    try:
        names = sorted(os.listdir(directory + "/config.d"))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.endswith(".json") and name[0] != ".":
            yield f"{directory}/config.d/{name}"


def _merge(settings: Settings, path: str) -> list[tuple[str, str]]:
    """Apply one file to the settings and return its faults as (key, message)."""
    try:
        document = _read(path)
    except ManifestError as error:
        return list(error.faults)
    if not isinstance(document, dict):
        return [("", "is not a JSON object")]
    faults = []
    for section, body in document.items():
        rows = [row for row in TABLE if row.key.startswith(section + ".")]
        if not rows:
            faults.append((section, _unknown(section, [row.key.partition(".")[0] for row in TABLE])))
            continue
        if body is None:
            body = dict.fromkeys(row.key.partition(".")[2] for row in rows)
        if not isinstance(body, dict):
            faults.append((section, "is not an object"))
            continue
        for name, value in body.items():
            key = f"{section}.{name}"
            row = next((row for row in rows if row.key == key), None)
            if row is None:
                faults.append((key, _unknown(key, [row.key for row in rows])))
                continue
            try:
                setattr(settings, row.attribute, _merged(row, getattr(settings, row.attribute), value))
            except ValueError as error:
                faults.append((key, str(error)))
            settings.origin[key] = path
            if value is None:
                del settings.origin[key]
    return faults


def _merged(row: Setting, before: object, value: object) -> object:
    """The setting after one more file: objects merge key by key, and null takes a key back."""
    if value is None:
        return row.default
    if isinstance(before, dict) and isinstance(value, dict):
        return row.check({k: v for k, v in (before | value).items() if v is not None})
    return row.check(value)


def _unknown(word: str, known: list[str]) -> str:
    import difflib  # only when something is already wrong

    near = difflib.get_close_matches(word, known, 1, 0.6)
    return f"no such setting; did you mean {near[0]}?" if near else "no such setting"


def _read(path: str) -> object:
    try:
        with open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    from appc.schema.json import loads

    return loads(data, LIMIT)
