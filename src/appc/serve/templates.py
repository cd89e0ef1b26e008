"""URL templates (discovery.md): which ones a set of images needs, and which image each rendered URL leads to.

A template is made of the labels an image has: `{name}-{version}-{os}-{arch}.{ext}` for most, `{name}-{version}.{ext}`
for those that run anywhere, longer ones where there are further labels. A client that was not asked for a label cannot
render a template that has it, and goes on to the next; so templates with more labels come first.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from appc.serve.image import ServedImage
    from appc.values import Labels

    # The names of the labels in a template, after the name and the version.
    Shape = tuple[str, ...]

LATEST = "latest"
"""What clients put for {version} when they were asked for none (discovery.md)."""

MOST_SHAPES = 8
_PLATFORM = ("os", "arch")
_USUAL: Shape = _PLATFORM


def shape_of(labels: Labels) -> Shape:
    """The labels that the template of an image has: os and arch, then the others in the order of their names."""
    names = {name for name, _ in labels} - {"version"}
    return (*(name for name in _PLATFORM if name in names), *sorted(names.difference(_PLATFORM)))


def shapes_of(images: Iterable[ServedImage]) -> list[Shape]:
    """The shapes that `images` need, those with more labels first; without any image, the usual one."""
    found = {shape_of(image.labels) for image in images}
    # An image with further labels must also be found by those who do not ask for them.
    found |= {tuple(name for name in shape if name in _PLATFORM) for shape in found}
    ordered = sorted(found or {_USUAL}, key=lambda shape: (-len(shape), shape))
    return (
        [shape for shape in ordered if not set(shape) - set(_PLATFORM)][:2] if len(ordered) > MOST_SHAPES else ordered
    )


def template(shape: Shape) -> str:
    """The template of a shape, below what all of them begin with."""
    return "{name}-{version}" + "".join(f"-{{{name}}}" for name in shape) + ".{ext}"


def stem(shape: Shape, name: str, version: str, labels: Labels) -> str:
    """The template of a shape rendered without its extension."""
    return "-".join((name, version, *(labels.get(label) or "" for label in shape)))


def place(name: str, version: str, labels: Labels) -> str:
    """The rendered template that is an image's own, without its extension; `version` is `LATEST` if it has none."""
    return stem(shape_of(labels), name, version, labels)


def routes(images: Iterable[ServedImage]) -> dict[str, ServedImage]:
    """Which image each rendered template, without its extension, leads to.

    Of several images that one would lead to (they differ in labels that it does not have) the one with the fewest
    further labels is taken, then the one whose file is newer, then the one with the greater ID. `latest` leads to the
    image with that version if there is one, else to the one with the highest.
    """
    known = list(images)
    shapes = {shape for image in known for shape in shapes_of([image])}
    choices: dict[str, list[tuple[tuple[object, ...], ServedImage]]] = {}
    for image in known:
        own = {name for name, _ in image.labels}
        for shape in shapes:
            # An image for one platform is never what somebody gets who asks for one that runs anywhere.
            if not own.issuperset(shape) or own.intersection(_PLATFORM) != set(shape).intersection(_PLATFORM):
                continue
            rank = (-len(own), image.modified, image.image_id)
            if image.version:
                choices.setdefault(stem(shape, image.name, image.version, image.labels), []).append(((1, *rank), image))
            latest = (0, *precedence(image.version), *rank)
            choices.setdefault(stem(shape, image.name, LATEST, image.labels), []).append((latest, image))
    return {stem: max(ranked, key=lambda one: one[0])[1] for stem, ranked in choices.items()}


def precedence(version: str) -> tuple[object, ...]:
    """A key that orders versions: none, then those without numbers, then pre-releases, then releases by their numbers.

    `1.10` is higher than `1.9`; what follows the numbers makes a pre-release, unless it begins with `+`.
    """
    rest = version.removeprefix("v").lstrip("0123456789.")
    numbers = version.removeprefix("v")[: len(version.removeprefix("v")) - len(rest)]
    release = bool(numbers) and (not rest or rest.startswith("+"))
    return bool(version), bool(numbers), release, natural(numbers), natural(rest)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key that orders texts by the numbers in them."""
    found: list[tuple[int, int, str]] = []
    word = ""
    for character in [*text, ""]:
        if word and (not character or word[-1].isdecimal() != character.isdecimal()):
            number = word.isdecimal() and len(word) < 20
            found.append((1, int(word), "") if number else (0, 0, word))
            word = ""
        word += character
    return tuple(found)
