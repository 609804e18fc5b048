"""A hook of the proxy that raises: the request is refused or its connection closed, and no value is delivered."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading

import httpx
import pytest
import websockets

from strongroom import SecretsManager
from strongroom._config import discovery
from strongroom.agents import session
from strongroom.agents._proxy import flows, server
from strongroom.agents._proxy.setup import Setup
from strongroom.agents.session import AgentSession, SessionEnd
from support.agents.upstream import Answer, accept_websocket, echo_messages
from support.agents.workers import VALUE, read_answer, rule

# mitmproxy runs in this process, and leaves connections that are cut to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


END = SessionEnd(10**9)


class Running:
    """A proxy in this process until `END`, for a `with` block."""

    def __init__(self, config):
        self._manager = SecretsManager.from_config(config)
        self._setup = Setup(self._manager, END)
        self.session, self.authority = self._setup.session, self._setup.authorities[0]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._serving = self._setup.serving(lambda: [self._listener], lambda *_: None)
        self._serving.__enter__()
        return self

    def __exit__(self, *_):
        self._serving.__exit__(None, None, None)
        self._manager.close()

    @property
    def placeholder(self):
        return self.session.environment["OPENAI_API_KEY"]


@pytest.fixture(scope="module")
def running(served, upstream_file, tmp_path_factory):
    file = tmp_path_factory.mktemp("running") / "strongroom.toml"
    file.write_text(
        'chain = ["env"]\n'
        + rule([f"localhost:{served.port}"], secret="worker/app#token", where=["header:authorization", "body:key"])
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WORKER_APP_TOKEN", VALUE)
        patched.setenv("SSL_CERT_FILE", str(upstream_file))
        with Running(discovery.load(config_file=file, environment=None)) as made:
            yield made


@pytest.fixture
def tls(running, tmp_path):
    file = tmp_path / "authority.pem"
    file.write_bytes(running.authority.pem)
    return ssl.create_default_context(cafile=file)


@pytest.fixture
def client(running, tls):
    with httpx.Client(proxy=running.url, verify=tls, timeout=60) as made:
        made.headers["authorization"] = f"Bearer {running.placeholder}"
        yield made


def fail(*_, **__):
    raise RuntimeError(VALUE)


def outcome(client, upstream, **options):
    """Return the status of the answer, or 0 without one. Fail if the value is in the answer."""
    try:
        answer = client.post(upstream.origin, json={"key": "x"}, **options)
    except httpx.HTTPError:
        return 0
    assert VALUE not in answer.text + str(answer.headers)
    return answer.status_code


def test_no_failure_delivers_the_value(client, upstream):
    assert outcome(client, upstream) == 200
    assert upstream.requests[0].header("authorization") == f"Bearer {VALUE}"


@pytest.mark.parametrize("step", ["_check_form", "apply_head", "decoded"])
def test_failure_before_the_request_is_sent(monkeypatch, client, upstream, step):
    monkeypatch.setattr(flows, step, fail)
    assert outcome(client, upstream) in {0, 502}
    assert upstream.requests == []


def test_failure_of_the_session(monkeypatch, client, upstream):
    monkeypatch.setattr(AgentSession, "begin", fail)
    assert outcome(client, upstream) == 502
    assert upstream.requests == []


@pytest.mark.parametrize("step", ["replace_body", "answer", "feed", "finish", "end"])
def test_failure_of_an_exchange(monkeypatch, client, upstream, step):
    monkeypatch.setattr(server.Exchange, step, fail)
    assert outcome(client, upstream) in ({0, 200} if step == "end" else {0, 502})
    assert len(upstream.requests) == (step != "replace_body")


def test_failure_in_the_middle_of_an_answer_ends_it(monkeypatch, client, upstream):
    async def endless():
        while True:
            yield f"{VALUE}\n".encode() * 100
            await asyncio.sleep(0.01)

    upstream.answer = lambda _: Answer(body=endless())
    monkeypatch.setattr(server.Exchange, "feed", fail)
    assert outcome(client, upstream) == 0


@pytest.mark.parametrize("hook", ["next_layer", "http_connect", "requestheaders", "request", "responseheaders"])
def test_each_hook_fails_closed(running, upstream, tls, hook):
    broken = server._fails_closed(fail)
    before = getattr(server.Addon, hook)
    setattr(server.Addon, hook, broken)
    try:
        with httpx.Client(proxy=running.url, verify=tls, timeout=60) as client:
            client.headers["authorization"] = f"Bearer {running.placeholder}"
            assert outcome(client, upstream) in {0, 502}
    finally:
        setattr(server.Addon, hook, before)


def test_every_hook_is_wrapped():
    hooks = [name for name, made in vars(server.Addon).items() if callable(made) and not name.startswith("_")]
    assert len(hooks) > 8
    for name in hooks:
        if name != "refuse_after_failure":
            assert hasattr(getattr(server.Addon, name), "__wrapped__"), name


def test_body_is_not_kept_while_the_chain_is_asked(monkeypatch, running, upstream, tls):
    asked, begin = threading.Event(), AgentSession.begin
    monkeypatch.setattr(AgentSession, "begin", lambda *given: asked.wait(60) and begin(*given))
    target, size, sent = f"localhost:{upstream.port}", 64 << 20, 0
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2]))) as connection:
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert b" 200 " in read_answer(connection)
        with tls.wrap_socket(connection, server_hostname="localhost") as tunnel:
            tunnel.sendall(f"POST / HTTP/1.1\r\nHost: {target}\r\nContent-Length: {size}\r\n\r\n".encode())
            tunnel.settimeout(1)
            try:
                while sent < size:
                    sent += tunnel.send(b"x" * 65536)
            except TimeoutError:
                pass
            assert sent < size // 2
            asked.set()
            tunnel.settimeout(60)


def test_failure_of_a_message_drops_it(monkeypatch, running, upstream, tls):
    upstream.answer = lambda request: accept_websocket(request, echo_messages(VALUE))
    monkeypatch.setattr(server.Exchange, "message", fail)

    async def talk():
        headers = {"authorization": f"Bearer {running.placeholder}"}
        url = upstream.origin.replace("https", "wss")
        async with websockets.connect(url, proxy=running.url, ssl=tls, additional_headers=headers) as connection:
            await connection.send("one")
            return await connection.recv()

    with pytest.raises(websockets.ConnectionClosed):
        asyncio.run(talk())


def test_logs_have_no_value(caplog, client, upstream):
    caplog.set_level(1)
    assert outcome(client, upstream) == 200
    assert VALUE not in caplog.text


def test_connection_of_a_refused_tunnel_can_be_used_again(running):
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: 10.0.0.1:443\r\n\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 403")


def test_a_worker_that_outlives_its_session_is_refused(monkeypatch, client, running, upstream, tls):
    """In an open tunnel, and with a new one."""
    assert outcome(client, upstream) == 200
    monkeypatch.setattr(session, "boot_time", lambda: float("inf"))
    answer = client.get(upstream.origin)
    assert (answer.status_code, answer.text) == (403, f"The session ended at {END.at:%Y-%m-%d %H:%M} UTC\n")
    with pytest.raises(httpx.ProxyError, match="403"):
        httpx.get(upstream.origin, proxy=running.url, verify=tls, timeout=60)
    assert len(upstream.requests) == 1
