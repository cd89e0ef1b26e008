"""`appc run --kube FILE`: the pod that a Kubernetes Pod describes."""

from __future__ import annotations

from appc.cli.fetch_options import network_of
from appc.cli.passphrase import passphrase
from appc.errors import InvalidValue
from appc.executor import kube
from appc.formats.layout import read_document
from appc.images import fetch
from appc.images.network import with_packages
from appc.schema.kube import KubePod
from appc.schema.registry import SCHEME
from appc.store.images import ImageStore
from appc.values import ImageReference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.cli.context import Context
    from appc.cli.options import Args
    from appc.pods.request import PodRequest
    from appc.store.images import StoredImage

_PULL = {"Always": "update", "IfNotPresent": "new", "Never": "never"}


def kube_request(
    args: Args, context: Context, started: Callable[[str, int | None], Callable[[int], None]]
) -> PodRequest:
    """Read the file of --kube, have its images, and return the pod; ManifestError lists all that it cannot be."""
    # `run` starts without the packages that read YAML.
    with_packages()
    pod = KubePod.parse(read_document(args.kube), where=args.kube)
    kube.check(pod)
    store = ImageStore(context.root)
    network = network_of(args, context)
    images: dict[str, StoredImage] = {}
    for container in pod.spec.containers:
        told: list[str] = []
        images[container.name] = fetch.resolve(
            store,
            _reference(store, container.image),
            pull=_PULL.get(container.image_pull_policy, args.pull),
            insecure=args.insecure,
            config=context.config,
            keep=context.settings.images_keep_original,
            passphrase=passphrase(args, context),
            network=network,
            started=started,
            warnings=told,
        )
        for text in told:
            context.warn(text, container.image)
        if "image" in args.insecure and not images[container.name].signer:
            context.warn("was not verified (--insecure image)", container.image)
    grace = pod.spec.grace if args.grace is None else args.grace
    return kube.to_request(
        pod,
        images,
        remove=args.rm,
        strict=args.strict,
        verify=args.verify,
        grace=context.settings.stop_grace if grace is None else float(grace),
    )


def _reference(store: ImageStore, image: str) -> str:
    """The IMAGE that a container's `image` means: one of the store that is called so, else one of a registry."""
    if fetch.classify(image) != "name":
        return image
    try:
        wanted = ImageReference.parse(image)
        if store.matching(wanted.name, wanted.labels):
            return image
    except InvalidValue:
        pass  # names in registries may be what names of ACIs may not
    return f"{SCHEME}//{image}"
