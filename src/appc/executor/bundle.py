"""An image as an OCI runtime bundle: a copied root and the config.json its app compiles to."""

from __future__ import annotations

import os

from appc.errors import AppcError, UsageError
from appc.formats import convert
from appc.host import probe
from appc.images import fetch
from appc.images.render import copy_rootfs
from appc.images.view import TreeView
from appc.network.setup import BANDWIDTH
from appc.pods import reify, users, volumes
from appc.pods.request import PodRequest
from appc.schema.json import dumps
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.config import Directories

CONFIG = "config.json"


def bundle(where: Directories, request: PodRequest, target: str, warnings: list[str]) -> None:
    """Write the one app of `request` as a bundle into the directory `target`, which is made.

    Event handlers have no counterpart there (OCI hooks run outside the app's root); they and empty volumes,
    which belong to a pod, are refused or said. Raises AppcError; nothing is left of `target` then.
    """
    request.check()
    store = ImageStore(where.root)
    (wanted,) = request.apps
    image = fetch.resolve(
        store,
        wanted.image,
        pull=request.pull,
        insecure=request.insecure,
        signature=wanted.signature,
        config=where.config,
        keep=where.settings.images_keep_original,
        passphrase=request.passphrase,
        warnings=warnings,
        network=request.network,
    )
    manifest = reify.reify(request, [image], warnings)
    manifest.check_executable()
    entry = manifest.apps[0]
    assert entry.app is not None
    if any(volume.kind == "empty" for volume in manifest.volumes):
        raise AppcError("a bundle has no empty volumes", f"app {entry.name}", "give a host directory with --volume")
    for handler in entry.app.event_handlers:
        warnings.append(f"app {entry.name}: a bundle has no place for its {handler.name} handler")
    try:
        os.mkdir(target)
    except FileExistsError:
        raise UsageError("exists already", target, "name a directory that is to be made") from None
    try:
        rootfs = f"{target}/rootfs"
        os.mkdir(rootfs, 0o755)
        warnings.extend(copy_rootfs(store, image, rootfs))
        view = TreeView((rootfs,))
        identity = users.resolve(
            view, entry.app.user, entry.app.group, entry.app.supplementary_gids, f"app {entry.name}"
        )
        document, outcomes = convert.app_to_oci(
            entry.app,
            name=str(entry.name),
            facts=probe.facts(),
            uid=identity.uid,
            gid=identity.gid,
            groups=identity.groups,
            home=identity.home,
            hostname=request.hostname or str(entry.name),
            volumes=volumes.resolve(manifest, entry, "", view, warnings),
            read_only_rootfs=entry.read_only_root_fs,
        )
        for name, state, reason in outcomes:
            if name == BANDWIDTH:
                state, reason = "ignored", "a bundle has no place for it"
            if state != "enforced":
                warnings.append(f"app {entry.name}: isolator {name} is {state}: {reason}")
        if wanted.devices:
            from appc.pods import devices
            from appc.schema.policies import Policies

            names = Policies(entry.annotations).devices
            given = devices.give(names, where.settings.devices_cdi_path, f"app {entry.name}")
            given.apply(document)
            warnings.extend(f"app {entry.name}: {kind} of its devices are left out" for kind in given.left_out)
        with open(f"{target}/{CONFIG}", "w") as stream:
            stream.write(dumps(document, indent=2) + "\n")
    except BaseException:
        import shutil

        shutil.rmtree(target, ignore_errors=True)
        raise
