"""A page that counts its visitors in redis, which it reaches by a unix socket in a shared volume."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

START_SECONDS = 10


class Redis:
    """A connection to redis at `path`, made at the first command."""

    def __init__(self, path: str) -> None:
        self.path = path

    def command(self, *words: str) -> str:
        """Send a command and return its one-line answer (RESP: https://redis.io/docs/reference/protocol-spec)."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(self.path)
            connection.sendall(request.encode())
            answer = connection.makefile("rb").readline().decode().rstrip()
        if not answer.startswith((":", "+")):
            raise OSError(f"redis answers {answer!r}")
        return answer[1:]

    def wait(self) -> None:
        """Wait until redis answers: the apps of a pod start side by side."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.command("PING")
            except OSError as error:
                if time.monotonic() > end:
                    sys.exit(f"no redis at {self.path}: {error}")
                time.sleep(0.02)
            else:
                return


class Page(BaseHTTPRequestHandler):
    """Every request for `/` counts."""

    redis: Redis
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the page."""
        if self.path != "/":
            self.send_error(404)
            return
        visit = self.redis.command("INCR", "visits")
        body = f"<h1>Hello</h1><p>You are visitor number {visit}.</p>\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve at the address ADDRESS, else on the loopback address."""
    # So that `appc stop` ends with status 0: nothing went wrong.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    address, port = os.environ.get("ADDRESS", "127.0.0.1"), int(os.environ["PORT"])
    Page.redis = Redis(os.environ["REDIS"])
    Page.redis.wait()
    with ThreadingHTTPServer((address, port), Page) as server:
        print(f"serving http://{address}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
