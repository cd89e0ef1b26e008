"""What is served at one moment: images by name, URL and ID, the keys, and what is not served and why."""

from __future__ import annotations

from appc.serve.templates import precedence, routes, shapes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from appc.serve.image import ServedImage
    from appc.serve.templates import Shape
    from appc.trust.packets import Certificate


class Catalog:
    """A snapshot that does not change. `faults` are (path, reason) of what is not served.

    `pending` are paths of images still being read. `domains` are the first parts of the images' names.
    """

    def __init__(
        self,
        images: Iterable[ServedImage] = (),
        certificates: Sequence[Certificate] = (),
        faults: Mapping[str, str] | None = None,
        pending: Iterable[str] = (),
    ) -> None:
        self.faults = sorted((faults or {}).items())
        self.pending = tuple(sorted(pending))
        self.certificates = tuple({one.fingerprint: one for one in certificates}.values())
        # Of several files with the same image the one that is signed, then the one that comes first, is as good as any.
        ordered = sorted(images, key=lambda image: (not image.signers, image.path))
        self.by_id: dict[str, ServedImage] = {}
        for image in ordered:
            self.by_id.setdefault(image.image_id, image)
        self.images = sorted(self.by_id.values(), key=_order)
        self.by_name: dict[str, list[ServedImage]] = {}
        for image in self.images:
            self.by_name.setdefault(image.name, []).append(image)
        self.domains = sorted({name.partition("/")[0] for name in self.by_name})
        self._routes = routes(self.images)

    def route(self, stem: str) -> ServedImage | None:
        """The image that a rendered template without its extension leads to."""
        return self._routes.get(stem)

    @property
    def stems(self) -> Mapping[str, ServedImage]:
        """All that `route` answers."""
        return self._routes

    def below(self, prefix: str) -> list[ServedImage]:
        """The images called `prefix`, or something below it; all of them for ""."""
        return [image for image in self.images if covers(prefix, image.name)]

    def shapes(self, prefix: str) -> list[Shape]:
        """The templates that the images below `prefix` need."""
        return shapes_of(self.below(prefix))


def covers(prefix: str, name: str) -> bool:
    """Whether `name` is `prefix` or below it; prefixes end where a part of the name ends."""
    return not prefix or name == prefix or name.startswith(prefix + "/")


def _order(image: ServedImage) -> tuple[object, ...]:
    """By name, the highest version first, then by the other labels."""
    return image.name, _Descending(precedence(image.version)), str(image.labels), image.image_id


class _Descending:
    """A key that sorts the other way round."""

    __slots__ = ("key",)

    def __init__(self, key: tuple[object, ...]) -> None:
        self.key = key

    def __lt__(self, other: _Descending) -> bool:
        return other.key < self.key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.key == other.key

    __hash__ = None  # type: ignore[assignment]
