"""Small manifests to vary in tests, and the faults that reading one gives."""

from __future__ import annotations

import random
from typing import Any

from appc.errors import ManifestError

IMAGE_ID = "sha512-" + "0123456789abcdef" * 8


def image(**fields: Any) -> dict[str, Any]:
    """An image manifest with `fields` put into it."""
    return {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/worker", **fields}


def app(**fields: Any) -> dict[str, Any]:
    """The app section of an image manifest."""
    return {"exec": ["/bin/worker", "--quiet"], "user": "0", "group": "0", **fields}


def image_with_app(**fields: Any) -> dict[str, Any]:
    """An image manifest whose app has `fields`."""
    return image(app=app(**fields))


def image_with_isolators(*isolators: Any) -> dict[str, Any]:
    """An image manifest whose app has `isolators`."""
    return image_with_app(isolators=list(isolators))


def isolator(name: str, value: Any) -> dict[str, Any]:
    """One isolator."""
    return {"name": name, "value": value}


def pod_app(name: str = "worker", **fields: Any) -> dict[str, Any]:
    """One app of a pod manifest."""
    return {"name": name, "image": {"id": IMAGE_ID}, "app": app(), **fields}


def pod(*apps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A pod manifest of `apps`, by default one."""
    return {"acKind": "PodManifest", "acVersion": "0.8.11", "apps": list(apps) or [pod_app()], **fields}


def faults(record: Any, raw: Any, strict: bool = False) -> dict[str, str]:
    """What `record.parse` finds wrong with `raw`, by path."""
    try:
        record.parse(raw, strict=strict)
    except ManifestError as error:
        return dict(error.faults)
    return {}


# The examples of the specification's text, shortened.
IMAGE_EXAMPLE = image(
    labels=[
        {"name": "version", "value": "1.0.0"},
        {"name": "arch", "value": "amd64"},
        {"name": "os", "value": "linux"},
    ],
    app={
        "exec": ["/usr/bin/reduce-worker", "--quiet"],
        "user": "100",
        "group": "300",
        "supplementaryGids": [400, 500],
        "eventHandlers": [
            {"exec": ["/usr/bin/data-downloader"], "name": "pre-start"},
            {"exec": ["/usr/bin/deregister-worker", "--verbose"], "name": "post-stop"},
        ],
        "workingDirectory": "/opt/work",
        "environment": [{"name": "REDUCE_WORKER_DEBUG", "value": "true"}],
        "isolators": [
            {"name": "resource/cpu", "value": {"request": "250m", "limit": "500m"}},
            {"name": "resource/memory", "value": {"request": "1G", "limit": "2G"}},
            {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_NET_BIND_SERVICE"]}},
        ],
        "mountPoints": [{"name": "work", "path": "/var/lib/work", "readOnly": False}],
        "ports": [
            {"name": "health", "port": 4000, "protocol": "tcp", "socketActivated": True},
            {"name": "ftp-data", "port": 20000, "count": 1000, "protocol": "tcp"},
        ],
    },
    dependencies=[
        {
            "imageName": "example.com/reduce-worker-base",
            "imageID": IMAGE_ID,
            "labels": [{"name": "os", "value": "linux"}, {"name": "env", "value": "canary"}],
            "size": 22017258,
        }
    ],
    pathWhitelist=["/etc/ca/example.com/crt", "/etc/systemd/system/"],
    annotations=[
        {"name": "authors", "value": "Carly Container <carly@example.com>"},
        {"name": "created", "value": "2014-10-27T19:32:27.67021798Z"},
        {"name": "documentation", "value": "https://example.com/docs"},
        {"name": "homepage", "value": "https://example.com"},
        {"name": "appc.io/executor/supports-systemd-notify", "value": "false"},
    ],
)

POD_EXAMPLE = pod(
    {
        "name": "reduce-worker",
        "image": {
            "name": "example.com/reduce-worker",
            "id": IMAGE_ID,
            "labels": [{"name": "version", "value": "1.0.0"}],
        },
        "app": {
            "exec": ["/bin/reduce-worker", "--debug=true"],
            "group": "0",
            "user": "0",
            "mountPoints": [{"name": "work", "path": "/var/lib/work"}],
        },
        "readOnlyRootFS": True,
        "mounts": [{"volume": "worklib", "path": "/var/lib/work"}],
    },
    {"name": "register", "image": {"id": IMAGE_ID}, "annotations": [{"name": "foo", "value": "baz"}]},
    volumes=[{"name": "worklib", "kind": "host", "source": "/opt/tenant1/work", "readOnly": True, "recursive": True}],
    isolators=[isolator("resource/memory", {"limit": "4G"})],
    annotations=[{"name": "ip-address", "value": "10.1.2.3"}],
    ports=[{"name": "ftp", "hostPort": 2121}],
)

# Keys that mean something somewhere, for putting them where they mean something else.
WORDS = """
    acKind acVersion apps app exec user group environment isolators mountPoints ports name value path port count
    kind source mode image id labels mounts volume volumes appVolume annotations hostPort hostIP podPort set errno
    limit request default eventHandlers supplementaryGIDs readOnly imageName imageID size dependencies
    pathWhitelist userLabels NAME Value
"""
KEYS = WORDS.split()


def mutated(value: object, choose: random.Random, replacement: object) -> object:
    """A copy of `value` with one part somewhere inside replaced, removed or given a new key."""
    if choose.random() < 0.2 or not isinstance(value, (dict, list)) or not value:
        return replacement
    if isinstance(value, list):
        at = choose.randrange(len(value))
        return [mutated(item, choose, replacement) if index == at else item for index, item in enumerate(value)]
    key = choose.choice(list(value))
    changed = dict(value)
    action = choose.random()
    if action < 0.1:
        del changed[key]
    elif action < 0.2:
        changed[choose.choice(KEYS)] = replacement
    else:
        changed[key] = mutated(value[key], choose, replacement)
    return changed
