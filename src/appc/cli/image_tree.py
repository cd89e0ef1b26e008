"""`appc image tree`: what an image is made of, and where the bytes are."""

from __future__ import annotations

from appc.cli.context import printable
from appc.cli.options import FORMAT, Args, Operand, Option, Verb
from appc.cli.output import json_document, out, size, titled
from appc.cli.values import integer
from appc.images.use import find_stored
from appc.store.images import ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from appc.cli.context import Context
    from appc.images.usage import Part, Usage

VERB = Verb(
    "image tree",
    "show what an image is made of, and where the bytes are",
    description=(
        "Prints the image with the images it depends on, each with its ID, the bytes of its own files and whether "
        "other images in the store need it too; then the totals, and the directories of the rendered root that hold "
        "the most. An image that occurs again is marked with * and its dependencies are not repeated."
    ),
    options=(
        Option("--depth", metavar="N", parse=integer(1, 100), default=3, help="levels of directories"),
        Option("--top", metavar="N", parse=integer(0, 100000), default=10, help="number of directories"),
        Option("--full", help="shorten nothing"),
        FORMAT,
    ),
    operands=(Operand("image", complete="image", help="an ID or a name"),),
)


def run(args: Args, context: Context) -> int:
    """Print the tree and the totals."""
    from appc.images.usage import usage

    store = ImageStore(context.root)
    found = usage(store, find_stored(store, args.image))
    below = [item for item in found.directories.items() if item[0] != "/" and item[0].count("/") <= args.depth]
    directories = below[: args.top]
    if context.format == "json":
        _document(found, directories)
        return 0
    seen: set[str] = set()
    for line in _lines(found.parts[0], "", "", seen, context.full):
        out(printable(line) + "\n")
    count = len(found.parts)
    shown = str if context.full else size
    out(f"\nfiles of {count} {'image' if count == 1 else 'images'}: {shown(found.total)}")
    out(f", of which {shown(found.shared)} shared and {shown(found.total - found.shared)} only here\n")
    out(f"rendered root: {shown(found.root)}\n")
    for path, count in directories:
        out(f"  {shown(count):>9}  {printable(path)}\n")
    return 0


def _lines(part: Part, first: str, rest: str, seen: set[str], full: bool) -> Iterator[str]:
    """One line for `part`, which begins with `first`, and those of its dependencies, which begin with `rest`."""
    image = part.image
    name = titled(image.name, image.labels)
    again = image.id in seen
    note = f"  shared with {', '.join(part.others)}" if part.others else ""
    amount = str(part.size) if full else size(part.size)
    yield f"{first}{name}  {image.id if full else image.id[:19]}  {amount}{' *' if again else ''}{note}"
    if again:
        return
    seen.add(image.id)
    for index, below in enumerate(part.dependencies):
        last = index == len(part.dependencies) - 1
        branch, trunk = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _lines(below, rest + branch, rest + trunk, seen, full)


def _document(found: Usage, directories: list[tuple[str, int]]) -> None:
    json_document(
        {
            "images": [
                {
                    "id": part.image.id,
                    "name": part.image.name,
                    "labels": dict(part.image.labels),
                    "size": part.size,
                    "dependencies": [below.image.id for below in part.dependencies],
                    "sharedWith": part.others,
                }
                for part in found.parts
            ],
            "total": found.total,
            "shared": found.shared,
            "root": found.root,
            "directories": [{"path": path, "size": count} for path, count in directories],
        }
    )
