"""Kubernetes Pods: what is read, and what is refused rather than left out in silence."""

from __future__ import annotations

from typing import Any

import pytest

from appc.errors import ManifestError
from appc.executor import kube
from appc.schema.kube import KubePod


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "web", "image": "example.com/web", **(container or {})}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": containers, **spec}}


def faults(document: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ManifestError) as caught:
        kube.check(KubePod.parse(document))
    return list(caught.value.faults)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({**pod(), "kind": "Deployment"}, "kind"),
        ({**pod(), "apiVersion": "apps/v1"}, "apiVersion"),
        (pod(hostPID=True), "spec.hostPID"),
        (pod(hostIPC=True), "spec.hostIPC"),
        (pod(runtimeClassName="x"), "spec.runtimeClassName"),
        (pod(restartPolicy="Sometimes"), "spec.restartPolicy"),
        (pod(containers=[]), "spec.containers"),
        (pod(volumes=[{"name": "s", "secret": {"secretName": "s"}}]), "spec.volumes[0].secret"),
        (pod(volumes=[{"name": "s"}]), "spec.volumes[0]"),
        (pod(volumes=[{"name": "s", "emptyDir": {"medium": "Memory"}}]), "spec.volumes[0].emptyDir"),
        (pod({"envFrom": [{"secretRef": {"name": "s"}}]}), "spec.containers[0].envFrom"),
        (
            pod({"env": [{"name": "A", "valueFrom": {}}, {"name": "B", "valueFrom": {"x": 1}}]}),
            "spec.containers[0].env[1].valueFrom",
        ),
        (pod({"securityContext": {"privileged": True}}), "spec.containers[0].securityContext.privileged"),
        (pod({"securityContext": {"runAsUser": -1}}), "spec.containers[0].securityContext.runAsUser"),
        (pod({"securityContext": {"procMount": "Unmasked"}}), "spec.containers[0].securityContext.procMount"),
        (
            pod({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}}),
            "spec.containers[0].securityContext.seccompProfile.localhostProfile",
        ),
        (pod({"resources": {"limits": {"nvidia.com/gpu": 1}}}), "spec.containers[0].resources.limits.nvidia.com/gpu"),
        (pod({"resources": {"limits": {"memory": "much"}}}), 'spec.containers[0].resources.limits["memory"]'),
        (pod({"ports": [{"containerPort": 0}]}), "spec.containers[0].ports[0].containerPort"),
        (pod({"ports": [{"containerPort": 1, "protocol": "SCTP"}]}), "spec.containers[0].ports[0].protocol"),
        (pod({"livenessProbe": {"exec": {"command": ["true"]}}}), "spec.containers[0].livenessProbe"),
        (pod({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}), "spec.containers[0].volumeMounts[0].name"),
        (pod(initContainers=[{"name": "first", "image": "x", "command": ["a"]}]), "spec.initContainers[0]"),
        (
            pod(initContainers=[{"name": "web-pre-start", "image": "example.com/web"}]),
            "spec.initContainers[0].command",
        ),
    ],
)
def test_what_a_pod_here_cannot_be_is_a_fault_with_its_path(document: dict[str, Any], path: str) -> None:
    assert [where for where, _ in faults(document)] == [path]


def test_all_faults_are_told_together() -> None:
    document = pod({"envFrom": [1], "ports": [{}]}, hostPID=True)
    assert len(faults(document)) == 3


@pytest.mark.parametrize("value", [None, 1, "x", [], {"containers": 7}, {"containers": [None]}, {"containers": [{}]}])
def test_garbage_is_told(value: object) -> None:
    assert faults({"apiVersion": "v1", "kind": "Pod", "spec": value})


def test_what_means_something_to_a_cluster_alone_is_accepted() -> None:
    document = pod(
        {"terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "Always", "tty": True},
        nodeName="n",
        tolerations=[{"operator": "Exists"}],
        serviceAccountName="default",
        dnsPolicy="ClusterFirst",
        enableServiceLinks=True,
        schedulerName="default-scheduler",
    )
    document["metadata"] |= {"uid": "1", "creationTimestamp": "2020-01-01T00:00:00Z", "namespace": "default"}
    document["status"] = {"phase": "Running"}
    kube.check(KubePod.parse(document))
