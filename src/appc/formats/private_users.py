"""The configurations of a pod in a user namespace of its own: its users, from 0, are a range of the host's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any


def in_user_namespace(
    config: dict[str, Any], base: int, count: int, *, path: str = "", volumes: Collection[str] = ()
) -> dict[str, Any]:
    """Return `config` with users 0 to `count` - 1 being the host's from `base` on.

    `path` is the namespace, or one that belongs to it ("" = a new one); mounts at `volumes` have their owners mapped.
    """
    linux = config["linux"]
    own = {"type": "user", **({"path": path} if path else {})}
    mapping = [{"containerID": 0, "hostID": base, "size": count}]
    changed = {
        **config,
        "linux": {**linux, "namespaces": [*linux["namespaces"], own], "uidMappings": mapping, "gidMappings": mapping},
    }
    if "mounts" in config:
        alone = any(namespace["type"] == "network" for namespace in linux["namespaces"])
        changed["mounts"] = [_mount(mount, alone, volumes) for mount in config["mounts"]]
    return changed


def rootless(config: dict[str, Any], *, groups: bool) -> dict[str, Any]:
    """Return `config` for an ordinary user's executor, which is root only in a user namespace.

    `groups` tells whether that has others than one's own.
    """
    if "mounts" not in config:
        return config
    alone = any(namespace["type"] == "network" for namespace in config["linux"]["namespaces"])
    mounts = [_mount(mount, alone, ()) for mount in config["mounts"]]
    if not groups:
        # Terminals belong to the group tty, which is nobody.
        mounts = [
            {**mount, "options": [option for option in mount["options"] if option != "gid=5"]}
            if mount["type"] == "devpts"
            else mount
            for mount in mounts
        ]
    return {**config, "mounts": mounts}


def _mount(mount: dict[str, Any], alone: bool, volumes: Collection[str]) -> dict[str, Any]:
    options = mount.get("options") or []
    if mount["destination"] in volumes:
        return {**mount, "options": [*options, "ridmap" if "rbind" in options else "idmap"]}
    if mount["type"] == "sysfs" and not alone:
        # It shows a network, and only who owns that may mount it.
        return {**mount, "type": "bind", "source": "/sys", "options": ["rbind", "rro", *options]}
    return mount
