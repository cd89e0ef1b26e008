"""Small manifests to vary in tests, and the faults that reading one gives."""

from __future__ import annotations

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
