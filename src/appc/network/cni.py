"""Running CNI plugins: the operations of a network on a pod's namespace (CNI SPEC.md 1.1.0, sections 2 to 4).

A plugin is a program of the host. It gets its configuration on standard input and its parameters in the environment,
which holds nothing else of ours but PATH.
"""

from __future__ import annotations

import os
import signal
import subprocess

from appc.errors import HostError
from appc.schema import cni
from appc.schema.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from appc.schema.cni import Network

TIMEOUT = 60.0  # seconds that one plugin gets
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Attachment:
    """One network's link in one pod: what each operation is told.

    `namespace` is the path of the network namespace; `arguments` are CNI_ARGS; `capabilities` are runtime
    configuration for the plugins that declare them; `plugin_path` are the directories of plugins.
    """

    __slots__ = ("arguments", "capabilities", "container", "interface", "namespace", "plugin_path")

    def __init__(
        self,
        container: str,
        namespace: str,
        interface: str,
        plugin_path: Sequence[str],
        *,
        arguments: Sequence[tuple[str, str]] = (),
        capabilities: dict[str, Any] | None = None,
    ) -> None:
        self.container = container
        self.namespace = namespace
        self.interface = interface
        self.plugin_path = plugin_path
        self.arguments = arguments
        self.capabilities = capabilities or {}


def add(network: Network, attachment: Attachment) -> dict[str, Any]:
    """Attach the pod: ADD of each plugin in order, each given the result before; return the last result.

    Raises HostError, with what the plugin said; `delete` then clears what had been done.
    """
    result: dict[str, Any] | None = None
    for plugin in network.plugins:
        answer = _attached("ADD", network, plugin, attachment, result)
        result = cni.parse_result(answer, _where(network, plugin)) or result
    return result or {}


def delete(network: Network, attachment: Attachment, result: dict[str, Any] | None) -> list[str]:
    """Detach the pod: DEL of every plugin in reverse, whatever fails; return what went wrong.

    `result` is that of `add`, None when it is not known. Deleting what is gone already is fine (SPEC.md, DEL).
    """
    problems = []
    known = result if network.speaks("0.4.0") else None
    for plugin in reversed(network.plugins):
        try:
            _attached("DEL", network, plugin, attachment, known)
        except HostError as error:
            problems.append(str(error))
    return problems


def check(network: Network, attachment: Attachment, result: dict[str, Any] | None) -> None:
    """Ask every plugin whether its part of an attachment is as `add` left it: CHECK, which came with 0.4.0.

    `result` is that of `add`. Raises HostError with what the first plugin says that finds a fault.
    """
    if network.unchecked or not network.speaks("0.4.0"):
        return
    for plugin in network.plugins:
        _attached("CHECK", network, plugin, attachment, result)


def status(network: Network, plugin_path: Sequence[str]) -> None:
    """Ask every plugin whether it can attach pods now: STATUS, which came with 1.1.0. Raises HostError if not."""
    if not network.speaks("1.1.0"):
        return
    for plugin in network.plugins:
        _run("STATUS", network, plugin, plugin_path, cni.plugin_config(network, plugin, {}, None), {})


def collect(network: Network, plugin_path: Sequence[str], valid: Sequence[tuple[str, str]]) -> list[str]:
    """Let every plugin clear what attachments left that are not among `valid`: GC, which came with 1.1.0.

    `valid` are (container ID, interface). No pod may be attached or detached meanwhile. Returns what went wrong.
    """
    if network.uncollected or not network.speaks("1.1.0"):
        return []
    problems = []
    for plugin in network.plugins:
        try:
            _run("GC", network, plugin, plugin_path, cni.collection_config(network, plugin, valid), {})
        except HostError as error:
            problems.append(str(error))
    return problems


def find_all(network: Network, plugin_path: Sequence[str]) -> None:
    """Raise HostError unless every plugin of the network is there."""
    for plugin in network.plugins:
        find(plugin["type"], plugin_path, _where(network, plugin))


def find(plugin: str, plugin_path: Sequence[str], where: str) -> str:
    """Return the path of a plugin's program; HostError when no directory has it."""
    for directory in plugin_path:
        path = f"{directory}/{plugin}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    hint = "Debian's are in the package containernetworking-plugins; network.pluginPath can name other directories"
    raise HostError(f"there is no such plugin in {', '.join(plugin_path)}", where, hint)


def _where(network: Network, plugin: dict[str, Any]) -> str:
    return f"network {network.name}: plugin {plugin['type']}"


def _attached(
    command: str,
    network: Network,
    plugin: dict[str, Any],
    attachment: Attachment,
    previous: dict[str, Any] | None,
) -> bytes:
    """Ask a plugin for an operation on one attachment."""
    config = cni.plugin_config(network, plugin, attachment.capabilities, previous)
    parameters = {
        "CNI_CONTAINERID": attachment.container,
        "CNI_NETNS": attachment.namespace,
        "CNI_IFNAME": attachment.interface,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment.arguments),
    }
    return _run(command, network, plugin, attachment.plugin_path, config, parameters)


def _run(
    command: str,
    network: Network,
    plugin: dict[str, Any],
    plugin_path: Sequence[str],
    config: dict[str, Any],
    parameters: Mapping[str, str],
) -> bytes:
    where = _where(network, plugin)
    path = find(plugin["type"], plugin_path, where)
    environment = {"PATH": _SYSTEM_PATH, "CNI_COMMAND": command, "CNI_PATH": ":".join(plugin_path), **parameters}
    process = subprocess.Popen(
        [path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={key: value for key, value in environment.items() if value},
        start_new_session=True,
        close_fds=True,
    )
    try:
        out, err = process.communicate(dumps(config).encode(), TIMEOUT)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise HostError(f"did not answer {command} within {TIMEOUT:g} s", where) from None
    except BaseException:
        _kill(process)
        raise
    if process.returncode != 0:
        said = cni.error_text(out) or " ".join(err.decode("utf-8", "replace").split()[-40:])
        raise HostError(f"{command} failed: {said or f'exit status {process.returncode}'}", where)
    return out


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a plugin with whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()
