"""Keeping the catalog true to the directory while it changes.

A walk costs little and is made when somebody asks and the last one is not from this moment; an image is read whole
once, by a thread of its own, and again only when its file, its signature or the keys have changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

from appc.errors import SignatureError
from appc.serve.catalog import Catalog, covers
from appc.serve.files import SIGNATURE_SUFFIX, Unservable, Unsettled
from appc.serve.image import read_image, read_small
from appc.trust.packets import MAX_KEYS, read_certificates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from appc.serve.files import Directory, Found, Identity
    from appc.serve.image import ServedImage
    from appc.serve.memory import Memory
    from appc.trust.packets import Certificate

    # What an image was read as: its file, its signature and the keys of that time.
    State = tuple[Identity, Identity | None, str]

PATIENCE = 5.0
"""How long a request waits for an image that is being read, in seconds."""

_FRESH = 0.25
_UNSIGNED = ""


class Index:
    """The images of `directory`. With `prefixes` only those whose names are one of them or below one.

    What `memory` knows, if there is one, is not read again.
    """

    def __init__(self, directory: Directory, prefixes: Sequence[str] = (), memory: Memory | None = None) -> None:
        self._memory = memory
        self._learnt = False
        self._closed = False
        self.catalog = Catalog()
        self._directory = directory
        self.prefixes = tuple(prefixes)
        self._known: dict[str, tuple[State | None, ServedImage | str]] = {}
        self._reading: dict[str, State] = {}
        self._walked = self._published = -1.0
        self._rested = 0.0
        self._fresh = _FRESH
        self._seen: tuple[dict[str, Identity] | dict[str, str], ...] = ()
        self._walk_faults: dict[str, str] = {}
        self._walking = asyncio.Lock()
        self._settled = asyncio.Event()
        self._keys: tuple[dict[str, Identity], list[Certificate], dict[str, str], str] = ({}, [], {}, "")
        # One image at a time keeps a processor free for those who fetch.
        self._readers = ThreadPoolExecutor(1, "appc-index")
        self._tasks: set[asyncio.Task[None]] = set()

    async def fresh(self) -> Catalog:
        """The catalog of this moment, without images that are still being read."""
        if time.monotonic() - self._walked > self._fresh:
            await self._refresh(time.monotonic())
        return self.catalog

    async def settled(self) -> Catalog:
        """The catalog of this moment with all its images, unless reading them takes longer than the patience."""
        await self._refresh(time.monotonic())
        try:
            async with asyncio.timeout(PATIENCE):
                await self._settled.wait()
        except TimeoutError:
            pass
        return self.catalog

    async def complete(self) -> Catalog:
        """The catalog when every image has been read, however long that takes."""
        await self._refresh(time.monotonic())
        await self._settled.wait()
        return self.catalog

    def close(self) -> None:
        """Stop reading."""
        self._closed = True
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def _refresh(self, asked: float) -> None:
        """Walk, unless somebody has begun to after `asked`."""
        async with self._walking:
            if self._walked >= asked:
                return
            # Whoever keeps asking for what is not there does not keep a processor busy.
            await asyncio.sleep(max(0.0, self._rested - time.monotonic()))
            begun = time.monotonic()
            found = await asyncio.to_thread(self._directory.walk)
            if found.keys != self._keys[0]:
                self._keys = await asyncio.to_thread(self._read_keys, found.keys)
            seen = (found.images, found.signatures, found.keys, found.faults)
            if seen != self._seen:
                self._seen = seen
                self._compare(found)
            self._walked = begun
            ended = time.monotonic()
            self._rested = ended + 2 * (ended - begun)
            # Where nothing is missed, walking takes a tenth of the time at most.
            self._fresh = max(_FRESH, 10 * (ended - begun))

    def _compare(self, found: Found) -> None:
        """Have read what is new, and forget what is gone."""
        self._known = {path: known for path, known in self._known.items() if path in found.images}
        self._reading = {path: state for path, state in self._reading.items() if path in found.images}
        for path, file in found.images.items():
            signature = found.signatures.get(path + SIGNATURE_SUFFIX)
            state = (file, signature, self._keys[3] if signature is not None else _UNSIGNED)
            known = self._known.get(path)
            if (known is None or known[0] != state) and self._reading.get(path) != state:
                self._known.pop(path, None)
                remembered = self._memory.recall(path, state) if self._memory is not None else None
                if remembered is not None:
                    self._known[path] = (state, remembered)
                    continue
                self._reading[path] = state
                task = asyncio.create_task(self._read(path, state, self._keys[1]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        self._walk_faults = found.faults
        self._publish()

    async def _read(self, path: str, state: State, certificates: list[Certificate]) -> None:
        loop = asyncio.get_running_loop()
        result: ServedImage | str
        kept: State | None = state
        try:
            result = await loop.run_in_executor(
                self._readers, read_image, self._directory, path, state[1], certificates
            )
            if result.identity != state[0]:
                raise Unsettled("was changed before it was read")
        except Unsettled as error:
            # The next walk finds it in a state that is not known.
            result, kept, self._seen = str(error), None, ()
        except Unservable as error:
            result = str(error)
        except Exception as error:
            if self._closed:
                return
            # A defect that one file brings out is not to keep the others from being found.
            result = f"cannot be read: {type(error).__name__}: {error}"
        if self._reading.get(path) == state:
            del self._reading[path]
            self._known[path] = (kept, result)
            self._learnt = True
            if not self._reading or time.monotonic() - self._published > _FRESH:
                self._publish()

    async def save(self) -> None:
        """Have the memory keep what was learnt."""
        if self._memory is not None and self._learnt:
            self._learnt = False
            known = [(state, result) for state, result in self._known.values() if state and not isinstance(result, str)]
            await asyncio.to_thread(self._memory.save, known)

    def _publish(self) -> None:
        images, faults = [], {**self._walk_faults, **self._keys[2]}
        for path, (_, result) in self._known.items():
            if isinstance(result, str):
                faults[path] = result
            elif self.prefixes and not any(covers(prefix, result.name) for prefix in self.prefixes):
                faults[path] = f"is called {result.name}, which is not below {', '.join(self.prefixes)}"
            else:
                images.append(result)
        self.catalog = Catalog(images, self._keys[1], faults, self._reading)
        self._published = time.monotonic()
        if self._reading:
            self._settled.clear()
        else:
            self._settled.set()

    def _read_keys(
        self, found: dict[str, Identity]
    ) -> tuple[dict[str, Identity], list[Certificate], dict[str, str], str]:
        certificates: list[Certificate] = []
        faults: dict[str, str] = {}
        digest = hashlib.sha256()
        for path in sorted(found):
            try:
                data = read_small(self._directory, path, MAX_KEYS)
                certificates += read_certificates(data)
                digest.update(data)
            except Unservable as error:
                faults[path] = str(error)
            except SignatureError as error:
                faults[path] = error.what
        return found, certificates, faults, digest.hexdigest()
