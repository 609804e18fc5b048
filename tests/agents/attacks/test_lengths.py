"""A worker that chooses the text of an answer: nothing that it sees depends on how much of a guess is right."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest
import websockets

from support.agents.upstream import Answer, accept_websocket, echo_messages
from support.agents.workers import VALUE

GUESSES = [VALUE[:length] for length in (1, 9, 30, len(VALUE) - 1)]


def wrong(guess):
    """Return another text of the same length."""
    return guess[::-1] if len(guess) > 1 else "~"


def lengths(door, target, guess):
    """Return the length of the head of the answer, and those of its chunks."""
    request = f"POST / HTTP/1.1\r\nHost: {target}\r\nContent-Length: {len(guess)}\r\nConnection: close\r\n\r\n{guess}"
    head, _, body = door.raw(target, request.encode()).partition(b"\r\n\r\n")
    return [len(head), *re.findall(rb"(?:^|\r\n)([0-9a-f]+)\r\n", body)]


@pytest.mark.parametrize(
    "body",
    [
        lambda guess: guess,
        lambda guess: b"x" * 500 + guess,
        lambda guess: b"data: one\n\ndata: " + guess + b"\n\ndata: " + guess,
        lambda guess: b'{"a": 1}\n{"b": "' + guess + b'"}\n',
    ],
    ids=["short", "long", "events", "lines"],
)
def test_an_answer_that_ends_with_a_guess(door, upstream, body):
    upstream.answer = lambda request: Answer(headers=[("x-echo", request.body.decode())], body=[body(request.body)])
    target = f"localhost:{upstream.port}"
    for guess in GUESSES:
        right = lengths(door, target, guess)
        assert right == lengths(door, target, wrong(guess)), guess
        assert len(right) > 1 or len(guess) < 64


def test_messages_of_a_websocket_that_end_with_a_guess(door, upstream):
    upstream.answer = lambda request: accept_websocket(request, echo_messages("x" * 5000))

    async def lengths():
        url = upstream.origin.replace("https", "wss")
        found = []
        async with websockets.connect(url, proxy=door.url, ssl=door.tls, compression=None) as connection:
            for guess in (each for right in GUESSES for each in (right, wrong(right))):
                await connection.send(guess)
                found.append([len(fragment) async for fragment in connection.recv_streaming()])
        return found

    found = asyncio.run(lengths())
    assert found[::2] == found[1::2]


def test_an_answer_comes_no_later_after_a_right_guess(door, upstream):
    """The same part of it comes before the upstream sends more."""
    target = f"localhost:{upstream.port}"
    request = f"GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode()
    for guess in (GUESSES[-1], wrong(GUESSES[-1])):
        seen = threading.Event()

        async def body(guess=guess, seen=seen):
            yield b"~" * 200 + guess.encode()
            assert await asyncio.to_thread(seen.wait, 60)

        upstream.answer = lambda _, body=body: Answer(body=body())
        with door.tunnel(target) as tunnel:
            tunnel.sendall(request)
            answer = b""
            while not answer.endswith(b"~\r\n"):
                answer += tunnel.recv(65536)
            seen.set()
        assert answer.count(b"~") == 200 + len(guess) - 63
