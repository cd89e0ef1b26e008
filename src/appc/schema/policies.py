"""What appc does about an app beyond the specification, said in annotations of the app in the pod manifest."""

from __future__ import annotations

from appc.errors import InvalidValue, ManifestError
from appc.schema.devices import DeviceName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from appc.schema.common import Annotation
    from appc.schema.pod import PodManifest

PREFIX = "appc.io/"
RESTART = "appc.io/restart"
DEVICES = "appc.io/devices"

ON_FAILURE, ALWAYS = 1, 2
_WHEN = {"on-failure": ON_FAILURE, "always": ALWAYS}
_MOST = 1_000_000


class Restart:
    """When an app that has ended runs again: ON_FAILURE or ALWAYS, `most` times in a row (0 = any number)."""

    __slots__ = ("most", "when")

    def __init__(self, when: int, most: int) -> None:
        self.when = when
        self.most = most

    @classmethod
    def parse(cls, text: str) -> Restart | None:
        """Read `no` (None), `on-failure`, `always`, or one of these with `:N`. Raises InvalidValue."""
        word, colon, number = text.partition(":")
        if text == "no":
            return None
        plain = number.isascii() and number.isdecimal() and 0 < int(number[:9]) <= _MOST and len(number) < 9
        if word not in _WHEN or (colon and not plain):
            raise InvalidValue(f"{text!r} is not no, on-failure[:N] or always[:N]")
        return cls(_WHEN[word], int(number) if colon else 0)


class Policies:
    """The policies of one app; `devices` are those of the host it is given."""

    __slots__ = ("devices", "restart")

    def __init__(self, annotations: Iterable[Annotation] = ()) -> None:
        """Read an app's annotations; InvalidValue for one that has not its form."""
        self.restart: Restart | None = None
        self.devices: tuple[DeviceName, ...] = ()
        for annotation in annotations:
            if annotation.name == RESTART:
                self.restart = Restart.parse(annotation.value)
            elif annotation.name == DEVICES:
                self.devices = tuple(map(DeviceName.parse, annotation.value.split()))


def check(pod: PodManifest) -> None:
    """Raise ManifestError, with all paths, for policies of the pod's apps that have not their form."""
    faults = []
    for index, app in enumerate(pod.apps):
        for at, annotation in enumerate(app.annotations):
            try:
                Policies((annotation,))
            except InvalidValue as error:
                faults.append((f"apps[{index}].annotations[{at}].value", error.what))
    if faults:
        raise ManifestError(faults)
