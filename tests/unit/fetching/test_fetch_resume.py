"""Downloads that break off: in the middle of a fetch, and with the process that made them."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from appc.errors import ArchiveError, NetworkError
from appc.images import arrival
from appc.images.transport_http import content_range, max_age, range_headers, validators_of
from appc.net.response import PIECE
from fetch_kit import Fetcher, Signer, aci
from net_kit import Request, Server
from starter import command

URL = "https://example.com/x.aci"


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    return aci(tmp_path, files={"blob": random.Random(1).randbytes(3_000_000)})


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival.time, "sleep", lambda seconds: None)


class Breaking:
    """Answers like a good server, but lets connections end after as many bytes as `after` says."""

    def __init__(self, body: bytes, after: list[int], etag: str = '"v1"') -> None:
        self.body = body
        self.after = after
        self.etag = etag
        self.ranges: list[str | None] = []
        self.headers: dict[str, str] = {}

    def __call__(self, request: Request) -> None:
        self.ranges.append(request.headers.get("Range"))
        start, status = 0, 200
        headers = {"ETag": self.etag, **self.headers} if self.etag else dict(self.headers)
        if request.headers.get("Range") and request.headers.get("If-Range") == self.etag:
            start, status = int(request.headers["Range"].removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        body = self.body[start:]
        headers["Content-Length"] = str(len(body))
        if self.after:
            body = body[: self.after.pop(0)]
            request.close_connection = True
        request.send(status, headers, body)


def parts(fetcher: Fetcher) -> list[Path]:
    return sorted(Path(fetcher.store.root, "store", "downloads").glob("*/data"))


def test_a_broken_connection_is_gone_on_with(fetcher: Fetcher, server: Server, signer: Signer, image: bytes) -> None:
    breaking = Breaking(image, [700_000, 0, 900_000])
    server.pages["/x.aci"] = breaking
    server.pages["/x.aci.asc"] = signer.sign(image)
    found = fetcher.fetch(URL)
    assert Path(found.path, "original").read_bytes() == image
    assert breaking.ranges == [None, "bytes=700000-", "bytes=700000-", "bytes=1600000-"]


def test_what_came_before_a_process_died_is_not_fetched_again(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes
) -> None:
    breaking = Breaking(image, [1_000_000, 0, 0, 0, 0])
    server.pages["/x.aci"] = breaking
    server.pages["/x.aci.asc"] = signer.sign(image)
    with pytest.raises(NetworkError, match="before it was complete"):
        fetcher.fetch(URL)
    assert [part.stat().st_size for part in parts(fetcher)] == [1_000_000]
    breaking.after.clear()
    breaking.ranges.clear()
    assert fetcher.fetch(URL).signer == signer.fingerprint
    assert breaking.ranges == ["bytes=1000000-"]
    assert parts(fetcher) == []


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_without_a_strong_validator_it_begins_again(
    etag: str, fetcher: Fetcher, server: Server, signer: Signer, image: bytes
) -> None:
    breaking = Breaking(image, [1_000_000], etag)
    server.pages["/x.aci"] = breaking
    server.pages["/x.aci.asc"] = signer.sign(image)
    with pytest.raises(NetworkError):
        fetcher.fetch(URL)
    assert fetcher.fetch(URL).signer == signer.fingerprint
    assert breaking.ranges == [None, None]


def test_a_file_that_was_replaced_meanwhile_is_fetched_anew(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes, tmp_path: Path
) -> None:
    newer = aci(tmp_path, version="2.0.0", files={"blob": random.Random(2).randbytes(2_000_000)})
    old, new = Breaking(image, [1_000_000]), Breaking(newer, [], '"v2"')

    def answer(request: Request) -> None:
        (old if old.after else new)(request)

    server.pages["/x.aci"] = answer
    server.pages["/x.aci.asc"] = signer.sign(newer)
    assert fetcher.fetch(URL).labels.get("version") == "2.0.0"


def test_a_server_that_ignores_if_range_cannot_mix_two_files(
    fetcher: Fetcher, server: Server, image: bytes, tmp_path: Path
) -> None:
    breaking = Breaking(image, [1_000_000, 0, 0, 0, 0])
    server.pages["/x.aci"] = breaking
    with pytest.raises(NetworkError):
        fetcher.fetch(URL, insecure=["image"])
    newer = aci(tmp_path, version="2.0.0", files={"blob": random.Random(2).randbytes(2_000_000)})

    def answer(request: Request) -> None:
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        headers = {"ETag": '"v2"', "Content-Range": f"bytes {start}-{len(newer) - 1}/{len(newer)}"}
        request.send(206 if start else 200, headers, newer[start:])

    server.pages["/x.aci"] = answer
    assert fetcher.fetch(URL, insecure=["image"]).labels.get("version") == "2.0.0"


def test_another_range_than_was_asked_for_is_refused(fetcher: Fetcher, server: Server, image: bytes) -> None:
    breaking = Breaking(image, [1_000_000, 0, 0, 0, 0])
    server.pages["/x.aci"] = breaking
    with pytest.raises(NetworkError):
        fetcher.fetch(URL, insecure=["image"])
    wrong = {"ETag": '"v1"', "Content-Range": f"bytes 5-{len(image) - 1}/{len(image)}"}
    server.pages["/x.aci"] = (206, wrong, image[5:])
    with pytest.raises(NetworkError, match="another part of the file"):
        fetcher.fetch(URL, insecure=["image"])


def test_what_is_no_longer_that_long_is_fetched_anew(fetcher: Fetcher, server: Server, tmp_path: Path) -> None:
    long = aci(tmp_path, files={"blob": random.Random(1).randbytes(2_000_000)})
    server.pages["/x.aci"] = Breaking(long, [1_500_000, 0, 0, 0, 0])
    with pytest.raises(NetworkError):
        fetcher.fetch(URL, insecure=["image"])
    short = aci(tmp_path, version="2.0.0")

    def answer(request: Request) -> None:
        if request.headers.get("Range"):
            request.send(416, {"Content-Range": f"bytes */{len(short)}"})
        else:
            request.send(200, {}, short)

    server.pages["/x.aci"] = answer
    assert fetcher.fetch(URL, insecure=["image"]).labels.get("version") == "2.0.0"


def test_garbage_is_not_gone_on_with(fetcher: Fetcher, server: Server, image: bytes) -> None:
    server.pages["/x.aci"] = Breaking(b"\x1f\x8b" + bytes(2_000_000), [])
    with pytest.raises(ArchiveError):
        fetcher.fetch(URL, insecure=["image"])
    assert fetcher.left() == []
    server.pages["/x.aci"] = image
    assert fetcher.fetch(URL, insecure=["image"]).name


def test_a_server_that_gives_up_every_time_does_not_keep_us(fetcher: Fetcher, server: Server, image: bytes) -> None:
    breaking = Breaking(image, [100_000] * 1000)
    server.pages["/x.aci"] = breaking
    with pytest.raises(NetworkError):
        fetcher.fetch(URL, insecure=["image"])
    assert 15 < len(breaking.ranges) < 30


def test_killed_at_any_point_it_goes_on_and_never_gives_another_image(
    fetcher: Fetcher, server: Server, signer: Signer, image: bytes
) -> None:
    """Processes are killed when so much has arrived; each goes on where the one before ended."""
    points = random.Random(7)
    config = Path(fetcher.config[0])
    (config / "config.json").write_text(json.dumps({"net": {"caFile": fetcher.settings.net_ca_file}}))
    sent = threading.Event()
    breaking = Breaking(image, [])
    stops: list[int] = []

    def answer(request: Request) -> None:
        if stops:
            breaking.after = [stops.pop()]
            breaking(request)
            request.wfile.flush()
            sent.set()
            request.rfile.read(1)
        else:
            breaking(request)

    server.pages["/x.aci"] = answer
    server.pages["/x.aci.asc"] = signer.sign(image)
    url = f"{server.url}/x.aci"
    words = command("--root", fetcher.store.root, "--config", str(config), "fetch", url)
    for _ in range(8):
        sent.clear()
        stops = [points.randrange(len(image) // 8)]
        expected = stops[0] // PIECE * PIECE + sum(part.stat().st_size for part in parts(fetcher))
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert sent.wait(30), process.communicate()
        while process.poll() is None and sum(part.stat().st_size for part in parts(fetcher)) < expected:
            pass
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert fetcher.store.list() == []
    found = fetcher.fetch(url)
    assert Path(found.path, "original").read_bytes() == image
    assert any(breaking.ranges)
    fetcher.store.remove(found)
    fetcher.store.gc()
    assert fetcher.left() == []


@pytest.mark.slow
def test_killed_at_twenty_random_moments_what_is_in_the_store_is_right(
    fetcher: Fetcher, server: Server, signer: Signer, tmp_path: Path
) -> None:
    """From the start of the process to after its end, so also while the image is made visible."""
    image = aci(tmp_path, files={f"blob{n}": random.Random(n).randbytes(2_000_000) for n in range(10)})
    config = Path(fetcher.config[0])
    (config / "config.json").write_text(json.dumps({"net": {"caFile": fetcher.settings.net_ca_file}}))
    server.pages |= {"/x.aci": Breaking(image, []), "/x.aci.asc": signer.sign(image)}
    url = f"{server.url}/x.aci"
    words = command("--root", fetcher.store.root, "--config", str(config), "fetch", url)
    before = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    took = time.monotonic() - before
    moments = random.Random(20)
    complete = 0
    for _ in range(20):
        for stored in fetcher.store.list():
            fetcher.store.remove(stored)
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(moments.uniform(0.1, 1.1) * took)
            except subprocess.TimeoutExpired:
                process.kill()
        for stored in fetcher.store.list():
            complete += 1
            assert stored.signer == signer.fingerprint
            assert fetcher.store.verify(stored) == []
            assert Path(stored.path, "original").read_bytes() == image
    assert complete < 20
    found = fetcher.fetch(url)
    assert fetcher.store.verify(found) == []
    fetcher.store.remove(found)
    fetcher.store.gc()
    assert fetcher.left() == []


# What header fields mean --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("max-age=600", 600),
        ("public, Max-Age=600", 600),
        ('max-age="60"', 60),
        ("max-age=0", 0),
        ("max-age=060", 0),
        ("max-age=-1", 0),
        ("max-age=x", 0),
        ("max-age=1, max-age=2", 0),
        ("no-cache, max-age=600", 0),
        ("max-age=600, no-store", 0),
        ("max-age=99999999999999999999", 365 * 86400),
        ("s-maxage=600", 0),
        ("", 0),
    ],
)
def test_cache_control(text: str, seconds: int) -> None:
    assert max_age({"cache-control": text}) == seconds


@pytest.mark.parametrize("text", ["", "bytes 1-2", "bytes 5-4/10", "bytes 0-10/10", "lines 0-1/2", "bytes a-b/c"])
def test_a_content_range_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        content_range(text or " ")


def test_content_ranges() -> None:
    assert content_range("bytes 5-9/10") == (5, 10)
    assert content_range("bytes 5-9/*") == (5, None)


def test_ranges_are_asked_for_only_where_it_can_be_told_that_nothing_changed() -> None:
    assert range_headers(5, {"etag": '"x"'}) == {"range": "bytes=5-", "if-range": '"x"'}
    assert range_headers(5, {"settled": "Sun, 01 Jan 2017 00:00:00 GMT"})["if-range"].startswith("Sun")
    assert range_headers(5, {"etag": 'W/"x"', "modified": "Sun, 01 Jan 2017 00:00:00 GMT"}) == {}
    assert range_headers(0, {"etag": '"x"'}) == {}


@pytest.mark.parametrize("date", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "yesterday", "", "1 Jan 2024 -0000"])
def test_dates_that_make_no_sense_tell_nothing(date: str) -> None:
    found = validators_of({"last-modified": date or "x", "date": "Mon, 01 Jan 2024 00:00:00 GMT"})
    assert "settled" not in found
