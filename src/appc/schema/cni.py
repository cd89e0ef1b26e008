"""Network configurations and results of the Container Network Interface (CNI SPEC.md 1.1.0, sections 1 and 5).

A configuration stays the JSON it was, because plugins get what was written; what is here checks it, says which version
is spoken, and reads what plugins answer.
"""

from __future__ import annotations

from appc.errors import AppcError, ManifestError
from appc.schema.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""The versions of the protocol that are spoken, oldest first."""

CONFIG_LIMIT = 1 << 20
RESULT_LIMIT = 1 << 20

_SWITCHES = ("disableCheck", "disableGC")
_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


class Network:
    """A named list of plugins (CNI, "Network configuration format").

    `version` is the highest that the configuration names and that is spoken here; `source` is the file it came from.
    `unchecked` and `uncollected` say that plugins are not to be asked for CHECK or GC (disableCheck, disableGC).
    """

    __slots__ = ("name", "plugins", "source", "unchecked", "uncollected", "version")

    def __init__(
        self,
        name: str,
        version: str,
        plugins: tuple[dict[str, Any], ...],
        source: str = "",
        *,
        unchecked: bool = False,
        uncollected: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.plugins = plugins
        self.source = source
        self.unchecked = unchecked
        self.uncollected = uncollected

    def speaks(self, version: str) -> bool:
        """Whether the operations that came with `version` may be asked for."""
        return VERSIONS.index(self.version) >= VERSIONS.index(version)

    def to_dict(self) -> dict[str, Any]:
        """Return the network as a list, from which `from_document` makes the same again."""
        return {
            "cniVersion": self.version,
            "name": self.name,
            "disableCheck": self.unchecked,
            "disableGC": self.uncollected,
            "plugins": list(self.plugins),
        }


def parse(data: bytes, source: str) -> Network:
    """Return the network that a file describes: a list of plugins, or one plugin alone (*.conf before 1.0).

    Raises ManifestError with all faults.
    """
    return from_document(loads(data, CONFIG_LIMIT), source)


def from_document(document: object, source: str) -> Network:
    """Return the network of a parsed configuration. Raises ManifestError with all faults."""
    if not isinstance(document, dict):
        raise ManifestError([("", "is not a JSON object")], where=source)
    faults: list[tuple[str, str]] = []
    name = document.get("name")
    if not isinstance(name, str) or not is_name(name):
        faults.append(("name", "must be a letter or digit, then letters, digits, '_', '.' and '-'"))
    plugins = document.get("plugins") if "plugins" in document else [document]
    if not isinstance(plugins, list) or not plugins:
        faults.append(("plugins", "must be a list of at least one plugin"))
        plugins = []
    for index, plugin in enumerate(plugins):
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        # It becomes the name of a program in a directory of plugins.
        if not isinstance(kind, str) or not kind or "/" in kind or kind in (".", ".."):
            where = f"plugins[{index}].type" if "plugins" in document else "type"
            faults.append((where, "must be the name of a plugin"))
    version = _version(document, faults)
    faults += [(key, "must be true or false") for key in _SWITCHES if type(document.get(key, False)) is not bool]
    if faults:
        raise ManifestError(faults, where=source)
    unchecked, uncollected = (bool(document.get(key)) for key in _SWITCHES)
    return Network(str(name), version, tuple(plugins), source, unchecked=unchecked, uncollected=uncollected)


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a network."""
    return bool(text) and text[0] in _ALPHANUMERIC and _ALPHANUMERIC.issuperset(text.translate(_PUNCTUATION))


_PUNCTUATION = {ord(character): "x" for character in "_.-"}


def _version(document: dict[str, Any], faults: list[tuple[str, str]]) -> str:
    named = document.get("cniVersions")
    words = [document.get("cniVersion", VERSIONS[0]), *(named if isinstance(named, list) else ())]
    spoken = [word for word in VERSIONS if word in words]
    if not spoken:
        faults.append(("cniVersion", f"none of {', '.join(VERSIONS)} is named"))
        return VERSIONS[0]
    return spoken[-1]


def plugin_config(
    network: Network, plugin: dict[str, Any], capabilities: dict[str, Any], previous: dict[str, Any] | None
) -> dict[str, Any]:
    """Return what a plugin gets on its standard input (CNI, section 4 "Deriving execution configuration").

    `capabilities` are those of this attachment, of which a plugin gets the ones it has declared.
    """
    config = {key: value for key, value in plugin.items() if key != "capabilities"}
    config["cniVersion"] = network.version
    config["name"] = network.name
    declared = plugin.get("capabilities")
    wanted = {
        key: value for key, value in capabilities.items() if isinstance(declared, dict) and declared.get(key) is True
    }
    if wanted:
        config["runtimeConfig"] = wanted
    else:
        config.pop("runtimeConfig", None)
    if previous is not None:
        config["prevResult"] = previous
    return config


def collection_config(network: Network, plugin: dict[str, Any], valid: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what a plugin gets for GC: `valid` are (container ID, interface) of all attachments that stay."""
    config = plugin_config(network, plugin, {}, None)
    config["cni.dev/valid-attachments"] = [{"containerID": container, "ifname": name} for container, name in valid]
    return config


def parse_result(data: bytes, where: str) -> dict[str, Any]:
    """Return a plugin's answer to ADD, whatever its version, or {} for none. Raises AppcError for what is none."""
    if not data.strip():
        return {}
    try:
        document = loads(data, RESULT_LIMIT)
    except ManifestError as error:
        raise AppcError(f"its answer is not JSON: {error.what}", where) from None
    if not isinstance(document, dict):
        raise AppcError("its answer is not a JSON object", where)
    return document


def addresses(result: dict[str, Any]) -> list[str]:
    """Return the addresses, without their prefixes, that a result gives the container."""
    found = []
    for entry in result.get("ips") or ():
        # Those of the host's side of a link are listed too, and name its interface.
        index = entry.get("interface")
        interfaces = result.get("interfaces") or ()
        if isinstance(index, int) and 0 <= index < len(interfaces) and not interfaces[index].get("sandbox"):
            continue
        found.append(str(entry.get("address", "")).partition("/")[0])
    for key in ("ip4", "ip6"):  # 0.1.0 and 0.2.0
        if isinstance(result.get(key), dict):
            found.append(str(result[key].get("ip", "")).partition("/")[0])
    return [address for address in found if address]


def error_text(data: bytes) -> str:
    """Return what a plugin's error object says in one line, "" when there is none (CNI, section 5 "Error")."""
    try:
        document = loads(data, RESULT_LIMIT)
    except ManifestError:
        return ""
    if not isinstance(document, dict):
        return ""
    message, details = document.get("msg"), document.get("details")
    words = [" ".join(word.split()) for word in (message, details) if isinstance(word, str) and word.strip()]
    return "; ".join(words)
