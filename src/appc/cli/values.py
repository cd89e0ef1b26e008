"""What the values of options mean: parsers, which refuse with ValueError or an AppcError.

What only some of them need is imported when there is something to parse.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.schema.isolators import Isolator
    from appc.schema.pod import Mount, Volume


def integer(low: int | None = None, high: int | None = None) -> Callable[[str], int]:
    """Return a `parse` for whole numbers, both limits included."""

    def parse_integer(text: str) -> int:
        try:
            number = int(text, 10)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number") from None
        if low is not None and number < low:
            raise ValueError(f"{number} is less than {low}")
        if high is not None and number > high:
            raise ValueError(f"{number} is more than {high}")
        return number

    return parse_integer


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# A hundred years: what is much longer is more than the kernel's clocks can wait for.
_LONGEST = 36_525 * 86400.0


def duration(text: str) -> float:
    """Parse `90`, `1.5s`, `500ms` or `1h30m` into seconds, a hundred years at most; ValueError says what is wrong."""
    seconds = _seconds(text)
    if seconds > _LONGEST:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return seconds


def _seconds(text: str) -> float:
    total, number, rest = 0.0, "", text
    while rest:
        if rest[0] in "0123456789.":
            number, rest = number + rest[0], rest[1:]
            continue
        unit = "ms" if rest[:2] == "ms" else rest[0]
        if unit not in _SECONDS or not _is_decimal(number):
            break
        total += float(number) * _SECONDS[unit]
        number, rest = "", rest[len(unit) :]
    if text and not rest and not number:
        return total
    if not rest and not total and _is_decimal(number):
        return float(number)
    raise ValueError(f"{text!r} is not a duration such as 90s, 30m or 1h30m")


def _is_decimal(text: str) -> bool:
    return bool(text.strip(".")) and text.count(".") <= 1


def pair(text: str) -> tuple[str, str]:
    """Parse NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return name, value


def variable(text: str) -> tuple[str, str]:
    """Parse NAME=VALUE where the name is that of an environment variable."""
    name, value = pair(text)
    from appc.schema.image import EnvVar

    EnvVar(name=name, value=value)
    return name, value


def word(text: str) -> str:
    """Take any text but an empty one, which is rather a shell variable without a value."""
    if not text:
        raise ValueError("must not be empty")
    return text


def volume(text: str) -> Volume:
    """Parse NAME,kind=host,source=/x[,readOnly=true][,recursive=false] or NAME,kind=empty[,mode=…][,uid=…][,gid=…]."""
    from appc.schema.pod import Volume

    return Volume.parse_string(text)


def mount(text: str) -> Mount:
    """Parse volume=V,target=P."""
    fields: dict[str, str] = {}
    for part in text.split(","):
        name, value = pair(part)
        if name not in ("volume", "target") or name in fields:
            raise ValueError(f"{part!r} in {text!r}: the form is volume=NAME,target=/PATH")
        fields[name] = value
    if len(fields) != 2 or not fields["target"].startswith("/"):
        raise ValueError(f"{text!r} is not volume=NAME,target=/PATH")
    from appc.schema.pod import Mount

    return Mount(volume=fields["volume"], path=fields["target"])


def limit(name: str) -> Callable[[str], Isolator]:
    """Return a parser of a quantity into the resource isolator `name`."""

    def parse_limit(text: str) -> Isolator:
        from appc.schema.isolators import Isolator

        return Isolator.parse_string(f"resource/{name},limit={text}")

    return parse_limit


def seccomp(text: str) -> Isolator:
    """Parse mode=retain|remove[,errno=E],CALL,CALL…"""
    words = text.split(",")
    modes = [word[5:] for word in words if word.startswith("mode=")]
    if len(modes) != 1 or modes[0] not in ("retain", "remove"):
        raise ValueError(f"{text!r} is not mode=retain|remove[,errno=E],CALL[,CALL...]")
    rest = ",".join(word for word in words if not word.startswith("mode="))
    from appc.schema.isolators import Isolator

    return Isolator.parse_string(f"os/linux/seccomp-{modes[0]}-set,{rest}")


def gids(text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of group IDs."""
    words = [word for word in text.split(",") if word]
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"{text!r} is not a list of group IDs such as 10,20")
    return tuple(int(word) for word in words)


def pod_prefix(text: str) -> str:
    """Return the UUID, or its beginning, in `pod:UUID`."""
    prefix = text.removeprefix("pod:")
    if prefix in (text, ""):
        raise ValueError(f"{text!r} is not pod:UUID")
    return prefix


def port(text: str) -> tuple[str, str, int]:
    """Parse NAME:PORT, NAME:IP:PORT or NAME:[IPv6]:PORT."""
    name, colon, rest = text.partition(":")
    address, _, number = rest.rpartition(":")
    if not colon or not number.isdecimal() or not 1 <= int(number) <= 65535:
        raise ValueError(f"{text!r} is not NAME:[IP:]PORT")
    from appc.values import ACName

    return str(ACName.parse(name)), address.strip("[]"), int(number)


def restart(text: str) -> str:
    """Take a policy of schema/policies.py."""
    from appc.schema.policies import Restart

    Restart.parse(text)
    return text


def device(text: str) -> str:
    """Take the name of a device of schema/devices.py."""
    from appc.schema.devices import DeviceName

    DeviceName.parse(text)
    return text


def health(text: str) -> str:
    """Take a check of schema/policies.py."""
    from appc.schema.policies import Health

    Health.parse(text)
    return text


def hosts_entry(text: str) -> tuple[str, tuple[str, ...]]:
    """Parse IP=NAME[,NAME…] or host."""
    if text == "host":
        return "host", ()
    from appc.schema.pod import is_ipv4, is_ipv6

    address, _, rest = text.partition("=")
    names = tuple(name for name in rest.split(",") if name)
    plain = all(letter.isalnum() or letter in "-._" for name in names for letter in name)
    if not (is_ipv4(address) or is_ipv6(address)) or not names or not plain:
        raise ValueError(f"{text!r} is not IP=NAME[,NAME...], nor host")
    return address, names


def server(text: str) -> str:
    """Take host, none, or the address of a name server."""
    from appc.schema.pod import is_ipv4, is_ipv6

    address = text.partition("%")[0]  # of a link-local one, which says by which link
    if text not in ("host", "none") and not is_ipv4(text) and not is_ipv6(address):
        raise ValueError(f"{text!r} is not host, none or an address")
    return text


def users(text: str) -> str:
    """Take a range of pods/private_users.py."""
    from appc.pods.private_users import parse

    parse(text)
    return text
