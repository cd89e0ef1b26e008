"""Sending a part of a file down a socket as fast as the client takes it, without the bytes passing through Python.

asyncio can do that too, but sets everything up anew for each piece that the socket takes; here the descriptor stays
registered until all has gone, which takes a third of the processor time.
"""

from __future__ import annotations

import asyncio
import os

_PIECE = 1 << 20


class FileSender:
    """Sends `count` bytes from `offset` of the file `file`; `sent` tells how many have gone.

    `sock` is a connected, non-blocking socket to which nobody else writes meanwhile.
    """

    def __init__(self, sock: int, file: int, offset: int, count: int) -> None:
        self.sent = 0
        self._file = file
        self._offset = offset
        self._count = count
        # A transport has the socket registered under its own number already.
        self._sock = os.dup(sock)
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._seen = -1

    async def run(self, stall: float) -> None:
        """Send everything. Raises TimeoutError when nothing is taken for `stall` to 2 × `stall` seconds, OSError."""
        self._loop.add_writer(self._sock, self._send)
        timer = self._loop.create_task(self._watch(stall))
        try:
            await self._done
        finally:
            timer.cancel()
            self._loop.remove_writer(self._sock)
            os.close(self._sock)

    def _send(self) -> None:
        try:
            left = self._count - self.sent
            taken = os.sendfile(self._sock, self._file, self._offset + self.sent, min(_PIECE, left))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        self.sent += taken
        if not taken:
            self._end(ConnectionAbortedError("the file has become shorter"))
        elif self.sent == self._count:
            self._end(None)

    async def _watch(self, stall: float) -> None:
        while self.sent != self._seen:
            self._seen = self.sent
            await asyncio.sleep(stall)
        self._end(TimeoutError())

    def _end(self, error: OSError | None) -> None:
        self._loop.remove_writer(self._sock)
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)
