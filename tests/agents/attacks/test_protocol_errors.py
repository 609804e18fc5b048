"""Errors of the protocol: the worker gets one sentence of ours as plain text, which quotes neither side."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.agents.recorder import Recorder
from support.agents.upstream import Upstream
from support.agents.workers import VALUE, Operator, read_all, rule

KEY = VALUE.encode()
MALFORMED = "The request is malformed"
TOO_EARLY = "The upstream ended too early, or its answer is malformed"

ANSWERS = [
    b"HTTP/1.1 200 OK\r\n" + KEY + b" x: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon " + KEY + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + KEY + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + KEY + b"\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 " + KEY + b"\r\n\r\n",
    KEY + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + KEY,
    b"",
]


@pytest.fixture(scope="module")
def recorder(upstream_authority):
    with Recorder(upstream_authority.issue_cert("localhost")) as running:
        yield running


@pytest.fixture(scope="module")
def recorded(recorder, upstream_file, tmp_path_factory):
    """A worker whose rule names the recorder."""
    operator = Operator(tmp_path_factory.mktemp("recorded"), upstream_file)
    operator.write_rules(rule([f"localhost:{recorder.port}"]))
    with operator.worker() as running:
        yield running


def assert_ours(answer, status, reason):
    head, _, body = answer.decode().partition("\r\n\r\n")
    lines = head.lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} ")
    assert "content-type: text/plain; charset=utf-8" in lines
    assert not any(line.startswith("server:") for line in lines)
    assert body == f"{reason}\n"


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[:40].decode().replace(VALUE, "VALUE"))
def test_an_answer_that_cannot_be_parsed(recorded, recorder, answer):
    recorder.answer = answer
    target = f"localhost:{recorder.port}"
    assert_ours(recorded.raw(target, f"GET / HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()), 502, TOO_EARLY)


def test_a_head_of_any_size_is_not_held(recorded, recorder):
    """Nor is a line before a chunk, in which a body ends then. A head of 200 KiB passes."""
    target = f"localhost:{recorder.port}"
    request = f"GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n".encode()
    recorder.answer = b"HTTP/1.1 200 OK\r\nX: " + b"a" * (200 << 10) + b"\r\nContent-Length: 0\r\n\r\n"
    assert recorded.raw(target, request + b"\r\n").startswith(b"HTTP/1.1 200 ")
    recorder.answer = recorder.answer.replace(b"X: ", b"X: " + b"a" * (1 << 20))
    assert_ours(recorded.raw(target, request + b"\r\n"), 502, TOO_EARLY)
    line = b"1;" + b"a" * (1 << 20) + b"\r\n"
    recorder.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + line + b"x\r\n0\r\n\r\n"
    assert recorded.raw(target, request + b"\r\n").endswith(b"\r\n\r\n")
    before = len(recorder.received)
    with contextlib.suppress(OSError):
        assert recorded.raw(target, request + b"X: " + b"a" * (4 << 20) + b"\r\n\r\n") == b""
    assert len(recorder.received) == before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("length", [0, 2])
def test_an_answer_that_is_refused(recorded, recorder, method, length):
    """Also one without a body, which the proxy's own answer has."""
    recorder.answer = b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: %d\r\n\r\n%s" % (length, b"ok"[:length])
    target = f"localhost:{recorder.port}"
    answer = recorded.raw(target, f"{method} / HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    reason = "The answer has a header of several lines, in which a secret could not be found"
    if method == "HEAD":
        assert answer.endswith(b"\r\n\r\n")
        answer += f"{reason}\n".encode()
    assert_ours(answer, 502, reason)


@pytest.mark.parametrize(
    "request_",
    [
        "GET /",
        "GET / HTTP/9.9.9",
        "GET / HTTP/1.1\r\nno colon",
        "GET / HTTP/1.1\r\nx y: a",
        "GET / HTTP/1.1\r\nContent-Length: x",
        "GET / HTTP/1.1\r\nTransfer-Encoding: x",
        "CONNECT a:1 HTTP/1.1",
    ],
)
def test_a_request_that_cannot_be_parsed(recorded, recorder, request_):
    target = f"localhost:{recorder.port}"
    first, *more = request_.split("\r\n")
    lines = [first, f"Host: {target}", *more, "", ""]
    assert_ours(recorded.raw(target, "\r\n".join(lines).encode()), 400, MALFORMED)


@pytest.mark.parametrize(
    "line", ["CONNECT localhost HTTP/1.1", "CONNECT a b HTTP/1.1", "CONNECT http://x/ HTTP/1.1", "GET x HTTP/1.1", "x"]
)
def test_a_malformed_request_to_the_proxy(recorded, line):
    with socket.create_connection(recorded.address, timeout=30) as connection:
        connection.sendall(f"{line}\r\nHost: x\r\n\r\n".encode())
        assert_ours(read_all(connection), 400, MALFORMED)


def test_an_upstream_that_does_not_listen(operator_of):
    with socket.socket() as bound:  # so that nobody else listens there
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with operator_of(rule([f"localhost:{port}"])).worker() as door:
            connection, _, answer = door.ask(f"localhost:{port}")
            connection.close()
    reason = f"Cannot connect to localhost:{port}: Connection refused"
    assert_ours(answer.encode(), 502, reason)


def test_an_upstream_whose_certificate_is_refused(operator_of, upstream_authority):
    certificate = upstream_authority.issue_cert("other.example.com")
    with Upstream(upstream_authority, certificate=certificate) as stranger:
        target = f"localhost:{stranger.port}"
        reason = f"The certificate of {target} is refused: hostname mismatch"
        with operator_of(rule([target])).worker() as door:
            assert_ours(door.raw(target, f"GET / HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()), 502, reason)


def test_an_upstream_without_tls(operator_of):
    with socket.create_server(("127.0.0.1", 0)) as plain, ThreadPoolExecutor() as pool:

        def serve():
            with plain.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + KEY)

        pool.submit(serve)
        target = f"localhost:{plain.getsockname()[1]}"
        with operator_of(rule([target])).worker() as door:
            answer = door.raw(target, f"GET / HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert_ours(answer, 502, f"Cannot connect to {target}, or it does not speak HTTP/1.1 over TLS")
