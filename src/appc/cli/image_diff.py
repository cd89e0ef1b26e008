"""`appc image diff`: what is different between two images, directories or pods' roots."""

from __future__ import annotations

import os

from appc.cli.context import printable
from appc.cli.fetch_options import TRANSPORT, network_of
from appc.cli.image_file import file_path, open_image
from appc.cli.options import FORMAT, LIST, Args, Operand, Option, Verb
from appc.cli.output import json_document, out
from appc.cli.passphrase import PASSPHRASE, PASSPHRASE_EXCLUSIVE, passphrase
from appc.errors import AppcError, UsageError
from appc.images.diff import ADDED, ASPECTS, CHANGED, REMOVED, compare, compare_manifests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from appc.cli.context import Context
    from appc.images.diff import Change
    from appc.images.snapshot import Snapshot
    from appc.store.images import ImageStore, StoredImage

VERB = Verb(
    "image diff",
    "show what is different between two images",
    description=(
        "A and B are images in any form (files, in the store, oci:DIR and so on), directories (layouts or root file "
        "systems), or pod:UUID[:APP], the root of a pod's app as it is now. "
        "Every line is a path: A added, D removed, C changed, and what of it: "
        "type, content, mode, owner, link target, device, hard links, modification time, extended attributes. Fields "
        "of the manifest come first, with M. Contents are compared by their SHA-256.\n\n"
        "Images are compared without their dependencies, unless --rendered is given or one of the two is a pod."
    ),
    options=(
        Option("--rendered", help="compare images of the store with their dependencies and whitelists applied"),
        Option("--ignore", metavar="WHAT,...", kind=LIST, choices=ASPECTS, help="leave these out of the comparison"),
        Option("--exit-code", help="exit with 1 when there is a difference"),
        TRANSPORT,
        *PASSPHRASE,
        FORMAT,
    ),
    operands=(
        Operand("before", "A", complete="image", help="an image, a directory or a pod"),
        Operand("after", "B", complete="image", help="what it is compared with"),
    ),
    exclusive=PASSPHRASE_EXCLUSIVE,
    examples=(
        ("appc image diff app-1.0.aci app-1.1.aci --ignore mtime", "what a new version changes"),
        ("appc image diff example.com/app pod:1f3a", "what the app has written"),
    ),
)

_POD = "pod:"
_LETTERS = {ADDED: "A", REMOVED: "D", CHANGED: "C"}


def run(args: Args, context: Context) -> int:
    """Print the differences."""
    rendered = args.rendered or any(one.startswith(_POD) for one in (args.before, args.after))
    before = _snapshot(args.before, rendered, args, context)
    after = _snapshot(args.after, rendered, args, context)
    fields = compare_manifests(before.manifest, after.manifest)
    changes = compare(before, after, args.ignore)
    if context.format == "json":
        _document(fields, changes)
    else:
        for path, old, new in fields:
            out(f"M {printable(path)}: {_change(old, new)}\n")
        for change in changes:
            # Contents of one length differ, but not in what is shown of them.
            details = ", ".join(
                f"{printable(what)} {_change(old, new)}" if old != new else what for what, old, new in change.details
            )
            out(f"{_LETTERS[change.kind]} {printable(change.path)}{': ' if details else ''}{details}\n")
    return 1 if args.exit_code and (fields or changes) else 0


def _change(old: str, new: str) -> str:
    return f"{printable(old) or '(none)'} → {printable(new) or '(none)'}"


def _document(fields: list[tuple[str, str, str]], changes: list[Change]) -> None:
    json_document(
        {
            "manifest": [{"path": path, "before": old, "after": new} for path, old, new in fields],
            "paths": [
                {
                    "path": change.path,
                    "kind": change.kind,
                    "changes": [{"what": what, "before": old, "after": new} for what, old, new in change.details],
                }
                for change in changes
            ],
        }
    )


def _snapshot(text: str, rendered: bool, args: Args, context: Context) -> Snapshot:
    from appc.images import snapshot
    from appc.images.borrow import borrowed, must_be_borrowed
    from appc.store.images import ImageStore

    store = ImageStore(context.root)
    if text.startswith(_POD):
        return _of_pod(text.removeprefix(_POD), store)
    if os.path.isdir(text):
        return snapshot.of_directory(text)
    if must_be_borrowed(text):
        warnings: list[str] = []
        with borrowed(store, text, warnings, passphrase(args, context), network_of(args, context)) as (own, image):
            for warning in warnings:
                context.warn(warning, text)
            return _rendered(own, image) if rendered else snapshot.of_image(image)
    path = file_path(text)
    if path and rendered:
        raise UsageError("only images of the store can be rendered", text, f"`appc fetch {text}` brings it there")
    if path:
        with open_image(path, "reading", passphrase(args, context)) as source:
            return snapshot.of_file(source, path)
    from appc.images.fetch import resolve

    image = resolve(store, text, config=context.config, pull="never")
    return _rendered(store, image) if rendered else snapshot.of_image(image)


def _rendered(store: ImageStore, image: StoredImage) -> Snapshot:
    from appc.images.merge import merge
    from appc.images.render import passes_of
    from appc.images.snapshot import of_node

    return of_node(merge(passes_of(store, image)), image.manifest_bytes)


def _of_pod(text: str, store: ImageStore) -> Snapshot:
    """The root of a pod's app: its image's with the app's layer on top, or the copy it has."""
    from appc.images.snapshot import of_directory
    from appc.pods import layout

    prefix, _, name = text.partition(":")
    pod = layout.find(store.root, prefix)
    names = pod.app_names()
    if not name and len(names) != 1:
        raise UsageError(f"has {len(names)} apps", f"pod {pod.uuid}", f"name one: pod:{prefix}:{'|'.join(names)}")
    name = name or names[0]
    app = next((app for app in pod.manifest()["apps"] if app["name"] == name), None)
    if app is None:
        raise AppcError(f"there is no app {name}", f"pod {pod.uuid}", f"there is {', '.join(names)}")
    image = store.get(app["image"]["id"])
    upper = pod.file(f"apps/{name}/upper")
    if os.path.isdir(upper):
        found = _rendered(store, image)
        found.cover(upper)
    else:
        found = of_directory(pod.file(f"apps/{name}/rootfs"))
        found.manifest = image.manifest_bytes
    return found
