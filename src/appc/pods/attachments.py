"""Letting plugins of networks clear what they still hold for pods that are no more (CNI SPEC.md 1.1.0, GC).

Plugins remember their pods outside of ours: addresses, rules. What a crash kept from being given back in the usual way
(the host lost power, a pod's directory was deleted by hand) is found by telling them which attachments there are.
"""

from __future__ import annotations

import os

from appc.errors import PodNotFound
from appc.network import cni, configs
from appc.network.addresses import Held
from appc.network.setup import PLUGINS, Record
from appc.pods import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.config import Directories
    from appc.pods.layout import Pod


def collect(where: Directories) -> list[str]:
    """Tell the plugins of every network that is configured which attachments are valid; return what went wrong.

    Pods below another root that share the state directory would be taken for gone: then nothing is asked. Raises
    AppcError when the configuration has faults.
    """
    networks = [one for one in configs.load(where.config).values() if one.speaks("1.1.0") and not one.uncollected]
    if not networks:
        return []
    problems = []
    with Held(f"{where.state}/{PLUGINS}", alone=True):
        pods = layout.every(where.root)
        if not _namespaces(where.state) <= {pod.uuid for pod in pods}:
            return []
        records = [record for pod in pods if (record := _record(pod)) is not None]
        for network in networks:
            valid = [
                (record.uuid, link["interface"])
                for record in records
                for link in record.links
                if "config" in link and link["config"]["name"] == network.name
            ]
            problems += cni.collect(network, where.settings.network_plugin_path, valid)
    return problems


def _namespaces(state: str) -> set[str]:
    try:
        return set(os.listdir(f"{state}/netns"))
    except FileNotFoundError:
        return set()


def _record(pod: Pod) -> Record | None:
    """Return the record of a pod's networks, which it takes along when it moves on."""
    while True:
        phase = pod.phase
        record = Record.read(pod.path, pod.uuid)
        try:
            if record is not None or pod.refresh().phase == phase:
                return record
        except PodNotFound:
            return None
