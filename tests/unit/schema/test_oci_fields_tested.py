"""Every field of the runtime-spec's Linux configuration has a test that looks from inside, and gets garbage.

The fields are those of the schema; where each is looked at, by a process of the container or in what the kernel says of
it, is written here. The function named must exist and speak of the field.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from test_schema_oci_runtime import FULL

from appc.schema.json import dumps, loads
from appc.schema.kinds import Struct
from appc.schema.oci_runtime import CONFIG, validate

WEIGHT_OF_A_DEVICE = ("major", "minor", "weight", "leafWeight")
TESTS = Path(__file__).parents[2]

# File below tests/ → function → the fields that it looks at. [] is any item of a list, {} any value of an object.
LOOKS: dict[str, dict[str, str]] = {
    "root/oci/test_oci_fields.py": {
        "test_bundles_say_where_their_root_is_and_what_they_follow": "ociVersion root.path",
        "test_paths_are_hidden_and_closed": "root.readonly linux.maskedPaths[] linux.readonlyPaths[] linux.sysctl{}",
        "test_mounts_have_their_options": "mounts[].destination mounts[].source mounts[].type mounts[].options[]",
        "test_the_process_is_who_it_is_said_to_be": (
            "process.cwd process.env[] process.user.uid process.user.gid process.user.umask "
            "process.user.additionalGids[] process.rlimits[].type process.rlimits[].soft process.rlimits[].hard "
            "process.capabilities.bounding[] process.capabilities.effective[] process.capabilities.inheritable[] "
            "process.capabilities.permitted[] process.capabilities.ambient[] process.noNewPrivileges "
            "process.oomScoreAdj hostname domainname"
        ),
        "test_the_scheduler_knows_the_process": (
            "process.scheduler.policy process.scheduler.nice process.scheduler.flags[]"
        ),
        "test_real_time_is_had_or_refused": (
            "process.scheduler.priority process.scheduler.runtime process.scheduler.deadline process.scheduler.period"
        ),
        "test_io_has_its_priority": "process.ioPriority.class process.ioPriority.priority",
        "test_commands_run_on_the_processors_named": "process.execCPUAffinity.initial process.execCPUAffinity.final",
        "test_labels_of_security_modules_that_are_missing_are_refused": (
            "process.apparmorProfile process.selinuxLabel linux.mountLabel"
        ),
        "test_hooks_get_their_words_and_no_more_than_their_time": " ".join(
            f"hooks.{kind}[].{field}"
            for kind in ("createRuntime", "createContainer", "poststart", "poststop")
            for field in ("path", "args[]", "env[]", "timeout")
        ),
        "test_namespaces_are_joined_or_the_hosts": "linux.namespaces[].type linux.namespaces[].path",
        "test_clocks_are_shifted_and_shared_by_commands": (
            "linux.timeOffsets.boottime.secs linux.timeOffsets.boottime.nanosecs linux.timeOffsets.monotonic.secs "
            "linux.timeOffsets.monotonic.nanosecs"
        ),
        "test_devices_are_those_given": (
            "linux.devices[].type linux.devices[].path linux.devices[].major linux.devices[].minor "
            "linux.devices[].fileMode linux.devices[].uid linux.devices[].gid"
        ),
        "test_a_container_has_the_hosts_network_device": "linux.netDevices{}.name",
        "test_memory_comes_from_the_nodes_named": (
            "linux.memoryPolicy.mode linux.memoryPolicy.nodes linux.memoryPolicy.flags[]"
        ),
        "test_the_root_has_its_propagation": "linux.rootfsPropagation",
        "test_a_machine_of_32_bits_is_claimed": "linux.personality.domain",
        "test_a_personality_has_no_flags": "linux.personality.flags[]",
    },
    "root/oci/test_oci_exec.py": {
        "test_the_terminal_goes_to_the_console_socket": (
            "process.terminal process.consoleSize.height process.consoleSize.width"
        ),
    },
    "root/oci/test_oci_hooks.py": {
        "test_each_kind_runs_when_it_should": "annotations",
        "test_one_that_fails_before_the_start_unmakes_the_container": "hooks.prestart[].timeout",
        "hook": "hooks.prestart[].path hooks.prestart[].args[] hooks.prestart[].env[]",
    },
    "root/oci/test_oci_handles.py": {
        "test_hooks_of_the_start_run_inside_before_the_program": (
            "hooks.startContainer[].path hooks.startContainer[].args[] hooks.startContainer[].env[]"
        ),
        "test_one_that_fails_or_hangs_stops_the_container": "hooks.startContainer[].timeout",
        "test_an_agent_answers_calls": (
            "linux.seccomp.listenerPath linux.seccomp.listenerMetadata linux.seccomp.flags[]"
        ),
    },
    "root/oci/test_oci_userns.py": {
        "MAPPING": " ".join(
            f"linux.{kind}[].{field}"
            for kind in ("uidMappings", "gidMappings")
            for field in ("containerID", "hostID", "size")
        ),
        "test_a_mount_has_its_owners_mapped": " ".join(
            f"mounts[].{kind}[].{field}"
            for kind in ("uidMappings", "gidMappings")
            for field in ("containerID", "hostID", "size")
        ),
    },
    "root/oci/test_oci_limits.py": {
        "test_limits_are_set_and_changed": "linux.cgroupsPath",
        "test_what_spec_writes_runs": "process.args",
    },
    "root/oci/test_oci_devices.py": {
        "test_a_container_uses_the_devices_it_is_allowed": (
            "linux.resources.devices[].allow linux.resources.devices[].access"
        ),
        "KMSG": ("linux.resources.devices[].type linux.resources.devices[].major linux.resources.devices[].minor"),
    },
    "root/oci/test_oci_resources.py": {
        "test_memory": " ".join(
            f"linux.resources.memory.{field}"
            for field in ("limit", "reservation", "kernel", "kernelTCP", "useHierarchy", "checkBeforeUpdate")
        ),
        "test_memory_as_version_1_has_it": (
            "linux.resources.memory.swap linux.resources.memory.swappiness linux.resources.memory.disableOOMKiller"
        ),
        "test_processors": " ".join(
            f"linux.resources.cpu.{field}" for field in ("shares", "quota", "burst", "period", "cpus", "mems", "idle")
        ),
        "test_a_realtime_budget_is_had_or_refused": (
            "linux.resources.cpu.realtimeRuntime linux.resources.cpu.realtimePeriod"
        ),
        "test_processes": "linux.resources.pids.limit",
        "test_files_of_version_2_are_written_as_they_are": "linux.resources.unified",
        "test_a_disk_is_throttled": " ".join(
            f"linux.resources.blockIO.throttle{what}Device[].{field}"
            for what in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
            for field in ("major", "minor", "rate")
        ),
        "test_weights_of_disks_are_had_or_refused": " ".join(
            f"linux.resources.blockIO.{field}"
            for field in ("weight", "leafWeight", *(f"weightDevice[].{name}" for name in WEIGHT_OF_A_DEVICE))
        ),
        "test_controllers_that_few_hosts_have": (
            "linux.resources.hugepageLimits[].pageSize linux.resources.hugepageLimits[].limit "
            "linux.resources.network.classID linux.resources.network.priorities[].name "
            "linux.resources.network.priorities[].priority "
            "linux.resources.rdma{}.hcaHandles linux.resources.rdma{}.hcaObjects"
        ),
    },
    "root/oci/test_oci_seccomp.py": {
        "test_what_no_rule_names_has_the_default": "linux.seccomp.defaultAction linux.seccomp.defaultErrnoRet",
        "test_architectures_are_those_named": "linux.seccomp.architectures[]",
        "test_calls_fail_by_their_names_and_arguments": " ".join(
            f"linux.seccomp.syscalls[].args[].{field}" for field in ("index", "value", "valueTwo", "op")
        ),
        "rule": ("linux.seccomp.syscalls[].names linux.seccomp.syscalls[].action linux.seccomp.syscalls[].errnoRet"),
    },
}
# What no test can look at, and why.
NOWHERE = {
    "vm": "it is for virtual machines, and ignored as other platforms' sections are",
    **{
        f"linux.intelRdt.{field}": "it is refused"
        for field in ("closID", "schemata[]", "l3CacheSchema", "memBwSchema", "enableMonitoring")
    },
}
# A value that no field takes, and one for those that take strings alone.
GARBAGE: tuple[Any, ...] = ([[{"garbage": None}]], {"garbage": [1.5]}, "\0", -(1 << 70))


def fields(kind: Any, at: str = "") -> Iterator[str]:
    """The paths of all values that a kind of the schema knows."""
    if isinstance(kind, Struct):
        for key, inner in kind.kinds.items():
            yield from fields(inner, f"{at}.{key}".lstrip("."))
        return
    for function, mark in (("list_of", "[]"), ("map_of", "{}")):
        if getattr(kind, "__qualname__", "") == f"{function}.<locals>.decode":
            yield from fields(inspect.getclosurevars(kind).nonlocals["kind"], at + mark)
            return
    yield at


FIELDS = sorted({path.removesuffix("{}") if path == "annotations{}" else path for path in fields(CONFIG)})


@cache
def definitions(file: str) -> dict[str, str]:
    """The source of each function and assignment at the top of a test file."""
    text = (TESTS / file).read_text()
    found = {}
    for node in ast.parse(text).body:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
        source = "\n".join(text.splitlines()[first - 1 : node.end_lineno])
        if isinstance(node, ast.FunctionDef):
            found[node.name] = source
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = source
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = source
    return found


def test_every_field_is_looked_at() -> None:
    looked_at = {path for file in LOOKS.values() for paths in file.values() for path in paths.split()}
    assert sorted(looked_at | set(NOWHERE)) == FIELDS
    assert not looked_at & set(NOWHERE)


@pytest.mark.parametrize(("file", "function"), [(file, function) for file, rows in LOOKS.items() for function in rows])
def test_who_looks_speaks_of_the_field(file: str, function: str) -> None:
    source = definitions(file)[function]
    for path in LOOKS[file][function].split():
        key = re.sub(r"\[\]|\{\}", "", path.rpartition(".")[2])
        assert re.search(rf"\b{key}\b", source), f"{file}::{function} says nothing of {path}"


def places(config: Any, steps: list[str]) -> Iterator[tuple[Any, Any, str]]:
    """Where a field is in a configuration: (container, key, path as it is shown)."""
    at, shown = config, ""
    for number, step in enumerate(steps):
        last = number + 1 == len(steps)
        if step == "{}":
            key = next(iter(at))
            name = f'["{key}"]'
        elif step == "[]":
            key, name = 0, "[0]"
        else:
            key, name = step, f".{step}"
        shown += name
        if last:
            yield at, key, shown.lstrip(".")
            return
        following = at.get(key) if isinstance(at, dict) else at[key]
        if isinstance(at, list) and steps[number + 1] not in ("[]", "{}"):
            # Of several items the first that has it.
            key, following = next(
                ((index, item) for index, item in enumerate(at) if item.get(steps[number + 1])), (0, at[0])
            )
            shown = f"{shown.removesuffix('[0]')}[{key}]"
        at = following


@pytest.mark.parametrize("path", [path for path in FIELDS if path != "vm"])
def test_garbage_is_refused_at_the_field(path: str) -> None:
    """A list of lists is no value of any field, nor a number that no integer of the kernel's holds."""
    steps = re.findall(r"\[\]|\{\}|[^.\[\]{}]+", path)
    for garbage in GARBAGE[:1] if path.endswith(("unified", "annotations")) else GARBAGE:
        if garbage == "\0" and path in ANYTHING_OF_STRINGS:
            continue
        config = loads(dumps(FULL))
        ((holder, key, shown),) = places(config, steps)
        if holder == []:
            holder.append(garbage)
        else:
            holder[key] = garbage
        found = [at for at, _ in validate(config)]
        assert found, f"{shown} took {garbage!r}"
        assert all(at == shown or at.startswith((shown + "[", shown + ".")) for at in found), (found, garbage)


# Strings that are not handed to the kernel, or looked up in a table by who needs them.
ANYTHING_OF_STRINGS = frozenset(
    [f"process.capabilities.{kind}[]" for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")]
    + ["linux.resources.network.priorities[].name", "linux.personality.flags[]", "linux.intelRdt.l3CacheSchema"]
    + ["linux.seccomp.listenerPath", "linux.seccomp.listenerMetadata", "linux.seccomp.syscalls[].names"]
    + ["linux.intelRdt.schemata[]"]
)
