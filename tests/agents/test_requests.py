"""Requests in a tunnel: the forms in which they are allowed, and those that are refused."""

from __future__ import annotations

import base64
import json
import socket

import httpx
import pytest
import trustme

from support.agents.upstream import Answer, Upstream
from support.agents.workers import VALUE, read_all, rule


@pytest.fixture
def client(door):
    with httpx.Client(proxy=door.url, verify=door.tls, timeout=60) as made:
        made.headers["authorization"] = f"Bearer {door.placeholder}"
        yield made


@pytest.fixture
def target(upstream):
    return f"localhost:{upstream.port}"


def get(target, *lines, first="GET /x HTTP/1.1"):
    return "".join(f"{line}\r\n" for line in (first, *lines, "Connection: close", "")).encode()


def test_a_request_carries_the_value(client, upstream):
    answer = client.get(f"{upstream.origin}/v1/models?limit=2")
    assert answer.status_code == 200
    (request,) = upstream.requests
    assert (request.target, request.header("authorization")) == ("/v1/models?limit=2", f"Bearer {VALUE}")
    assert VALUE not in answer.text
    assert client.headers["authorization"] in answer.text


def test_many_requests_share_a_connection(client, upstream):
    before = upstream.connections
    for _ in range(20):
        assert client.get(upstream.origin).status_code == 200
    assert upstream.connections - before <= 2


def test_body_is_sent_as_it_is(client, upstream):
    body = bytes(range(256)) * 4096
    assert client.post(upstream.origin, content=body).status_code == 200
    assert (upstream.requests[0].size, upstream.requests[0].body) == (len(body), body)


def test_answer_without_a_body_ends(client, upstream):
    for status, method in ((204, "GET"), (304, "GET"), (200, "HEAD"), (200, "GET")):
        upstream.answer = lambda _, status=status: Answer(status)
        answer = client.request(method, upstream.origin)
        assert (answer.status_code, answer.content) == (status, b"")


def test_headers_of_an_answer_are_redacted(client, upstream):
    upstream.answer = lambda _: Answer(302, [("location", f"https://localhost/?key={VALUE}"), ("etag", '"1"')])
    answer = client.get(upstream.origin)
    assert VALUE not in str(answer.headers)
    assert answer.headers["etag"] == '"1"'


def test_compressed_answer_is_refused(client, upstream):
    upstream.answer = lambda _: Answer(headers=[("content-encoding", "gzip")], body=VALUE.encode() * 1000)
    answer = client.get(upstream.origin)
    assert answer.status_code == 502
    assert VALUE not in answer.text


def test_answer_of_http_1_0_comes_as_1_1(client, upstream):
    """A client would speak HTTP/1.0 from then on, in which an answer that is cut short looks whole."""
    upstream.answer = lambda _: Answer(raw=b"HTTP/1.0 200 OK\r\n\r\necho " + VALUE.encode())
    for _ in range(2):
        answer = client.get(upstream.origin)
        assert (answer.http_version, answer.headers["connection"]) == ("HTTP/1.1", "close")
        assert answer.text.startswith("echo sk-proj-")
        assert VALUE not in answer.text


def test_basic_authentication_is_decoded(door, client, upstream):
    client.auth = ("me", door.placeholder)
    client.get(upstream.origin)
    sent = upstream.requests[0].header("authorization").removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == f"me:{VALUE}"


def test_placeholder_of_another_session_is_worthless(client, upstream):
    client.headers["authorization"] = "Bearer sk-proj-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    client.get(upstream.origin)
    assert upstream.requests[0].header("authorization").endswith("AAAA")


def test_placeholder_in_a_place_that_the_rule_does_not_allow_is_refused(door, client, upstream):
    answer = client.get(f"{upstream.origin}/?key={door.placeholder}")
    assert answer.status_code == 403
    assert "the parameter key" in answer.text
    assert upstream.requests == []


def test_a_refusal_of_head_has_no_body(door, upstream, target):
    """A client would take it for the beginning of the next answer."""
    with door.tunnel(target) as tunnel:
        tunnel.sendall(get(target, f"Host: {target}", first=f"HEAD /?key={door.placeholder} HTTP/1.1"))
        head, _, rest = read_all(tunnel).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert rest == b""
    assert upstream.requests == []


def test_the_key_of_a_websocket_is_no_place_for_a_value(door, upstream, target):
    """The upstream would answer with its hash, by which the worker confirms a guess."""
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    answer = door.raw(target, get(target, f"Host: {target}", *upgrade, f"Sec-WebSocket-Key: {door.placeholder}"))
    assert answer.split(b" ")[1] == b"403", answer
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Host: other.example.com"], 400),
        ([], 400),
        (["Host: {0}", "Host: {0}"], 400),
        (["Host: {0}", "Host: other.example.com"], 400),
        (["Host: localhost"], 400),
        (["Host: {0}", "X: a\r\n folded"], 400),
        (["Host: {0}", "X: a\0b"], 400),
        (["Host: LOCALHOST.:{1}"], 200),
    ],
)
def test_host_of_a_request_is_that_of_its_connection(door, upstream, target, lines, status):
    answer = door.raw(target, get(target, *(line.format(target, upstream.port) for line in lines)))
    assert answer.split(b" ")[1] == str(status).encode(), answer
    assert len(upstream.requests) == (status == 200)


@pytest.mark.parametrize("first", ["GET https://{0}/x HTTP/1.1", "GET /x\x7f HTTP/1.1", "get /x HTTP/1.1"])
def test_ambiguous_first_line_is_refused(door, upstream, target, first):
    answer = door.raw(target, get(target, f"Host: {target}", first=first.format(target)))
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert upstream.requests == []


def test_name_in_the_handshake_must_be_that_of_the_connection(door, upstream, target):
    answer = door.raw(target, get(target, f"Host: {target}"), sni="other.example.com")
    assert answer.startswith(b"HTTP/1.1 421"), answer
    assert upstream.requests == []


def test_request_without_tls_in_a_tunnel_is_refused(door, upstream, target):
    connection, status, _ = door.ask(target)
    with connection:
        assert status == 200
        connection.sendall(get(target, f"Host: {target}"))
        assert b"Use TLS" in read_all(connection)
    assert upstream.requests == []


def test_plain_http_to_the_host_of_a_rule_is_refused(door, upstream):
    with httpx.Client(proxy=door.url, timeout=60) as plain:
        answer = plain.get(f"http://localhost:{upstream.port}/x", headers={"authorization": door.placeholder})
    assert (answer.status_code, "https" in answer.text) == (403, True)


def test_https_without_a_tunnel_is_refused(door, upstream, target):
    with socket.create_connection(door.address) as plain:
        plain.sendall(get(target, f"Host: {target}", first=f"GET https://{target}/x HTTP/1.1"))
        assert b"Use CONNECT" in read_all(plain)
    assert upstream.requests == []


def test_upstream_that_is_not_trusted_gets_no_request(operator_of):
    with Upstream(trustme.CA(), "localhost") as stranger:
        operator = operator_of(rule([f"localhost:{stranger.port}"]))
        with operator.worker() as door, httpx.Client(proxy=door.url, verify=door.tls, timeout=60) as client:
            answer = client.get(stranger.origin, headers={"authorization": door.placeholder})
        assert answer.status_code == 502
        assert stranger.requests == []


def test_reason_phrase_is_redacted(upstream, client):
    upstream.answer = lambda _: Answer(raw=f"HTTP/1.1 200 {VALUE}\r\nContent-Length: 0\r\n\r\n".encode())
    answer = client.get(upstream.origin)
    assert VALUE not in answer.reason_phrase


def test_early_hints_leak_nothing(door, upstream, target):
    hints = f"HTTP/1.1 103 Early Hints\r\nLink: <{VALUE}>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{VALUE}"
    upstream.answer = lambda _: Answer(raw=hints.encode())
    answer = door.raw(target, get(target, f"Host: {target}", f"Authorization: {door.placeholder}"))
    assert VALUE.encode() not in answer


def test_trailers_leak_nothing(door, upstream, target):
    upstream.answer = lambda _: Answer(body=[b"x"], trailers=[("x-key", VALUE)])
    answer = door.raw(target, get(target, f"Host: {target}", f"Authorization: {door.placeholder}"))
    assert VALUE.encode() not in answer


def test_placeholder_in_a_json_body_is_replaced(operator_of, upstream):
    operator = operator_of(rule([f"localhost:{upstream.port}"], where=["body:api_key"]))
    with operator.worker() as door, httpx.Client(proxy=door.url, verify=door.tls, timeout=60) as client:
        answer = client.post(upstream.origin, json={"api_key": door.placeholder, "q": "ä"})
        assert VALUE not in answer.text
        assert json.loads(upstream.requests[0].body) == {"api_key": VALUE, "q": "ä"}
        long = client.post(upstream.origin, json={"api_key": door.placeholder, "q": "x" * (9 << 20)})
        assert long.status_code == 413
    assert len(upstream.requests) == 1


CHUNK = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))


@pytest.mark.parametrize(
    ("head", "sent", "status"),
    [
        (["Content-Type: application/json", f"Content-Length: {9 << 20}"], b"{", b"413"),
        (["Content-Type: application/json", "Transfer-Encoding: chunked"], CHUNK * 9, b"413"),
        ([f"Content-Length: {9 << 20}", "X-Http-Method: DELETE"], b"", b"403"),
        ([f"Content-Length: {9 << 20}", "X-Http-Method: DELETE", "Expect: 100-continue"], b"", b"403"),
    ],
    ids=["length", "chunks", "head", "expect"],
)
def test_a_refusal_does_not_wait_for_the_body(operator_of, upstream, head, sent, status):
    """As curl and others stop to send then."""
    target = f"localhost:{upstream.port}"
    operator = operator_of(rule([target], where=["body:api_key"], methods=["POST"]))
    with operator.worker() as door, door.tunnel(target) as connection:
        lines = "".join(f"{line}\r\n" for line in (f"Host: {target}", *head))
        connection.sendall(f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + sent)
        answer = connection.recv(65536)
        while answer[9:] == b"100 Continue\r\n\r\n":
            answer = connection.recv(65536)
        assert answer.split()[1] == status
    assert upstream.requests == []
