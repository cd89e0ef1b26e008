"""A function that writes, turned into a stream that can be read."""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from appc.formats.compress import Sink


class Piped:
    """The bytes that `write` writes to the sink it is called with, in a thread of its own, as a stream.

    What `write` raises is raised by `read` when the bytes before that have been read. Leaving the context before the
    end makes `write` fail, and waits for it.
    """

    def __init__(self, write: Callable[[Sink], object]) -> None:
        self._write = write
        self._failure: BaseException | None = None
        self._reader, self._writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="appc-write", daemon=True)
        self._thread.start()

    def __enter__(self) -> Piped:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)
        self._thread.join()

    def fileno(self) -> int:
        """The descriptor that is read from."""
        return self._reader

    def read(self, size: int, /) -> bytes:
        """Up to `size` of the next bytes, b"" at the end."""
        data = os.read(self._reader, size)
        if not data:
            self._thread.join()
            if self._failure is not None:
                raise self._failure
        return data

    def _run(self) -> None:
        try:
            with os.fdopen(self._writer, "wb", buffering=1 << 20) as out:
                self._write(out)
        except BrokenPipeError:
            # The reader has seen enough, and knows why.
            pass
        except BaseException as error:
            self._failure = error
