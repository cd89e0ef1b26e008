"""The HTTP client: what it follows, retries, refuses and gives up, and what it says then."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from appc.errors import HttpStatus, NetworkError, UsageError
from appc.net.http import Client, Settings
from net_kit import Authority, Names, Request, Server


@pytest.fixture
def client(authority: Authority) -> Client:
    return Client(Settings(ca_file=str(authority.file), pause=0.01))


def get(client: Client, url: str, limit: int = 1 << 20, **options: object) -> bytes:
    with client.request("GET", url, **options) as answer:  # type: ignore[arg-type]
        return answer.check().read(limit)


def refusal(client: Client, url: str, limit: int = 1 << 20) -> str:
    with pytest.raises((NetworkError, UsageError)) as raised:
        get(client, url, limit)
    assert "\n" not in str(raised.value)
    return str(raised.value)


class Secret:
    """Credentials for one host."""

    def __init__(self, host: str) -> None:
        self.host = host

    def headers_for(self, url: str, method: str = "GET") -> dict[str, str]:
        return {"authorization": "Basic c2VjcmV0"} if url.startswith(f"https://{self.host}/") else {}


# What works ---------------------------------------------------------------------------------------


def test_a_body_arrives_as_it_is(client: Client, server: Server) -> None:
    server.pages["/x"] = b"\x00\xffdata"
    assert get(client, f"{server.url}/x") == b"\x00\xffdata"


def test_connections_are_kept(client: Client, server: Server) -> None:
    ports = []
    server.pages["/x"] = lambda request: (ports.append(request.client_address[1]), request.send(200, {}, b"x"))[1]
    for _ in range(3):
        get(client, f"{server.url}/x")
    assert len(set(ports)) == 1


def test_connections_survive_answers_that_nobody_reads(client: Client, server: Server) -> None:
    ports = set()

    def missing(request: Request) -> None:
        ports.add(request.client_address[1])
        request.send(404, {}, b"not here, and this is why")

    server.pages["/x"] = missing
    for _ in range(3):
        client.request("GET", f"{server.url}/x").close()
    assert len(ports) == 1


def test_redirects_are_followed_and_told(client: Client, server: Server) -> None:
    server.pages["/a"] = (302, {"Location": "b?x=1"}, b"")
    server.pages["/b"] = (308, {"Location": "https://mirror.example.com/c"}, b"")
    server.pages["/c"] = b"here"
    with client.request("GET", f"{server.url}/a") as answer:
        assert answer.read(10) == b"here"
        assert answer.url == "https://mirror.example.com/c"
        assert answer.steps == ((302, f"{server.url}/a"), (308, f"{server.url}/b?x=1"))


@pytest.mark.parametrize("target", ["https://[/", "https://mirror.example.com:99999/", "https://mirror.example.com:x/"])
def test_a_redirect_to_what_is_no_url_is_refused(client: Client, server: Server, target: str) -> None:
    server.pages["/a"] = (302, {"Location": target}, b"")
    assert "redirects to what is not a URL" in refusal(client, f"{server.url}/a")


def test_without_follow_a_redirect_is_an_answer(client: Client, server: Server) -> None:
    server.pages["/a"] = (307, {"Location": "/b"}, b"")
    with client.request("PUT", f"{server.url}/a", body=b"x", follow=False) as answer:
        assert (answer.status, answer.headers["location"]) == (307, "/b")


def test_compressed_text_that_nobody_asked_for_is_read(client: Client, server: Server) -> None:
    server.pages["/x"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"text"))
    assert get(client, f"{server.url}/x") == b"text"


def test_a_stream_is_not_decoded(client: Client, server: Server) -> None:
    body = gzip.compress(b"image")
    server.pages["/x"] = (200, {"Content-Encoding": "gzip"}, body)
    with client.request("GET", f"{server.url}/x") as answer:
        assert answer.stream().read() == body


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int, client: Client, server: Server) -> None:
    answers = [status, status, 200]
    server.pages["/x"] = lambda request: request.send(answers.pop(0), {}, b"x")
    assert get(client, f"{server.url}/x") == b"x"
    assert answers == []


@pytest.mark.parametrize("status", [400, 403, 404, 500, 501])
def test_what_will_not_pass_is_not(status: int, client: Client, server: Server) -> None:
    server.pages["/x"] = (status, {}, b"")
    with pytest.raises(HttpStatus, match=str(status)) as raised:
        get(client, f"{server.url}/x")
    assert raised.value.status == status
    assert len(server.requests) == 1


def test_servers_say_when_to_come_back(client: Client, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    answers: list[tuple[int, dict[str, str]]] = [(429, {"Retry-After": "7"}), (503, {"Retry-After": date}), (200, {})]
    server.pages["/x"] = lambda request: request.send(*answers.pop(0), b"x")
    assert get(client, f"{server.url}/x") == b"x"
    assert slept[0] == 7
    assert 30 < slept[1] <= 40


def test_what_was_turned_away_for_being_too_much_is_sent_again(client: Client, server: Server) -> None:
    """Also by POST, since nothing was done yet; 503 may come from something that began."""
    answers = [429, 503]
    server.pages["/x"] = lambda request: request.send(answers.pop(0), {}, b"")
    with client.request("POST", f"{server.url}/x", body=b"data") as answer:
        assert answer.status == 503


def test_nobody_waits_as_long_as_a_server_likes(client: Client, server: Server) -> None:
    server.pages["/x"] = (503, {"Retry-After": "3600"}, b"")
    with pytest.raises(HttpStatus, match="503") as raised:
        get(client, f"{server.url}/x")
    assert raised.value.hint == "it asks to come back in 3600 s"
    assert len(server.requests) == 1


def test_a_connection_that_breaks_before_the_answer_is_made_again(client: Client, server: Server) -> None:
    count = []

    def answer(request: Request) -> None:
        count.append(1)
        if len(count) < 3:
            request.close_connection = True
        else:
            request.send(200, {}, b"x")

    server.pages["/x"] = answer
    assert get(client, f"{server.url}/x") == b"x"


def test_a_body_of_a_file_is_sent_once(client: Client, server: Server, tmp_path: Path) -> None:
    server.pages["/x"] = (503, {}, b"")
    (tmp_path / "f").write_bytes(b"data")
    with (
        (tmp_path / "f").open("rb") as stream,
        client.request("PUT", f"{server.url}/x", body=stream, headers={"content-length": "4"}) as answer,
    ):
        assert answer.status == 503
    assert len(server.requests) == 1


# Who sees what ------------------------------------------------------------------------------------


def test_credentials_stay_with_their_host(authority: Authority, server: Server) -> None:
    client = Client(Settings(ca_file=str(authority.file)), Secret("example.com"))
    server.pages["/a"] = (302, {"Location": "https://mirror.example.com/b"}, b"")
    server.pages["/b"] = (302, {"Location": "https://example.com/c"}, b"")
    server.pages["/c"] = b"x"
    get(client, "https://example.com/a")
    assert [headers.get("authorization") for _, _, headers in server.requests] == [
        "Basic c2VjcmV0",
        None,
        "Basic c2VjcmV0",
    ]


def test_a_header_that_authenticates_is_not_sent_on(client: Client, server: Server) -> None:
    server.pages["/a"] = (302, {"Location": "https://mirror.example.com/b"}, b"")
    server.pages["/b"] = b"x"
    get(client, "https://example.com/a", headers={"Authorization": "Bearer t", "Accept": "text/html"})
    first, second = (headers for _, _, headers in server.requests)
    assert first["authorization"] == "Bearer t"
    assert "authorization" not in second
    assert second["accept"] == "text/html"


def test_the_port_is_part_of_the_host(authority: Authority, server: Server, names: Names) -> None:
    with Server(authority.certificate("localhost")) as other:
        client = Client(Settings(ca_file=str(authority.file)))
        server.pages["/a"] = (302, {"Location": f"{other.url}/b"}, b"")
        other.pages["/b"] = b"x"
        get(client, f"{server.url}/a", headers={"authorization": "Bearer t"})
        assert "authorization" not in other.requests[0][2]


def test_a_password_in_a_url_is_refused_and_not_repeated(client: Client) -> None:
    said = refusal(client, "https://user:hunter2@example.com/x")
    assert "hunter2" not in said


def test_queries_of_urls_are_not_in_messages(client: Client, server: Server) -> None:
    assert "signature=abc" not in refusal(client, f"{server.url}/x?signature=abc")


# What is refused ----------------------------------------------------------------------------------


def test_plain_http_has_to_be_asked_for(authority: Authority, plain: Server) -> None:
    plain.pages["/x"] = b"x"
    strict, lax = Client(Settings()), Client(Settings(insecure=["http"]))
    with pytest.raises(UsageError) as raised:
        get(strict, f"{plain.url}/x")
    assert raised.value.hint == "--insecure http"
    assert get(lax, f"{plain.url}/x") == b"x"
    assert (strict.used, lax.used) == (set(), {"http"})


def test_https_never_becomes_http(authority: Authority, server: Server, plain: Server) -> None:
    client = Client(Settings(ca_file=str(authority.file), insecure=["http"]))
    server.pages["/a"] = (302, {"Location": f"{plain.url}/x"}, b"")
    assert "redirects from https to plain http" in refusal(client, f"{server.url}/a")
    assert plain.requests == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://localhost/x", "javascript:1", "https://[bad/"])
def test_redirects_lead_to_web_servers_only(target: str, client: Client, server: Server) -> None:
    server.pages["/a"] = (302, {"Location": target}, b"")
    assert "redirects to" in refusal(client, f"{server.url}/a")


def test_a_redirect_loop_ends(client: Client, server: Server) -> None:
    server.pages["/a"] = (302, {"Location": "/a"}, b"")
    assert "redirects more than 10 times" in refusal(client, f"{server.url}/a")
    assert len(server.requests) == 11


@pytest.mark.parametrize("url", ["https:///x", "file:///x", "x", "https://[::1", "https://host:99999/", ""])
def test_what_is_no_url_is_refused(url: str, client: Client) -> None:
    refusal(client, url)


# Certificates -------------------------------------------------------------------------------------


def test_an_unknown_authority(server: Server) -> None:
    said = refusal(Client(Settings()), f"{server.url}/x")
    assert said.startswith(f"{server.url}/x: ")
    assert "issued by an authority that is not trusted here" in said


def test_an_expired_certificate(client: Client, authority: Authority, names: Names) -> None:
    with Server(authority.certificate("localhost", days=-1)) as expired:
        assert "its certificate has expired" in refusal(client, f"{expired.url}/x")


def test_a_certificate_for_another_name(client: Client, server: Server, names: Names) -> None:
    names["other.example.com"] = server
    assert "its certificate is for another name" in refusal(client, "https://other.example.com/x")


def test_certificates_are_not_verified_where_that_was_asked_for(server: Server) -> None:
    client = Client(Settings(insecure=["tls"]))
    server.pages["/x"] = b"x"
    assert get(client, f"{server.url}/x") == b"x"
    assert client.used == {"tls"}


def test_a_server_without_tls(client: Client, plain: Server) -> None:
    assert "does not speak TLS on this port" in refusal(client, f"https://localhost:{plain.port}/x")


# Hosts that are not there -------------------------------------------------------------------------


def test_no_such_host(client: Client, names: Names) -> None:
    assert "there is no host nowhere.example.com" in refusal(client, "https://nowhere.example.com/x")


def test_nobody_listens(client: Client, names: Names) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert f"localhost:{port} refuses connections" in refusal(client, f"https://localhost:{port}/x")


# Hostile servers ----------------------------------------------------------------------------------


def test_an_endless_body_ends_at_the_limit(client: Client, server: Server) -> None:
    def answer(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            request.wfile.write(b"1000\r\n" + bytes(4096) + b"\r\n")

    server.pages["/x"] = answer
    assert "is larger than 100000 bytes" in refusal(client, f"{server.url}/x", 100_000)


def test_a_body_announced_too_large_is_not_read(client: Client, server: Server) -> None:
    server.pages["/x"] = (200, {"Content-Length": str(1 << 50)}, b"")
    assert "is larger than 1000 bytes" in refusal(client, f"{server.url}/x", 1000)


def test_a_body_shorter_than_announced(client: Client, server: Server) -> None:
    def answer(request: Request) -> None:
        request.send(200, {"Content-Length": "100"}, b"short")
        request.close_connection = True

    server.pages["/x"] = answer
    assert "ended its answer before it was complete" in refusal(client, f"{server.url}/x")


def test_a_body_longer_than_announced_is_cut_there(client: Client, server: Server) -> None:
    def answer(request: Request) -> None:
        request.send(200, {"Content-Length": "5"}, b"short and more")
        request.close_connection = True

    server.pages["/x"] = answer
    assert get(client, f"{server.url}/x") == b"short"


def test_chunks_that_end_early(client: Client, server: Server) -> None:
    def answer(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc")
        request.close_connection = True

    server.pages["/x"] = answer
    assert "before it was complete" in refusal(client, f"{server.url}/x")


@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"a" * 70_000 + b"\r\n",
        b"X: y\r\n" * 200,
        b"".join(b"X%d: %s\r\n" % (i, b"a" * 9000) for i in range(90)),
    ],
    ids=["long line", "many", "large together"],
)
def test_huge_headers(headers: bytes, client: Client, server: Server) -> None:
    server.pages["/x"] = lambda request: request.wfile.write(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n")
    assert "headers" in refusal(client, f"{server.url}/x")


def test_interim_answers_without_end(client: Client, server: Server) -> None:
    def answer(request: Request) -> None:
        while True:
            request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    server.pages["/x"] = answer
    assert "sends more than 256 KiB of headers" in refusal(client, f"{server.url}/x")


def test_trailers_without_end(client: Client, server: Server) -> None:
    def answer(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        while True:
            request.wfile.write(b"T: " + b"a" * 60_000 + b"\r\n")

    server.pages["/x"] = answer
    assert "sends more framing than content" in refusal(client, f"{server.url}/x")


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_server_that_sends_a_byte_now_and_then(begin: bytes, authority: Authority, server: Server) -> None:
    client = Client(Settings(ca_file=str(authority.file), total=1.5, pause=0.01))
    stop = threading.Event()

    def answer(request: Request) -> None:
        request.wfile.write(begin)
        while not stop.wait(0.2):
            request.wfile.write(b"a")

    server.pages["/x"] = answer
    try:
        assert "has not answered completely within 2 s" in refusal(client, f"{server.url}/x")
    finally:
        stop.set()


def test_a_server_that_says_nothing(authority: Authority, server: Server) -> None:
    client = Client(Settings(ca_file=str(authority.file), read=0.8, pause=0.01))
    stop = threading.Event()
    server.pages["/x"] = lambda request: stop.wait(60) and None
    try:
        assert "has sent nothing for 1 s" in refusal(client, f"{server.url}/x")
    finally:
        stop.set()


def test_a_stream_that_trickles(authority: Authority, server: Server) -> None:
    stop = threading.Event()

    def answer(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while not stop.wait(0.05):
            request.wfile.write(b"a")

    server.pages["/x"] = answer
    client = Client(Settings(ca_file=str(authority.file), read=2.0))
    try:
        with client.request("GET", f"{server.url}/x") as response, pytest.raises(NetworkError, match="is too slow"):
            b"".join(iter(response.stream().read, b""))
    finally:
        stop.set()


def test_a_page_that_expands_without_end(client: Client, server: Server) -> None:
    server.pages["/x"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(50 << 20)))
    assert "is larger than 1048576 bytes" in refusal(client, f"{server.url}/x")


@pytest.mark.parametrize(
    "line", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/9 200\r\n\r\n", b"\xff\xfe\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n"]
)
def test_what_is_not_http(line: bytes, client: Client, server: Server) -> None:
    def answer(request: Request) -> None:
        request.wfile.write(line)
        request.close_connection = True

    server.pages["/x"] = answer
    refusal(client, f"{server.url}/x")


def test_an_upload_may_take_longer_than_an_answer(authority: Authority, server: Server) -> None:
    class Slow:
        left = 8

        def read(self, size: int = -1) -> bytes:
            time.sleep(0.1)
            self.left -= 1
            return b"x" * 10 if self.left >= 0 else b""

    server.pages["/x"] = (201, {}, b"")
    client = Client(Settings(ca_file=str(authority.file), total=0.5))
    body: Any = Slow()
    with client.request("PUT", f"{server.url}/x", body=body, headers={"content-length": "80"}) as answer:
        assert answer.check().status == 201


# Proxies ------------------------------------------------------------------------------------------


def test_http_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch, plain: Server) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:pw@localhost:{plain.port}")
    plain.pages["http://example.com/x"] = b"by proxy"
    assert get(Client(Settings(insecure=["http"])), "http://example.com/x") == b"by proxy"
    assert plain.requests[0][2]["proxy-authorization"].startswith("Basic ")


def test_https_goes_through_a_tunnel(client: Client, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """The proxy sees the host and nothing else: the certificate is that of the server."""
    asked = []

    def tunnel(listener: socket.socket) -> None:
        near, _ = listener.accept()
        asked.append(near.recv(4096).splitlines()[0])
        far = socket.create_connection(("127.0.0.1", server.port))
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=pump, args=(far, near), daemon=True)
        back.start()
        pump(near, far)

    def pump(source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(4096):
            target.sendall(data)

    server.pages["/x"] = b"by tunnel"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("https_proxy", f"http://localhost:{listener.getsockname()[1]}")
        threading.Thread(target=tunnel, args=(listener,), daemon=True).start()
        tunnelled = Client(client.settings)
        assert get(tunnelled, "https://example.com/x") == b"by tunnel"
        tunnelled.close()
    assert asked[0].startswith(b"CONNECT example.com:443 ")


def test_a_proxy_that_refuses_is_said(client: Client, monkeypatch: pytest.MonkeyPatch, plain: Server) -> None:
    monkeypatch.setenv("https_proxy", f"http://localhost:{plain.port}")
    assert "the proxy" in refusal(Client(client.settings), "https://example.com/x")


def test_hosts_of_no_proxy_are_reached_directly(monkeypatch: pytest.MonkeyPatch, plain: Server, names: Names) -> None:
    monkeypatch.setenv("http_proxy", "http://nowhere.example.com:1")
    monkeypatch.setenv("no_proxy", "localhost")
    plain.pages["/x"] = b"x"
    assert get(Client(Settings(insecure=["http"])), f"{plain.url}/x") == b"x"


def test_a_proxy_that_is_not_there_is_blamed(client: Client, monkeypatch: pytest.MonkeyPatch, names: Names) -> None:
    monkeypatch.setenv("https_proxy", "http://nowhere.example.com:1")
    said = refusal(Client(Settings()), "https://example.com/x")
    assert "there is no host nowhere.example.com:1 (the proxy)" in said


def test_a_socks_proxy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://localhost:1")
    assert "only http and https proxies" in refusal(Client(Settings()), "https://example.com/x")
