"""What appc does about an app beyond the specification, said in annotations of the app in the pod manifest."""

from __future__ import annotations

from appc.errors import InvalidValue, ManifestError
from appc.schema.devices import DeviceName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from appc.schema.common import Annotation
    from appc.schema.image import Port
    from appc.schema.pod import PodManifest

PREFIX = "appc.io/"
RESTART = "appc.io/restart"
DEVICES = "appc.io/devices"
HEALTH = "appc.io/health"
HANDLER_TIMEOUT = "appc.io/handler-timeout"

ON_FAILURE, ALWAYS = 1, 2
_WHEN = {"on-failure": ON_FAILURE, "always": ALWAYS}
_MOST = 1_000_000
_LONGEST_PATH = 256  # characters of what is asked for over HTTP
_LONGEST_SECONDS = 86400


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


class Health:
    """How an app is asked whether it is well: by a `command` beside it, or else at the `port` of the pod, with a
    GET of `path` unless that is empty. A port is a number, or the name of one that the app declares.

    It is asked each `interval`, has `timeout` to answer, and is not well after more than `most` failures in a row;
    those of the first `start` do not count. All times are in milliseconds.
    """

    __slots__ = ("command", "interval", "most", "path", "port", "start", "timeout")

    FORM = "[interval=T,][timeout=T,][failures=N,][start=T,]exec=COMMAND, tcp=PORT or http=PORT/PATH"

    def __init__(self) -> None:
        self.interval, self.timeout, self.most, self.start = 30_000, 5_000, 2, 0
        self.command: tuple[str, ...] = ()
        self.port = self.path = ""

    @classmethod
    def parse(cls, text: str) -> Health:
        """Read the one-line form; the command is what follows `exec=`, in words between blanks. Raises InvalidValue."""
        health = cls()
        rest = text
        while True:
            name, _, value = rest.partition("=")
            if name in ("exec", "tcp", "http"):
                break
            value, comma, rest = value.partition(",")
            if name == "failures" and comma and value.isascii() and value.isdecimal() and 0 < int(value[:9]) <= _MOST:
                health.most = int(value[:9]) - 1
            elif name in ("interval", "timeout", "start") and comma:
                setattr(health, name, milliseconds(value))
            else:
                raise InvalidValue(f"{text!r} is not {cls.FORM}")
        if name == "exec":
            health.command = tuple(value.split())
        else:
            health.port, slash, path = value.partition("/")
            health.path = slash + path
        plain = all(" " < letter <= "~" for letter in health.path) and len(health.path) <= _LONGEST_PATH
        form = health.command if name == "exec" else health.port and plain and bool(health.path) == (name == "http")
        if not form or not health.interval or not health.timeout:
            raise InvalidValue(f"{text!r} is not {cls.FORM}")
        return health

    def port_number(self, ports: Iterable[Port]) -> int:
        """Return the port as a number; InvalidValue for one that none of `ports` is called and that is no number."""
        for port in ports:
            if port.name == self.port:
                return port.port
        if self.port.isascii() and self.port.isdecimal() and len(self.port) < 6 and 0 < int(self.port) < 65536:
            return int(self.port)
        raise InvalidValue(f"{self.port!r} is neither a port nor the name of one that the app declares")


def milliseconds(text: str) -> int:
    """Read a number of seconds, such as 10, 0.5 or 10s. Raises InvalidValue."""
    digits = text.removesuffix("s")
    whole, _, part = digits.partition(".")
    plain = (whole + part).isascii() and (whole + part).isdecimal()
    if not plain or len(digits) > 9 or float(digits) > _LONGEST_SECONDS:
        raise InvalidValue(f"{text!r} is not a number of seconds up to {_LONGEST_SECONDS}, such as 30, 0.5 or 30s")
    return round(float(digits) * 1000)


class Policies:
    """The policies of one app; `devices` are the host's that it is given, `handler_timeout` milliseconds (0 = none)."""

    __slots__ = ("devices", "handler_timeout", "health", "restart")

    def __init__(self, annotations: Iterable[Annotation] = ()) -> None:
        """Read an app's annotations; InvalidValue for one that has not its form."""
        self.restart: Restart | None = None
        self.devices: tuple[DeviceName, ...] = ()
        self.health: Health | None = None
        self.handler_timeout = 0
        for annotation in annotations:
            if annotation.name == RESTART:
                self.restart = Restart.parse(annotation.value)
            elif annotation.name == DEVICES:
                self.devices = tuple(map(DeviceName.parse, annotation.value.split()))
            elif annotation.name == HEALTH:
                self.health = Health.parse(annotation.value)
            elif annotation.name == HANDLER_TIMEOUT:
                self.handler_timeout = milliseconds(annotation.value)


def check(pod: PodManifest) -> None:
    """Raise ManifestError, with all paths, for policies of the pod's apps that have not their form."""
    faults = []
    for index, app in enumerate(pod.apps):
        for at, annotation in enumerate(app.annotations):
            try:
                health = Policies((annotation,)).health
                if health is not None and health.port:
                    health.port_number(app.app.ports if app.app else ())
            except InvalidValue as error:
                faults.append((f"apps[{index}].annotations[{at}].value", error.what))
    if faults:
        raise ManifestError(faults)
