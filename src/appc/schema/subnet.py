"""The subnet of a network: which addresses it has."""

from __future__ import annotations

from appc.errors import InvalidValue


class Subnet:
    """An IPv4 subnet such as 172.16.28.0/22; the first address is the host's, the last is for broadcasts."""

    __slots__ = ("base", "prefix")

    def __init__(self, base: int, prefix: int) -> None:
        self.base = base
        self.prefix = prefix

    @classmethod
    def parse(cls, text: str) -> Subnet:
        """Parse A.B.C.D/N with 8 ≤ N ≤ 30 and no bits of hosts. Raises InvalidValue."""
        address, _, length = text.partition("/")
        parts = address.split(".")
        if len(parts) != 4 or not all(part.isdecimal() and len(part) < 4 and int(part) < 256 for part in parts):
            raise InvalidValue(f"{text!r} is not a subnet such as 172.16.28.0/22")
        if not length.isdecimal() or not 8 <= int(length) <= 30:
            raise InvalidValue(f"{text!r} has no prefix length from 8 to 30")
        base = int.from_bytes(bytes(int(part) for part in parts), "big")
        if base % (1 << 32 - int(length)):
            raise InvalidValue(f"{text!r} is an address in a subnet, not a subnet")
        return cls(base, int(length))

    def __str__(self) -> str:
        return f"{self.address(0)}/{self.prefix}"

    @property
    def count(self) -> int:
        """How many pods it has addresses for."""
        return (1 << 32 - self.prefix) - 3

    @property
    def gateway(self) -> str:
        """The host's address."""
        return self.address(1)

    def address(self, number: int) -> str:
        """Return the address of a number: 0 is the subnet itself, 1 the host, 2 the first pod."""
        return ".".join(str(byte) for byte in (self.base + number).to_bytes(4, "big"))
