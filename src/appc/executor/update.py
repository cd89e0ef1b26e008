"""Changing the isolators of a pod while it runs, and its manifest with them."""

from __future__ import annotations

from appc.errors import Unenforceable
from appc.executor import control, outcome
from appc.executor.apps import perform
from appc.formats import convert
from appc.host import cgroupfs, probe, procs
from appc.host.cgroup_update import update as update_groups
from appc.host.disks import whole_disks
from appc.network.setup import POD as POD_NETWORK
from appc.plan.compile_change import compile_restart
from appc.pods import records
from appc.pods.changes import Changing
from appc.pods.layout import CHANGED
from appc.pods.reify import merged_isolators
from appc.schema.isolators import APP, POD
from appc.schema.pod import PodManifest
from appc.schema.policies import Policies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from appc.host.probe import HostFacts
    from appc.pods.layout import Pod
    from appc.schema.isolators import Isolator

_OOM_SCORE = "os/linux/oom-score-adj"
_BANDWIDTH = "resource/network-bandwidth"
_IN_GROUPS = (
    "os/linux/cpu-shares",
    "resource/block-bandwidth",
    "resource/block-iops",
    "resource/cpu",
    "resource/memory",
    "resource/pids",
)


def update(pod: Pod, app: str, isolators: Sequence[Isolator], *, strict: bool = False) -> list[outcome.Row]:
    """Put `isolators` in the place of those of the same name, of the app called `app` or ("") of the whole pod.

    The reified manifest has them from then on, so the metadata service tells the apps. Returns what became of each;
    with `strict`, one that is not enforced as asked is refused, after the others were applied.
    Raises PodStateError for a pod that does not run, Unenforceable for an isolator the kernel does not change in a
    running process, HostError for a limit it does not take.
    """
    for isolator in isolators:
        if isolator.name not in (*_IN_GROUPS, _BANDWIDTH, *([_OOM_SCORE] if app else [])):
            hint = f"{', '.join(_IN_GROUPS)}, {_BANDWIDTH} and, of an app, {_OOM_SCORE} can be"
            raise Unenforceable("cannot be changed while the pod runs", f"isolator {isolator.name}", hint)
    # Two changes at once would each write the manifest they began with.
    with Changing(pod):
        if app:
            control.chosen_apps(pod, (app,))
        return _update(pod, app, isolators, strict)


def _update(pod: Pod, app: str, isolators: Sequence[Isolator], strict: bool) -> list[outcome.Row]:
    manifest = PodManifest.parse(pod.read("pod"))
    if app:
        index = next(index for index, entry in enumerate(manifest.apps) if entry.name == app)
        entry = manifest.apps[index]
        assert entry.app is not None, "a reified manifest has an app in each entry"
        changed = merged_isolators(tuple(entry.app.isolators), tuple(isolators))
        entries = list(manifest.apps)
        entries[index] = entry.replace(app=entry.app.replace(isolators=changed))
        manifest = manifest.replace(apps=tuple(entries))
    else:
        changed = merged_isolators(tuple(manifest.isolators), tuple(isolators))
        manifest = manifest.replace(isolators=changed)
    facts = probe.facts()
    net = pod.read_json("request")["net"]
    changeable = (*_IN_GROUPS, _BANDWIDTH, _OOM_SCORE)
    live = [isolator for isolator in changed if isolator.name in changeable]
    where = f"app {app}" if app else "pod"
    resources, decided, score = convert.resources(
        live,
        APP if app else POD,
        where,
        facts=facts,
        block_devices=whole_disks(),
        pod_isolators=[one for one in manifest.isolators if one.name in changeable],
        namespaces=() if net == "host" or net.startswith(POD_NETWORK) else ("network",),
        alone=len(manifest.apps) == 1,
    )
    names = [app] if app else pod.app_names()
    before = [control.app_groups(pod, name, facts) for name in names]
    pod.write(CHANGED, b"")
    told = update_groups(pod.cgroup, pod.app_names(), app, resources, lambda: _members(pod, app), facts)
    given = {str(isolator.name) for isolator in isolators}
    if _OOM_SCORE in given and score is not None:
        _set_oom_score(pod, app, score)
    if _BANDWIDTH in given:
        from appc.executor.links import limit

        told += limit(pod, manifest, facts).rows(app)
    rows = outcome.combine([outcome.Row(app, *row) for row in decided if row[0] in given], told)
    pod.write("pod", outcome.annotated(manifest, keep_outcome(pod, rows)).to_json())
    if app:
        _keep_in_config(pod, app, resources, score)
    for name, groups in zip(names, before, strict=True):
        if _OOM_SCORE in given or control.app_groups(pod, name, facts) != groups:
            _prepare_restart(pod, name, manifest, facts)
    lacking = [row for row in rows if row.state != outcome.ENFORCED]
    if strict and lacking:
        raise Unenforceable("; ".join(f"{row.name} {row.state}: {row.reason}" for row in lacking), where)
    return rows


def keep_outcome(pod: Pod, rows: Sequence[outcome.Row]) -> list[outcome.Row]:
    """Write down what became of the isolators, for `status`; return it with what became of the others before."""
    replaced = {(row.scope, row.name) for row in rows}
    try:
        old = [outcome.Row.from_dict(document) for document in pod.read_json("isolators")]
    except FileNotFoundError:
        old = []
    found = [row for row in old if (row.scope, row.name) not in replaced] + list(rows)
    pod.write_json("isolators", [row.to_dict() for row in found])
    return found


def _keep_in_config(pod: Pod, app: str, resources: dict[str, Any], score: int | None) -> None:
    """Have what enters the app later, and the app when it is started again, know its limits."""
    config = pod.read_json(f"config/{app}")
    devices = config["linux"]["resources"].get("devices", [])
    config["linux"]["resources"] = {"devices": devices, **resources}
    if score is not None:
        config["process"]["oomScoreAdj"] = score
    pod.write_json(f"config/{app}", config)


def _prepare_restart(pod: Pod, app: str, manifest: PodManifest, facts: HostFacts) -> None:
    """Have an app that its keeper runs again when it ends come as it is by now, in the groups that it has by now."""
    entry = manifest.app(app)
    policy = Policies(entry.annotations).restart if entry else None
    # Another runtime reads the configuration each time.
    if policy is None or pod.read_json("request").get("runtime"):
        return
    plan = compile_restart(
        pod.read_json(f"config/{app}"),
        name=app,
        policy=(policy.when, policy.most),
        facts=facts,
        pod_dir=pod.path,
        cgroups=control.app_groups(pod, app, facts),
        seccomp=control.app_filter(pod, app),
        sockets=control.app_sockets(pod, app),
    )
    perform(pod, plan)


def _members(pod: Pod, app: str) -> list[int]:
    """Return the processes of an app, or of all apps: those in the pod's groups with the app's mount namespace."""
    found = {
        pid
        for group in cgroupfs.pod_directories(pod.cgroup, probe.facts(), alone=True)
        for pid in cgroupfs.processes(group)
    }
    if not app:
        return sorted(found)
    record = records.app_record(pod, app)
    own = procs.mount_namespace(record.pid) if record.pid else ""
    return sorted(pid for pid in found if own and procs.mount_namespace(pid) == own)


def _set_oom_score(pod: Pod, app: str, score: int) -> None:
    for pid in _members(pod, app):
        try:
            cgroupfs.write(f"/proc/{pid}/oom_score_adj", str(score))
        except FileNotFoundError:
            continue
        except PermissionError:
            raise Unenforceable(f"{score} is less than this host lets it be", f"isolator {_OOM_SCORE}") from None
