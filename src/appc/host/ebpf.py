"""Programs of eBPF, put together with places that jumps name (linux/bpf.h)."""

from __future__ import annotations

from appc.host.device_program import instruction, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE_NUMBER = 0x18  # 64 bits, in two instructions
LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x61, 0x69, 0x71
ADD_NUMBER, AND_NUMBER, SHIFT_LEFT_NUMBER = 0x07, 0x57, 0x67
MOVE_NUMBER, MOVE = 0xB7, 0xBF
STORE_WORD = 0x63
JUMP, CALL, EXIT = 0x05, 0x85, 0x95
JUMP_EQUAL, JUMP_EQUAL_NUMBER, JUMP_UNEQUAL_NUMBER = 0x1D, 0x15, 0x55
JUMP_ABOVE_NUMBER, JUMP_BITS_NUMBER = 0x25, 0x45
JUMP_BELOW_NUMBER, JUMP_NEGATIVE_NUMBER, JUMP_NOT_ABOVE_NUMBER = 0xA5, 0xC5, 0xB5
# Registers: what a program is called with and calls others with, what it answers, and the end of its stack.
FIRST, RESULT, STACK = 1, 0, 10


class Program:
    """An eBPF program on its way: instructions, and jumps to places that have names."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int | str, int]] = []
        self._places: dict[str, int] = {}

    def put(self, code: int, target: int = 0, source: int = 0, offset: int | str = 0, number: int = 0) -> None:
        """Add an instruction; as `offset`, that of memory, or the place to jump to."""
        self._code.append((code, target, source, offset, number))

    def place(self, name: str) -> None:
        """Give the next instruction a name."""
        self._places[name] = len(self._code)

    def call(self, helper: int, *registers: int, numbers: Sequence[int] = ()) -> None:
        """Call one of the kernel's functions with the contents of `registers`, and `numbers` behind them."""
        for target, source in enumerate(registers, 1):
            self.put(MOVE, target, source)
        for target, number in enumerate(numbers, len(registers) + 1):
            self.put(MOVE_NUMBER, target, number=number)
        self.put(CALL, number=helper)

    def jump_if_equal(self, register: int, number: int, place: str) -> None:
        """Jump if a register that is not the first holds a number of 64 bits."""
        self.put(WIDE_NUMBER, FIRST, number=number & 0xFFFFFFFF)
        self.put(0, number=number >> 32)
        self.put(JUMP_EQUAL, register, FIRST, place)

    def answer(self, result: int) -> None:
        """End with a number."""
        self.put(MOVE_NUMBER, RESULT, number=result)
        self.put(EXIT)

    def load(self, kind: int, attachment: int = 0) -> int:
        """Have the kernel take the program as one of a kind (BPF_PROG_TYPE_*), for a place to attach it to, if it is
        of a kind with several (BPF_CGROUP_*); return its descriptor. Raises OSError."""
        return load(kind, self.encode(), attachment)

    def encode(self) -> bytes:
        """Return the instructions."""
        encoded = []
        for index, (code, target, source, offset, number) in enumerate(self._code):
            away = self._places[offset] - index - 1 if isinstance(offset, str) else offset
            encoded.append(instruction(code, target, source, away, number))
        return b"".join(encoded)
