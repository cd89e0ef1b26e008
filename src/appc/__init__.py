"""appc packages, signs, distributes and runs application containers.

    import appc

    image = appc.fetch("/path/app.aci")
    with appc.run(image, memory="512Mi") as pod:
        for line in pod.logs(follow=True):
            print(line.text)

The names below are looked up when first used (PEP 562), so `import appc` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.build.api import build_image, convert_image, patch_image, push_image, sign_image, verify_image
    from appc.executor.api import App, Directories, RunningPod, events, fetch, list_images, list_pods, pod, run

__all__ = [
    "App",
    "Directories",
    "RunningPod",
    "build_image",
    "convert_image",
    "events",
    "fetch",
    "list_images",
    "list_pods",
    "patch_image",
    "pod",
    "push_image",
    "run",
    "sign_image",
    "verify_image",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'appc' has no attribute {name!r}")
    if name.endswith("_image"):
        from appc.build import api as images

        return getattr(images, name)
    from appc.executor import api

    return getattr(api, name)
