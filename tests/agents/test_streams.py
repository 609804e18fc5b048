"""Long bodies, event streams and websockets: nothing is kept, and nothing is late."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import threading
from pathlib import Path

import httpx
import pytest
import websockets

from strongroom.agents._proxy import server
from support.agents.upstream import Answer, accept_websocket, echo_messages
from support.agents.workers import VALUE, read_all

MIB = 1 << 20
LONG = 32
"""MiB of a long body."""

KEPT = 24 * MIB
"""The most by which the memory of the proxy may grow."""


@pytest.fixture
def client(door):
    with httpx.Client(proxy=door.url, verify=door.tls, timeout=60) as made:
        made.headers["authorization"] = f"Bearer {door.placeholder}"
        yield made


def peak(door):
    """The most memory that the proxy has had, in bytes."""
    status = Path(f"/proc/{door.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def test_long_answer_is_not_kept(door, client, upstream):
    part = (f"some text {VALUE} and " + "more " * 2000).encode()
    part += b"." * (MIB - len(part))
    upstream.answer = lambda _: Answer(body=[part] * 8)
    client.get(upstream.origin)
    upstream.answer = lambda _: Answer(body=[part] * LONG)
    before, size, expected = peak(door), 0, hashlib.sha256()
    for _ in range(LONG):
        expected.update(part.replace(VALUE.encode(), door.placeholder.encode()))
    received = hashlib.sha256()
    with client.stream("GET", upstream.origin) as answer:
        for some in answer.iter_raw():
            size += len(some)
            received.update(some)
    assert size == LONG * len(part.replace(VALUE.encode(), door.placeholder.encode()))
    assert received.digest() == expected.digest()
    assert peak(door) - before < KEPT


def test_long_body_is_not_kept(door, client, upstream):
    client.post(upstream.origin, content=(b"x" * MIB for _ in range(8)))
    before = peak(door)
    answer = client.post(upstream.origin, content=(b"x" * MIB for _ in range(LONG)))
    assert answer.status_code == 200
    assert upstream.requests[-1].size == LONG * MIB
    assert peak(door) - before < KEPT


def test_answer_is_not_kept_for_a_worker_that_does_not_read(door, client, upstream):
    sent = []

    def parts():
        for number in range(LONG):
            sent.append(number)
            yield b"x" * MIB

    upstream.answer = lambda _: Answer(body=parts())
    before = peak(door)
    with client.stream("GET", upstream.origin) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        client_of_another = httpx.Client(proxy=door.url, verify=door.tls, timeout=60)
        upstream.answer = lambda _: Answer(body=b"other")
        with client_of_another:  # the upstream has had time to send all
            for _ in range(20):
                client_of_another.get(upstream.origin)
        assert len(sent) < LONG
        assert sum(map(len, chunks)) > (LONG - 1) * MIB
    assert peak(door) - before < KEPT


def test_body_of_a_refused_request_is_not_kept(door, client, upstream):
    before = peak(door)
    answer = client.post(f"{upstream.origin}/?key={door.placeholder}", content=(b"x" * MIB for _ in range(LONG)))
    assert answer.status_code == 403
    assert upstream.requests == []
    assert peak(door) - before < KEPT


def test_events_are_not_late(client, upstream):
    asked, seen = [], [threading.Event() for _ in range(3)]

    async def events():
        for number in range(3):
            if number:  # the client has seen the event before
                await asyncio.to_thread(seen[number - 1].wait)
            yield f"data: {number} {VALUE}\n\n".encode()

    upstream.answer = lambda _: Answer(headers=[("content-type", "text/event-stream")], body=events())
    with client.stream("GET", upstream.origin) as answer:
        for line in answer.iter_lines():
            if line:
                assert VALUE not in line
                seen[len(asked)].set()
                asked.append(line)
    assert [line[:7] for line in asked] == ["data: 0", "data: 1", "data: 2"]


@pytest.mark.parametrize("first", ["103 Early Hints", "102 Processing", "100 Continue", "199 x"])
def test_answer_after_an_informational_one_ends(door, upstream, first):
    """The informational one is dropped."""
    early = f"HTTP/1.1 {first}\r\nLink: <{VALUE}>\r\n\r\n" * 2
    upstream.answer = lambda _: Answer(raw=f"{early}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".encode())
    with httpx.Client(proxy=door.url, verify=door.tls, timeout=20) as client:
        answer = client.get(upstream.origin)
    assert (answer.status_code, answer.text, "link" in answer.headers) == (200, "ok", False)


def test_answer_and_request_with_trailers_end(door, upstream):
    """The trailers are dropped."""
    upstream.answer = lambda request: Answer(body=[request.body], trailers=[("x-key", VALUE)])
    target = f"localhost:{upstream.port}"
    head = f"POST / HTTP/1.1\r\nHost: {target}\r\nTransfer-Encoding: chunked\r\n"
    body = "\r\n2\r\nok\r\n0\r\nX-Key: a\r\n\r\n"
    with door.tunnel(target) as tunnel:
        tunnel.settimeout(20)
        tunnel.sendall((head + body).encode())
        while not (answer := tunnel.recv(65536)).endswith(b"0\r\n\r\n"):
            pass
        tunnel.sendall(f"{head}Connection: close\r\n{body}".encode())  # the connection is still in use
        second = read_all(tunnel)
    assert answer.endswith(b"2\r\nok\r\n0\r\n\r\n") or answer == b"0\r\n\r\n"
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.endswith(b"2\r\nok\r\n0\r\n\r\n")
    assert len(upstream.requests) == 2


def test_answer_that_breaks_off_does_not_look_whole(client, upstream):
    def broken():
        yield b"x" * 1000
        raise OSError("gone")

    upstream.answer = lambda _: Answer(body=broken())
    with pytest.raises(httpx.HTTPError):
        client.get(upstream.origin)


def test_messages_of_a_websocket_are_redacted(door, upstream):
    upstream.answer = lambda request: accept_websocket(request, echo_messages(VALUE))

    async def talk():
        headers = {"authorization": f"Bearer {door.placeholder}"}
        url = upstream.origin.replace("https", "wss")
        async with websockets.connect(url, proxy=door.url, ssl=door.tls, additional_headers=headers) as connection:
            answers = []
            for text in ("one", "two"):
                await connection.send(text)
                answers.append(await connection.recv())
            before, long = peak(door), "x" * 100_000
            for _ in range(200):
                await connection.send(long)
                await connection.recv()
            return answers, peak(door) - before

    answers, grown = asyncio.run(talk())
    assert upstream.requests[0].header("authorization") == f"Bearer {VALUE}"
    assert answers == [f"{door.placeholder} one", f"{door.placeholder} two"]
    assert grown < KEPT


def test_upgrade_to_another_protocol_ends_the_connection(door, upstream):
    async def serve(reader, writer):
        writer.write(VALUE.encode())
        await writer.drain()

    upstream.answer = lambda _: Answer(101, [("upgrade", "other"), ("connection", "Upgrade")], upgrade=serve)
    target = f"localhost:{upstream.port}"
    answer = door.raw(
        target, f"GET / HTTP/1.1\r\nHost: {target}\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n".encode()
    )
    assert VALUE.encode() not in answer


def test_the_end_of_an_answer_does_not_wait_for_an_acknowledgment():
    """Which takes 40 ms: the parts of an answer are sent at once."""

    async def option_of_a_connection():
        found = asyncio.get_running_loop().create_future()

        class Instance:
            async def handle_stream(self, reader, writer):
                found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                writer.close()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with await server._listen(listener, Instance()):
                _, writer = await asyncio.open_connection(*listener.getsockname())
                writer.close()
                return await found

    assert asyncio.run(option_of_a_connection())
