"""An upstream that echoes the value: in every form and encoding that the page lists, in heads, streams and messages."""

from __future__ import annotations

import asyncio
import base64
import gzip
import html
import json
import threading
import zlib
from urllib.parse import quote, quote_plus

import httpx
import pytest
import websockets
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from strongroom.agents.session import COMPRESSED
from support.agents.upstream import Answer, accept_websocket

VALUE = "sk-canary\"1<2>3&4'5/6+7=8 9%a\\b?c>>>???~~~`!*(d)"
"""A value with the characters that writers escape. Its base64 differs between the alphabets."""

CONTENT = VALUE.encode()


def within_base64(offset, encode):
    return encode(b"\0" * offset + CONTENT + b"\0" * (-(offset + len(CONTENT)) % 3)).decode()


def lower(text):
    """Return percent escapes in lower case, as some programs write them."""
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


FORMS = {
    "plain": VALUE,
    **{f"base64 {offset}": within_base64(offset, base64.b64encode) for offset in range(3)},
    **{f"base64url {offset}": within_base64(offset, base64.urlsafe_b64encode) for offset in range(3)},
    "percent": quote(VALUE, safe=""),
    "percent of a path": quote(VALUE),
    "percent of a form": quote_plus(VALUE),
    "percent in lower case": lower(quote(VALUE, safe="")),
    "json": json.dumps(VALUE)[1:-1],
    "json with slashes": json.dumps(VALUE)[1:-1].replace("/", "\\/"),
    "json of Go": json.dumps(VALUE)[1:-1].replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
    "html": html.escape(VALUE),
    "html without quotes": html.escape(VALUE, quote=False),
    "html of Go": html.escape(VALUE).replace("&quot;", "&#34;").replace("&#x27;", "&#39;").replace("+", "&#43;"),
}


def significant(form):
    """Return what a form shows of the value. In base64, the characters at both ends may be of the bytes around."""
    return form[4:-4] if form in {FORMS[name] for name in FORMS if name.startswith("base64")} else form


def assert_hidden(text):
    for name, form in FORMS.items():
        assert significant(form) not in text, name


def test_the_forms_differ():
    assert len(set(FORMS.values())) >= len(FORMS) - 1
    assert within_base64(0, base64.b64encode) != within_base64(0, base64.urlsafe_b64encode)


@pytest.fixture(scope="module")
def door(operator):
    with operator.worker(environ={"OPENAI_API_KEY": VALUE}) as running:
        yield running


@pytest.fixture
def client(door):
    with httpx.Client(proxy=door.url, verify=door.tls, timeout=30) as made:
        made.headers["authorization"] = f"Bearer {door.placeholder}"
        yield made


@pytest.mark.parametrize("headers", [[], [("content-encoding", "identity")]], ids=["none", "identity"])
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_a_body_shows_no_form(client, upstream, headers, size):
    text = "".join(f"[{name}: {form}]\n" for name, form in FORMS.items())
    body = f"begin {text} end".encode()
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    upstream.answer = lambda _: Answer(headers=headers, body=parts)
    answer = client.get(upstream.origin).text
    assert_hidden(answer)
    assert (answer[:6], answer[-4:]) == ("begin ", " end")
    assert answer.count("[") == len(FORMS)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("user", ["", "u", "us", "use"])
def test_credentials_of_basic_authentication_come_back_as_those_of_the_placeholder(client, upstream, user, encode):
    key = client.headers["authorization"].removeprefix("Bearer ")
    upstream.answer = lambda _: Answer(body=encode(f"{user}{VALUE}:x".encode()))
    assert client.get(upstream.origin).content == encode(f"{user}{key}:x".encode())


@pytest.mark.parametrize(
    "encodings",
    [["gzip"], ["X-Gzip"], ["identity, gzip"], ["identity", "gzip"], ["identity, x"], [VALUE]],
    ids=["gzip", "x-gzip", "list", "two headers", "unknown", "value"],
)
@pytest.mark.parametrize("body", [b"", CONTENT, gzip.compress(CONTENT)], ids=["empty", "plain", "gzip"])
def test_a_compressed_body_is_refused(client, upstream, encodings, body):
    """It may only claim to be compressed. The worker gets neither it nor its encoding, which may be the value."""
    headers = [("content-encoding", encoding) for encoding in encodings]
    upstream.answer = lambda _: Answer(headers=[*headers, ("x-key", VALUE)], body=body)
    answer = client.get(upstream.origin, headers={"accept-encoding": "gzip"})
    assert (answer.status_code, answer.text) == (502, f"{COMPRESSED}\n")
    assert set(answer.headers) <= {"content-type", "content-length", "connection"}


@pytest.mark.parametrize("status", [200, 304])
def test_the_head_of_a_compressed_answer_does_not_tell_its_length(client, upstream, status):
    headers = [("content-encoding", "identity, gzip"), ("content-length", "99"), ("etag", '"1"'), ("x-key", VALUE)]
    upstream.answer = lambda _: Answer(status, headers, body=[])
    answer = client.head(upstream.origin, headers={"accept-encoding": "gzip"})
    assert (answer.status_code, answer.headers["etag"]) == (status, '"1"')
    assert answer.headers["x-key"] == client.headers["authorization"].removeprefix("Bearer ")
    assert {"content-length", "content-encoding"}.isdisjoint(answer.headers)


def test_no_trailer_names_an_encoding(door, upstream):
    """A trailer comes after the answer has begun to pass."""
    raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Encoding\r\n\r\n"
    raw += f"{len(CONTENT):x}\r\n{VALUE}\r\n0\r\nContent-Encoding: gzip\r\n\r\n"
    upstream.answer = lambda _: Answer(raw=raw.encode())
    target = f"localhost:{upstream.port}"
    answer = door.raw(target, f"GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode())
    body = answer.partition(b"\r\n\r\n")[2]
    assert door.placeholder.encode() in body
    assert b"gzip" not in body


def test_the_upstream_is_asked_for_the_whole_uncompressed(client, upstream):
    client.get(upstream.origin, headers={"accept-encoding": "gzip, identity;q=0", "range": "bytes=3-"})
    client.headers.pop("accept-encoding")
    client.get(upstream.origin)
    assert [request.header("accept-encoding") for request in upstream.requests] == ["identity"] * 2
    assert upstream.requests[0].header("range") == ""


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "identity"])
def test_a_transfer_coding_other_than_chunked_is_refused(door, upstream, coding):
    content = gzip.compress(CONTENT)
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    raw = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n".encode() + chunks
    upstream.answer = lambda _: Answer(raw=raw)
    target = f"localhost:{upstream.port}"
    request = f"GET / HTTP/1.1\r\nHost: {target}\r\nTE: gzip\r\nConnection: TE, close\r\n\r\n".encode()
    answer = door.raw(target, request)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert answer.endswith(b"The answer has a transfer coding other than chunked\n")
    assert upstream.requests[0].header("te") == ""


@pytest.mark.parametrize("status", [200, 302, 401, 500])
def test_headers_show_no_form(client, upstream, status):
    headers = [(f"x-{at}", form) for at, form in enumerate(FORMS.values())]
    headers += [
        ("set-cookie", f"key={quote(VALUE, safe='')}; Secure; HttpOnly"),
        ("location", f"https://other.example.com/?key={quote_plus(VALUE)}"),
        ("link", f"</{quote(VALUE)}>; rel=next"),
        ("etag", f'"{within_base64(1, base64.b64encode)}"'),
        ("www-authenticate", f"Bearer realm={VALUE}"),
        ("content-type", f"text/plain; key={VALUE}"),
    ]
    upstream.answer = lambda _: Answer(status, headers)
    answer = client.get(upstream.origin)
    assert answer.status_code == status
    assert len(answer.headers) >= len(headers)
    assert_hidden("\n".join(answer.headers.values()))


def test_a_value_over_two_parts_of_a_stream_is_found_and_no_event_is_late(client, upstream):
    seen = threading.Event()

    async def events():
        yield b"data: one\n\ndata: "
        yield CONTENT[:20]
        assert await asyncio.to_thread(seen.wait, 60)
        yield CONTENT[20:] + b"\n\ndata: two\n\n"

    upstream.answer = lambda _: Answer(headers=[("content-type", "text/event-stream")], body=events())
    with client.stream("GET", upstream.origin) as answer:
        lines = []
        for line in answer.iter_lines():
            lines += [line] if line else []
            seen.set()
    assert lines == ["data: one", f"data: {client.headers['authorization'].removeprefix('Bearer ')}", "data: two"]


class Speaker:
    """A websocket of the upstream that sends some events at the first message, and keeps those that it gets."""

    def __init__(self, *events):
        self._events = events
        self.received = []

    def answer(self, request):
        return accept_websocket(request, self._serve)

    async def _serve(self, reader, writer):
        connection = Connection(ConnectionType.SERVER)
        while data := await reader.read(65536):
            connection.receive_data(data)
            for event in connection.events():
                self.received.append(event)
                if isinstance(event, CloseConnection):
                    writer.write(connection.send(event.response()))
                    return
                if isinstance(event, TextMessage | BytesMessage):
                    for sent in self._events:
                        writer.write(connection.send(sent))
            await writer.drain()


def talk(door, upstream, speaker, count=1, **options):
    """Send one message, and return the messages that come, and how the connection ends."""
    upstream.answer = speaker.answer

    async def run():
        headers = {"authorization": f"Bearer {door.placeholder}"}
        url = upstream.origin.replace("https", "wss")
        async with websockets.connect(
            url, proxy=door.url, ssl=door.tls, additional_headers=headers, **options
        ) as connection:
            await connection.send(f"key {door.placeholder}")
            messages = [await connection.recv() for _ in range(count)]
            if not count:
                await connection.wait_closed()
            return messages, connection.close_reason

    return asyncio.run(run())


def test_messages_show_no_form(door, upstream):
    text = "\n".join(FORMS.values())
    fragments = [TextMessage(data=text[at : at + 9], message_finished=False) for at in range(0, len(text), 9)]
    speaker = Speaker(*fragments, TextMessage(data="end"), BytesMessage(data=text.encode()))
    (first, second), _ = talk(door, upstream, speaker, 2)
    assert first.endswith("end")
    assert_hidden(first)
    assert_hidden(second.decode())
    assert upstream.requests[0].header("authorization") == f"Bearer {VALUE}"
    assert upstream.requests[0].header("sec-websocket-extensions") == ""  # which the client offers


def compressed_frame(content):
    """Return a compressed message as an extension of the websocket, permessage-deflate, has it: with the bit RSV1."""
    packer = zlib.compressobj(wbits=-15)
    packed = (packer.compress(content) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
    return bytes((0xC1, len(packed))) + packed


@pytest.mark.parametrize("named", [["permessage-deflate"], ["x, permessage-deflate"], []], ids=["one", "list", "none"])
def test_a_compressed_message_is_not_relayed(door, upstream, named):
    async def serve(reader, writer):
        await reader.read(65536)
        writer.write(compressed_frame(CONTENT))
        await writer.drain()
        await reader.read(65536)

    def answer(request):
        answer = accept_websocket(request, serve)
        answer.headers += [("sec-websocket-extensions", name) for name in named]
        return answer

    upstream.answer = answer
    target = f"localhost:{upstream.port}"
    offer = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate"
    key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    ping = b"\x89\x80\0\0\0\0"
    received = door.raw(target, f"GET / HTTP/1.1\r\nHost: {target}\r\n{key}\r\n{offer}\r\n\r\n".encode() + ping)
    head, _, frames = received.partition(b"\r\n\r\n")
    if named:
        assert head.startswith(b"HTTP/1.1 502 ")
        assert frames == b"The answer has an extension of the websocket, for which the request did not ask\n"
    else:
        assert head.startswith(b"HTTP/1.1 101 ")
        assert frames == b"\x88\x02" + (1002).to_bytes(2, "big")  # a close for a bit that nothing explains


def test_a_message_gets_no_value(door, upstream):
    speaker = Speaker(TextMessage(data="x"))
    talk(door, upstream, speaker)
    assert speaker.received[0].data == f"key {door.placeholder}"


def test_the_reason_of_a_close_shows_no_form(door, upstream):
    _, reason = talk(door, upstream, Speaker(CloseConnection(code=4000, reason=VALUE)), 0)
    assert reason == door.placeholder


def test_frames_that_cannot_be_read_are_not_quoted(door, upstream):
    async def serve(reader, writer):
        await reader.read(65536)
        writer.write(b"\x81\x03ab\xff")  # a text that is not UTF-8
        await writer.drain()

    upstream.answer = lambda request: accept_websocket(request, serve)

    async def run():
        url = upstream.origin.replace("https", "wss")
        async with websockets.connect(url, proxy=door.url, ssl=door.tls) as connection:
            await connection.send("x")
            await connection.wait_closed()
            return connection.close_code, connection.close_reason

    assert asyncio.run(run()) == (1007, "")


def test_a_ping_shows_no_form(door, upstream):
    speaker = Speaker(Ping(payload=CONTENT), TextMessage(data="x"))
    talk(door, upstream, speaker)
    assert [event.payload for event in speaker.received if isinstance(event, Pong)] == [door.placeholder.encode()]
