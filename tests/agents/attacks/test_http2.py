"""HTTP/2 does not work with the host of a rule: clients fall back to HTTP/1.1, and others are refused."""

from __future__ import annotations

import contextlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.agents.upstream import Upstream
from support.agents.workers import VALUE, read_all, rule

SETTINGS = b"\0\0\0\4\0\0\0\0\0"
GOAWAY = b"\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\1"
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\0\2\2\x78"
"""The alert of TLS by which a server refuses a client that offers none of its protocols."""


def frame(kind, flags, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + b"\0\0\0\1" + payload


def known_before(target, key):
    """Return a request of HTTP/2 without a negotiation, whose body is a request of HTTP/1."""
    request = f"POST /x HTTP/1.1\r\nHost: {target}\r\nAuthorization: {key}\r\nContent-Length: 0\r\n\r\n".encode()
    headers = {":method": "POST", ":scheme": "https", ":authority": target, ":path": "/x", "authorization": key}
    block = b"".join(
        bytes([0, len(name)]) + name.encode() + bytes([len(text)]) + text.encode() for name, text in headers.items()
    )
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS + frame(1, 4, block) + frame(0, 1, request)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), (["h3", "h2c", "x"], None)]
)
def test_a_client_falls_back(door, upstream, offered, chosen):
    """Without a protocol that both know, the handshake chooses none: clients then speak HTTP/1.1, or give up."""
    target = f"localhost:{upstream.port}"
    with door.tunnel(target, protocols=offered) as tunnel:
        assert tunnel.selected_alpn_protocol() == chosen
        tunnel.sendall(f"GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode())
        assert read_all(tunnel).startswith(b"HTTP/1.1 200 ")
    assert len(upstream.requests) == 1


def test_a_client_does_not_choose_the_protocol_of_the_upstream(operator_of, upstream_authority):
    with Upstream(upstream_authority, "localhost", protocols=["x", "http/1.1"]) as other:
        target = f"localhost:{other.port}"
        with operator_of(rule([target])).worker() as door, door.tunnel(target, protocols=["x"]) as tunnel:
            assert tunnel.selected_alpn_protocol() is None


def test_a_client_that_does_not_ask_is_refused(door, upstream):
    target = f"localhost:{upstream.port}"
    answer = door.raw(target, known_before(target, door.placeholder), protocols=["h2"])
    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b"\r\n\r\nThe proxy speaks HTTP/1.1 only with the hosts of rules\n" in answer
    assert upstream.requests == []


def test_a_client_without_tls_is_refused(door, upstream):
    target = f"localhost:{upstream.port}"
    tunnel, _, _ = door.ask(target)
    for connection in (tunnel, socket.create_connection(door.address, timeout=30)):
        with connection:
            connection.sendall(known_before(target, door.placeholder))
            assert read_all(connection).startswith(b"HTTP/1.1 4")
    assert upstream.requests == []


def refuse_others(connection, _):
    """Refuse a client that does not offer HTTP/2."""
    connection.recv(65536)
    connection.sendall(NO_APPLICATION_PROTOCOL)


def ask_nobody(connection, context):
    """Speak HTTP/2 with every client."""
    with context.wrap_socket(connection, server_side=True) as encrypted:
        encrypted.sendall(SETTINGS)
        encrypted.recv(65536)
        encrypted.sendall(GOAWAY + VALUE.encode())


@pytest.mark.parametrize("serve", [refuse_others, ask_nobody])
def test_an_upstream_that_speaks_nothing_else(operator_of, upstream_authority, serve):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    upstream_authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:

        def accept():
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    serve(connection, context)

        pool.submit(accept)
        target = f"localhost:{listener.getsockname()[1]}"
        with operator_of(rule([target])).worker() as door:
            answer = door.raw(target, f"GET / HTTP/1.1\r\nHost: {target}\r\n\r\n".encode(), protocols=["h2"])
        listener.shutdown(socket.SHUT_RDWR)
    reasons = {
        refuse_others: f"Cannot connect to {target}, or it does not speak HTTP/1.1 over TLS",
        ask_nobody: "The upstream ended too early, or its answer is malformed",
    }
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert answer.endswith(f"\r\n\r\n{reasons[serve]}\n".encode())
