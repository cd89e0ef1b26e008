"""HTTP/1.1 on one connection: what is understood, what is refused, and that both readers agree."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appc.metadata.http import BODY_LIMIT, HEAD_LIMIT, Conversation, _plain_head, _Unusual
from appc.metadata.messages import FORM, TEXT, Refusal, Request, Response

GET = b"GET /t/pod/uuid HTTP/1.1\r\nHost: x\r\n\r\n"


def read(data: bytes) -> tuple[Conversation, Request | None]:
    conversation = Conversation()
    conversation.feed(data)
    return conversation, conversation.next_request()


def parts(request: Request | None) -> tuple[str, str, str, bytes]:
    assert request is not None
    return request.method, request.target, request.content_type, request.body


def answered(conversation: Conversation, status: int = 200, body: bytes = b"body") -> h11.Response:
    """Let h11, as the client, read an answer; `.content` is its body."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(conversation.answer(Response(status, TEXT, body)))
    response = client.next_event()
    assert isinstance(response, h11.Response)
    data = client.next_event()
    assert isinstance(data, h11.Data)
    assert data.data == body
    return response


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GET, ("GET", "/t/pod/uuid", "", b"")),
        (GET.replace(b"GET", b"HEAD"), ("HEAD", "/t/pod/uuid", "", b"")),
        (GET.replace(b"GET", b"PUT"), ("PUT", "/t/pod/uuid", "", b"")),
        (GET.replace(b"\r\n", b"\n"), ("GET", "/t/pod/uuid", "", b"")),
        (GET.replace(b"1.1", b"1.0"), ("GET", "/t/pod/uuid", "", b"")),
        (b"GET / HTTP/1.0\r\n\r\n", ("GET", "/", "", b"")),
        (GET.replace(b"Host: x", b"Host: x\r\nX-Folded: a\r\n b"), ("GET", "/t/pod/uuid", "", b"")),
        (
            b"POST /s HTTP/1.1\r\nHost: x\r\nContent-Type: %s; charset=x\r\nContent-Length: 9\r\n\r\ncontent=x"
            % FORM.upper().encode(),
            ("POST", "/s", FORM, b"content=x"),
        ),
        (
            b"POST /s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ncont\r\n5\r\nent=x\r\n0\r\n\r\n",
            ("POST", "/s", "", b"content=x"),
        ),
    ],
)
def test_requests_are_understood_whole_and_byte_by_byte(data: bytes, expected: tuple[str, str, str, bytes]) -> None:
    assert parts(read(data)[1]) == expected
    conversation = Conversation()
    for index in range(len(data) - 1):
        conversation.feed(data[index : index + 1])
        assert conversation.next_request() is None
        assert conversation.incomplete
    conversation.feed(data[-1:])
    assert parts(conversation.next_request()) == expected
    assert not conversation.incomplete


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", 400),
        (b"GET / HTTP/2\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 500 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1), 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n" % (BODY_LIMIT + 1)
            + bytes(BODY_LIMIT + 1),
            413,
        ),
        (b"GET /" + b"a" * HEAD_LIMIT, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * HEAD_LIMIT, 431),
    ],
)
def test_what_is_malformed_or_too_large_is_refused_and_ends_the_connection(data: bytes, status: int) -> None:
    conversation = Conversation()
    conversation.feed(data)
    with pytest.raises(Refusal) as refused:
        conversation.next_request()
    assert refused.value.status == status
    assert not conversation.open
    response = answered(conversation, status)
    assert response.status_code == status
    assert (b"connection", b"close") in response.headers


def test_the_body_may_be_as_large_as_the_limit() -> None:
    _, request = read(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % BODY_LIMIT + bytes(BODY_LIMIT))
    assert len(parts(request)[3]) == BODY_LIMIT


@pytest.mark.parametrize(
    ("fields", "version", "stays"),
    [
        (b"", b"1.1", True),
        (b"Connection: keep-alive\r\n", b"1.1", True),
        (b"Connection: Close\r\n", b"1.1", False),
        (b"Connection: x, close\r\n", b"1.1", False),
        (b"Connection: x\r\n", b"1.1", True),
        (b"", b"1.0", False),
    ],
)
def test_the_connection_stays_as_the_client_wishes(fields: bytes, version: bytes, stays: bool) -> None:
    conversation, request = read(b"GET / HTTP/%s\r\nHost: x\r\n%s\r\n" % (version, fields))
    assert request is not None
    assert conversation.open is stays
    assert ((b"connection", b"close") in answered(conversation).headers) is not stays


def test_pipelined_requests_of_both_kinds_are_answered_in_order() -> None:
    chunked = b"POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\n"
    conversation = Conversation()
    conversation.feed(GET + chunked + GET)
    seen = []
    while (request := conversation.next_request()) is not None:
        seen.append(request.target)
        answered(conversation)
    assert seen == ["/t/pod/uuid", "/2", "/t/pod/uuid"]


def test_a_client_that_waits_is_told_to_go_on() -> None:
    conversation = Conversation()
    conversation.feed(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert conversation.next_request() is None
    assert conversation.to_send.startswith(b"HTTP/1.1 100 ")
    conversation.to_send = b""
    conversation.feed(b"z")
    assert parts(conversation.next_request())[3] == b"z"
    assert conversation.to_send == b""


def test_answers_carry_the_flavor_a_date_and_their_length() -> None:
    conversation, _ = read(GET)
    fields = dict(answered(conversation).headers)
    assert fields[b"metadata-flavor"] == b"AppContainer"
    assert fields[b"content-type"] == TEXT.encode()
    assert fields[b"content-length"] == b"4"
    assert fields[b"date"].endswith(b" GMT")


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_the_answer_to_head_has_no_body_but_its_length(version: bytes) -> None:
    conversation, _ = read(b"HEAD / HTTP/%s\r\nHost: x\r\n\r\n" % version)
    answer = conversation.answer(Response(200, TEXT, b"body"))
    assert b"Content-Length: 4\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@settings(max_examples=400, deadline=None)
@given(
    requests=st.lists(
        st.sampled_from(
            [
                GET,
                b"HEAD / HTTP/1.0\r\n\r\n",
                b"POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\ncontent=x",
                b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
                b"1\r\nx\r\n0\r\n\r\n",
                b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n",
            ]
        ),
        min_size=1,
        max_size=3,
    ),
    changes=st.lists(
        st.tuples(
            st.integers(0, 300), st.integers(0, 6), st.sampled_from([b"", b"\r\n", b"\n", b"\0", b":", b" ", b"\xff"])
        ),
        max_size=4,
    ),
    step=st.sampled_from([1, 7, 1000]),
)
def test_whatever_arrives_is_answered_or_refused(
    requests: list[bytes], changes: list[tuple[int, int, bytes]], step: int
) -> None:
    data = bytearray(b"".join(requests))
    for place, removed, inserted in changes:
        data[place : place + removed] = inserted
    conversation = Conversation()
    for begin in range(0, len(data), step):
        conversation.feed(bytes(data[begin : begin + step]))
        try:
            while conversation.open and conversation.next_request() is not None:
                assert conversation.answer(Response(200, TEXT, b"body")).startswith(b"HTTP/1.1 200 OK\r\n")
        except Refusal as refusal:
            assert conversation.answer(refusal.response()).startswith(b"HTTP/1.1 ")
        if not conversation.open:
            break


_NAMES = st.sampled_from(
    b"Host|host|Content-Length|Content-Type|Connection|X-y|Accept|Upgrade|Expect|Transfer-Encoding||a b|x\xff|~".split(
        b"|"
    )
)
_VALUES = st.one_of(
    st.sampled_from(
        [b"", b"x", b"3", b"0", b"+3", b"close", b"keep-alive", b"Keep-Alive", b"chunked", b" 2\t", b"a\rb"]
    ),
    st.binary(max_size=6),
)
_HEADS = st.builds(
    lambda method, target, version, fields, ends: b"".join(
        [method, b" ", target, b" ", version, ends]
        + [name + b":" + space + value + ends for name, space, value in fields]
    ),
    st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"get", b""]),
    st.one_of(st.sampled_from([b"/", b"/a?b=c", b"*", b"http://x/", b"/a b", b"/\x7f"]), st.binary(max_size=5)),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 "]),
    st.lists(st.tuples(_NAMES, st.sampled_from([b"", b" ", b"\t "]), _VALUES), max_size=5),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]),
)


@settings(max_examples=1500, deadline=None)
@given(head=st.one_of(_HEADS, _HEADS.map(lambda head: head + b"Host: x\r\n")), body=st.binary(max_size=8))
def test_what_is_read_without_h11_means_the_same_to_h11(head: bytes, body: bytes) -> None:
    try:
        method, target, persistent, fields = _plain_head(head.removesuffix(b"\r\n"))
    except _Unusual:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head + b"\r\n" + body)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (method.encode(), target.encode())
    assert dict(event.headers) == fields
    length = int(fields.get(b"content-length", b"0"))
    if length <= len(body):
        data = b""
        while isinstance(event := connection.next_event(), h11.Data):
            data += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage)
        assert data == body[:length]
        assert (connection.their_state is h11.DONE) is persistent
