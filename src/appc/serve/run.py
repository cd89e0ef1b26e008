"""Serving a directory from beginning to end."""

from __future__ import annotations

import asyncio
import os
import signal

from appc.errors import HostError
from appc.serve.accesslog import AccessLog
from appc.serve.files import Directory
from appc.serve.index import Index
from appc.serve.layers import Conversions
from appc.serve.memory import Memory
from appc.serve.registry import Registry
from appc.serve.server import Server, listen, load_certificate, raise_descriptor_limit, tls
from appc.serve.site import Site
from appc.serve.uploads import LIMIT, Uploads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appc.serve.catalog import Catalog
    from appc.serve.connection import Exchange

_SAVE_SECONDS = 30.0


class How:
    """What the user asked for. `url` is what clients know the host by, "" for the Host they send.

    Whoever knows `token` may upload images of at most `limit` bytes; nobody when it is "".
    """

    __slots__ = ("access_log", "cache", "certificate", "host", "key", "limit", "port", "prefixes", "token", "url")

    def __init__(
        self,
        host: str,
        port: int,
        *,
        cache: str,
        certificate: str = "",
        key: str = "",
        prefixes: Sequence[str] = (),
        url: str = "",
        access_log: str = "",
        token: str = "",
        limit: int = LIMIT,
    ) -> None:
        self.host = host
        self.port = port
        self.cache = cache
        self.certificate = certificate
        self.key = key
        self.prefixes = tuple(prefixes)
        self.url = url
        self.access_log = access_log
        self.token = token
        self.limit = limit


def serve(path: str, how: How, ready: Callable[[str], None], fault: Callable[[Exception], None]) -> None:
    """Serve the directory `path` until told to end.

    `ready` is called with the URL when clients can connect, `fault` with what went wrong answering a request.
    Raises UsageError, HostError.
    """
    directory = Directory(path)
    log = AccessLog(how.access_log)
    context = tls(how.certificate, how.key) if how.certificate else None
    sock = listen(how.host, how.port)
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host

    def reload() -> None:
        """What SIGHUP asks for: the log may have been moved away, the certificate renewed."""
        try:
            log.reopen()
            if context is not None:
                load_certificate(context, how.certificate, how.key)
        except Exception as error:
            fault(error)

    def done(exchange: Exchange) -> None:
        if exchange.error is not None:
            fault(exchange.error)
        log.write(exchange)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        stopped = asyncio.Event()

        def stop() -> None:
            """The first time transfers may end; who asks again does not want to wait for them."""
            if stopped.is_set():
                task.cancel()
            stopped.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, reload)
        index = Index(directory, how.prefixes, Memory(how.cache, path))
        conversions = Conversions(directory, how.cache)
        registry = Registry(index, directory, conversions)
        uploads = None
        if how.token:
            uploads = Uploads(index, directory, how.token, limit=how.limit, prefixes=how.prefixes)
        site = Site(index, directory, how.url, registry.respond, uploads)
        keeping = asyncio.create_task(_keep_cache(index, conversions))
        try:
            await index.fresh()
            ready(how.url or f"{'https' if context else 'http'}://{shown}:{port}")
            await Server(sock, site.respond, done, context=context).run(stopped)
        finally:
            keeping.cancel()
            directory.closing = True
            await index.save()
            index.close()
            conversions.close()
            if uploads is not None:
                uploads.close()

    raise_descriptor_limit()
    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        pass
    finally:
        directory.close()


async def _keep_cache(index: Index, conversions: Conversions) -> None:
    """Write down what was learnt, and drop what was kept for images that are no longer there."""
    swept: Catalog | None = None
    await index.complete()
    while True:
        await index.save()
        catalog = index.catalog
        if catalog is not swept and not catalog.pending:
            await conversions.sweep(catalog)
            swept = catalog
        await asyncio.sleep(_SAVE_SECONDS)


def cache_directory(given: str) -> str:
    """The directory for what can be made again, which nobody else may write to. Raises HostError."""
    path = given
    if not path and os.geteuid() == 0:
        path = "/var/cache/appc/serve"
    elif not path:
        base = os.environ.get("XDG_CACHE_HOME", "")
        path = (base if base.startswith("/") else os.path.expanduser("~/.cache")) + "/appc/serve"
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        status = os.stat(path)
    except OSError as error:
        raise HostError(f"cannot be made: {error.strerror}", path, "--cache DIR names another place") from error
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise HostError("can be written by others", path, f"chmod 700 {path}, or name another place with --cache DIR")
    return path
