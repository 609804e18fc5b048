"""Requests that two programs may read in different ways: none brings the value to where its rule does not allow it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import h11
import pytest

from support.agents.recorder import ANSWER, Recorder
from support.agents.workers import VALUE, Operator, read_all, rule

CONTENT = VALUE.encode()
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def recorder(upstream_authority):
    with Recorder(upstream_authority.issue_cert("localhost")) as running:
        yield running


@pytest.fixture(scope="module")
def door(recorder, upstream_file, tmp_path_factory):
    """A worker whose rule allows POST and the paths below /v1/."""
    operator = Operator(tmp_path_factory.mktemp("smuggler"), upstream_file)
    operator.write_rules(rule([f"localhost:{recorder.port}"], methods=["POST"], paths=["/v1/*"]))
    with operator.worker() as running:
        yield running


@pytest.fixture
def send(door, recorder):
    """Sends requests, each in a separate connection, all at once, and returns their answers.

    `{key}` and `{host}` are the placeholder and the host. A connection on which nothing comes any more is closed: the
    proxy waits for the rest of some requests.
    """
    recorder.connections.clear()
    recorder.answer = ANSWER
    target = f"localhost:{recorder.port}"

    def one(text):
        content = text.replace("{key}", door.placeholder).replace("{host}", target).encode("latin-1")
        with door.tunnel(target) as tunnel:
            tunnel.sendall(content)
            tunnel.settimeout(2)
            return read_all(tunnel)

    def send(*texts):
        with ThreadPoolExecutor(12) as pool:
            return list(pool.map(one, texts))

    return send


def head(*lines, first="POST /v1/x HTTP/1.1"):
    return "".join(f"{line}\r\n" for line in (first, "Host: {host}", "Authorization: {key}", *lines, ""))


def requests_in(content):
    """Return the head and the body of each request, as a strict parser reads them."""
    connection, found = h11.Connection(h11.SERVER), []
    content = content.replace(b"identity, chunked", b"chunked").replace(b"gzip, chunked", b"chunked")
    connection.receive_data(bytes(content))  # h11 knows no other encoding, and both mean the same length
    while (event := connection.next_event()) is not h11.NEED_DATA and not isinstance(event, h11.ConnectionClosed):
        if isinstance(event, h11.Request):
            found.append([event, b""])
        elif isinstance(event, h11.Data):
            found[-1][1] += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                break
            connection.start_next_cycle()
        elif event is h11.PAUSED:
            break
    return found


def assert_only_allowed(recorder):
    """The value was sent to /v1/ alone, and only in the header that the rule names."""
    for content in recorder.connections:
        if not content:
            continue
        for request, body in requests_in(content):
            if CONTENT in b"".join(value for _, value in request.headers):
                assert (request.method, request.target[:4]) == (b"POST", b"/v1/"), content
            assert CONTENT not in body + request.target
            names = [name for name, _ in request.headers]
            assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, content
        assert content.count(CONTENT) == sum(
            CONTENT in b"".join(value for _, value in request.headers) for request, _ in requests_in(content)
        ), content


SECOND = "GET /admin HTTP/1.1\r\nHost: {host}\r\nAuthorization: {key}\r\n\r\n"
LENGTH = len(SECOND.replace("{key}", VALUE).replace("{host}", "localhost:12345"))


def test_a_plain_request_passes(send, recorder):
    (answer,) = send(head("Content-Length: 3", "Connection: close") + "abc")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    ((request, body),) = requests_in(recorder.received)
    assert (request.target, body) == (b"/v1/x", b"abc")
    assert recorder.received.count(CONTENT) == 1


LENGTHS = [
    (f"Content-Length: {LENGTH}", CHUNKED),
    (CHUNKED, "Content-Length: 4"),
    ("Content-Length: 0", f"Content-Length: {LENGTH}"),
    (f"Content-Length: {LENGTH}", "Content-Length: 0"),
    (f"Content-Length: 0, {LENGTH}",),
    (f"Content-Length: +{LENGTH}",),
    ("Content-Length: -1",),
    ("Content-Length: 0x10",),
    ("Content-Length: 1_0",),
    ("Content-Length:",),
    ("Content-Length : 0",),
    (" Content-Length: 0",),
    ("Content-Length\x0b: 0",),
    ("Transfer-Encoding: xchunked",),
    ("Transfer-Encoding : chunked",),
    ("Transfer-Encoding: identity, chunked",),
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding:\x0bchunked",),
    ("Transfer-Encoding: \x00chunked",),
    ("Transfer-Encoding: cHuNkEd", "Content-Length: 0"),
    ("Transfer-Encoding:\r\n chunked",),
    ("X: a\nTransfer-Encoding: chunked",),
    ("X: a\rTransfer-Encoding: chunked",),
    ("Transfer-Encoding: gzip, chunked",),
]


@pytest.mark.parametrize("body", [SECOND, "0\r\n\r\n" + SECOND], ids=["plain", "chunk"])
def test_no_second_request_is_smuggled(send, recorder, body):
    send(*(head(*lines) + body for lines in LENGTHS))
    assert_only_allowed(recorder)


CHUNKS = [
    "3;ext={key}\r\nabc\r\n0\r\n\r\n",
    "3 ;a=b\r\nabc\r\n0\r\n\r\n",
    "3\nabc\n0\n\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "ffffffffffffffff0\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\nX-Key: {key}\r\n\r\n",
    "3\r\nabc\r\n0\r\nAuthorization: {key}\r\nContent-Length: 9\r\n\r\n",
    "3\r\nabc\r\n00000\r\n\r\n" + SECOND,
    "3;\n\r\nabc\r\n0\r\n\r\n" + SECOND,
    '3;a="\r\n"\r\nabc\r\n0\r\n\r\n',
]


def test_no_chunk_hides_a_request_or_a_placeholder(send, recorder):
    send(*(head(CHUNKED) + chunks for chunks in CHUNKS))
    assert_only_allowed(recorder)
    assert b"ext=" not in recorder.received


HEADERS = [
    ("X: a\0b",),
    ("X: a\rb",),
    ("X: a\nb",),
    ("X: a\r\n b",),
    ("X: a\r\n\tAuthorization: {key}",),
    ("X\0: a",),
    ("X Y: a",),
    (": a",),
    ("no colon",),
]


def test_a_malformed_header_is_refused(send, recorder):
    for answer in send(*(head(*lines, "Content-Length: 0", "Connection: close") for lines in HEADERS)):
        assert not answer.startswith(b"HTTP/1.1 2"), answer
    assert CONTENT not in recorder.received


FIRST_LINES = [
    "POST /v1/x HTTP/1.1\n",
    "POST  /v1/x HTTP/1.1",
    "POST\t/v1/x HTTP/1.1",
    "POST /v1/x HTTP/1.1 GET /admin HTTP/1.1",
    "POST /v1/x\rGET /admin HTTP/1.1",
    "POST /v1/x /admin HTTP/1.1",
    "POST /v1/x",
    "POST /v1/x HTTP/0.9",
    "POST /v1/x HTTP/2.0",
    "POST /v1/x HTTP/1.10",
    "POST v1/x HTTP/1.1",
    "POST * HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "CONNECT {host} HTTP/1.1",
    "CONNECT localhost:1 HTTP/1.1",
    "PRI * HTTP/2.0",
    "GET /v1/x HTTP/1.1",
    "TRACE /v1/x HTTP/1.1",
    "POST\0 /v1/x HTTP/1.1",
]


def test_a_malformed_first_line_brings_no_value_elsewhere(send, recorder):
    send(*(head("Content-Length: 0", "Connection: close", first=first) for first in FIRST_LINES))
    assert_only_allowed(recorder)


DOTS = [
    "/v1/../admin",
    "/v1/./x",
    "/v1/%2e%2e/admin",
    "/v1/%2E%2e/admin",
    "/v1/.%2e/admin",
    "/v1/%252e%252e/admin",
    "/v1/..%2fadmin",
    "/v1/..%5cadmin",
    "/v1/..\\admin",
    "/v1/..;/admin",
    "/v1/..;a=b/admin",
    "/v1/%c0%ae%c0%ae/admin",
    "/v1//admin",
    "//v1/x",
    "/v1/x#/../../admin",
    "/v1/%00",
    "/v1/%0d%0aX:%20y",
    "/%76%31/../admin",
    "/V1/x",
    "/v1",
    "/v1%2fx",
    "/v1/\x7f",
    "/v1/\xe4",
]


def test_an_ambiguous_path_is_refused(send, recorder):
    paths = [head("Content-Length: 0", "Connection: close", first=f"POST {path} HTTP/1.1") for path in DOTS]
    for path, answer in zip(DOTS, send(*paths), strict=True):
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403")), (path, answer)
    assert recorder.received == b""


def test_another_method_in_a_header_is_refused(send, recorder):
    names = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
    for answer in send(*(head("Content-Length: 0", f"{name}: DELETE", "Connection: close") for name in names)):
        assert answer.startswith(b"HTTP/1.1 403"), answer
    assert recorder.received == b""


def test_a_placeholder_in_another_form_is_not_replaced(send, door, recorder):
    key = door.placeholder
    send(head(f"X: {key.replace('-', '%2D')}", f"Y: {key[:20]} {key[20:]}", "Content-Length: 0", "Connection: close"))
    assert recorder.received.count(CONTENT) == 1  # that of the header Authorization


def test_a_placeholder_over_two_headers_is_not_replaced(send, door, recorder):
    first, second = door.placeholder[:20], door.placeholder[20:]
    send(head(f"X: {first}", f"X: {second}", "Content-Length: 0", "Connection: close"))
    assert recorder.received.count(CONTENT) == 1
    assert first.encode() in recorder.received


def test_a_placeholder_over_two_chunks_stays(send, door, recorder):
    first, second = door.placeholder[:20], door.placeholder[20:]
    chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in (first, second)) + "0\r\n\r\n"
    send(head(CHUNKED, "Connection: close") + chunks)
    ((_, body),) = requests_in(recorder.received)
    assert body == door.placeholder.encode()


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;key=" + CONTENT + b"\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Key: " + CONTENT + b"\r\n\r\n",
    b"HTTP/1.1 100 " + CONTENT + b"\r\nX: " + CONTENT + b"\r\n\r\n" + ANSWER,
    b"HTTP/1.1 103 Early Hints\r\nLink: <" + CONTENT + b">\r\n\r\n" + ANSWER,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\n " + CONTENT + b"\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + CONTENT + b": a\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 90\r\n\r\nok" + CONTENT * 2,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + CONTENT,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + CONTENT,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nno colon " + CONTENT + b"\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT,
    b"HTTP/1.1 204 No Content\r\n\r\n" + CONTENT,
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 43\r\n\r\n" + CONTENT,
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + CONTENT,
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + CONTENT,
    b"HTTP/1.1 407 " + CONTENT + b"\r\nProxy-Authenticate: Basic realm=" + CONTENT + b"\r\n\r\n",
    CONTENT + b"\r\n\r\n",
    b"HTTP/9.9 200 " + CONTENT + b"\r\n\r\n" + CONTENT,
    b"HTTP/1.1 999999 OK\r\n\r\n" + CONTENT,
    b"HTTP/1.1 20\x00" + CONTENT + b"\r\n\r\n" + CONTENT,
]


UPGRADE = ("Upgrade: h2c", "Connection: Upgrade", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[:60].decode().replace(VALUE, "VALUE"))
def test_a_malformed_answer_shows_no_value(send, recorder, answer):
    recorder.answer = answer
    for received in send(head("Content-Length: 0", "Connection: close"), head("Content-Length: 0", *UPGRADE)):
        assert CONTENT not in received
