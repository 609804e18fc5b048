"""Clients in the process: the worker's objects hold the placeholder, and the API gets the value."""

import asyncio
import json
import logging
import re
import ssl
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import quote

import certifi
import httpx
import httpx2
import pytest
import requests
import urllib3

from strongroom import errors, events
from strongroom.agents import (
    async_httpx2_transport,
    async_httpx_transport,
    httpx2_transport,
    httpx_transport,
    open_session,
    requests_adapter,
)
from support.clock import LONG
from support.scenarios.agent_rules import PATH, VALUE
from support.scenarios.exposure import shown_by


class Answer(NamedTuple):
    """The answer that a client returned."""

    status: int
    headers: Any
    text: str
    response: Any


class Sync:
    """A client of httpx or httpx2."""

    def __init__(self, library, transport):
        self.library, self.transport = library, transport
        self.failures = library.ConnectError, library.RemoteProtocolError

    def client(self, session, trust, **options):
        context = ssl.create_default_context(cafile=trust)
        return self.library.Client(transport=self.transport(session, self.library.HTTPTransport(verify=context)))

    def ask(self, session, trust, method, url, *, follow=False, **options):
        with self.client(session, trust) as client:
            response = client.request(method, url, follow_redirects=follow, timeout=LONG, **options)
        return Answer(response.status_code, response.headers, response.text, response)

    def parts(self, session, trust, url, headers, after_first=lambda: None):
        found = []
        with self.client(session, trust) as client, client.stream("GET", url, headers=headers) as response:
            for part in response.iter_bytes():
                found.append(part)
                if after_first() is StopIteration:
                    break
        return found


class Async:
    """An asynchronous client of httpx or httpx2."""

    def __init__(self, library, transport):
        self.library, self.transport = library, transport
        self.failures = library.ConnectError, library.RemoteProtocolError

    def client(self, session, trust):
        inner = self.library.AsyncHTTPTransport(verify=ssl.create_default_context(cafile=trust))
        return self.library.AsyncClient(transport=self.transport(session, inner))

    def ask(self, session, trust, method, url, *, follow=False, content=None, **options):
        if content is not None and not isinstance(content, bytes):
            content = each(content)

        async def run():
            async with self.client(session, trust) as client:
                return await client.request(
                    method, url, follow_redirects=follow, timeout=LONG, content=content, **options
                )

        response = asyncio.run(run())
        return Answer(response.status_code, response.headers, response.text, response)

    def parts(self, session, trust, url, headers, after_first=lambda: None):
        async def run():
            found = []
            async with self.client(session, trust) as client, client.stream("GET", url, headers=headers) as response:
                async for part in response.aiter_bytes():
                    found.append(part)
                    if after_first() is StopIteration:
                        break
            return found

        return asyncio.run(run())


async def each(parts):
    for part in parts:
        await asyncio.sleep(0)
        yield await asyncio.to_thread(next, iter([part]))


class Requests:
    """A session of requests."""

    failures = (requests.ConnectionError, requests.ConnectionError)

    def client(self, session, trust):
        client = requests.Session()
        client.verify, client.trust_env = str(trust), False
        for scheme in ("https://", "http://"):
            client.mount(scheme, requests_adapter(session))
        return client

    def ask(self, session, trust, method, url, *, follow=False, content=None, **options):
        with self.client(session, trust) as client:
            response = client.request(method, url, allow_redirects=follow, data=content, timeout=LONG, **options)
        return Answer(response.status_code, response.headers, response.text, response)

    def parts(self, session, trust, url, headers, after_first=lambda: None):
        found = []
        with self.client(session, trust) as client, client.get(url, headers=headers, stream=True) as response:
            for part in response.iter_content(1 << 16):
                found.append(part)
                if after_first() is StopIteration:
                    break
        return found


CLIENTS = {
    "httpx": Sync(httpx, httpx_transport),
    "httpx2": Sync(httpx2, httpx2_transport),
    "async httpx": Async(httpx, async_httpx_transport),
    "async httpx2": Async(httpx2, async_httpx2_transport),
    "requests": Requests(),
}
each_client = pytest.mark.parametrize("client", list(CLIENTS.values()), ids=list(CLIENTS))


@pytest.fixture
def uses():
    """The events of uses, as they come."""
    found = []
    stop = events.listen(lambda event: found.append(event) if event.kind is events.EventKind.USE else None)
    yield found
    stop()


def with_key(session):
    return {"X-Key": session.placeholder("openai")}


@each_client
def test_the_value_is_sent_and_the_placeholder_kept(client, api, trust, manager):
    """In the request of the response too, and in the echo of the API: its body, a header and a cookie."""
    session = open_session(manager())
    placeholder = session.placeholder("openai")
    answer = client.ask(session, trust, "POST", f"{api.url}/v1?a=%2F&b", headers=with_key(session), content=b"hello")
    ((line, headers, body),) = api.requests
    assert line == "POST /v1?a=%2F&b HTTP/1.1"
    assert (headers["X-Key"], headers["Host"], body) == (VALUE, api.host, b"hello")
    assert answer.response.request.headers["X-Key"] == placeholder
    assert dict(json.loads(answer.text)["headers"])["X-Key"] == placeholder
    assert answer.headers["X-Echo"] == placeholder
    assert answer.response.cookies["seen"] == placeholder
    assert str(answer.response.url) == f"{api.url}/v1?a=%2F&b"


@each_client
def test_a_compressed_answer_comes_decoded(client, api, trust, manager):
    session = open_session(manager())
    answer = client.ask(session, trust, "GET", f"{api.url}/?gzip=1", headers=with_key(session))
    assert dict(json.loads(answer.text)["headers"])["X-Key"] == session.placeholder("openai")
    assert "Content-Encoding" not in answer.headers


@each_client
def test_a_value_in_the_query_is_not_in_the_url_of_the_response(client, api, trust, manager):
    session = open_session(manager(where=["query"]))
    url = f"{api.url}/search?key={session.placeholder('openai')}"
    answer = client.ask(session, trust, "GET", url)
    assert api.requests[0][0] == f"GET /search?key={quote(VALUE, safe='')} HTTP/1.1"
    assert str(answer.response.url) == str(answer.response.request.url) == url
    assert quote(VALUE, safe="") not in answer.text


@each_client
def test_a_placeholder_in_a_field_of_the_body_is_replaced(client, api, trust, manager):
    session = open_session(manager(where=["body:key"]))
    content = json.dumps({"key": session.placeholder("openai"), "text": "hello"}).encode()
    headers = {"Content-Type": "application/json"}
    answer = client.ask(session, trust, "POST", f"{api.url}/v1", headers=headers, content=content)
    assert answer.status == 200
    assert json.loads(api.requests[0][2]) == {"key": VALUE, "text": "hello"}
    assert answer.response.request.headers["Content-Length"] == str(len(content))


@each_client
def test_a_body_that_is_too_large_to_look_into_is_refused(client, api, trust, manager):
    session = open_session(manager(where=["body:key"]))
    made = []
    parts = (made.append(number) or b"x" * (1 << 20) for number in range(1000))
    headers = {"Content-Type": "application/json"}
    answer = client.ask(session, trust, "POST", f"{api.url}/v1", headers=headers, content=parts)
    assert (answer.status, answer.text) == (
        413,
        "A body into which a rule may put a secret has at most 8 MiB\n",
    )
    assert len(made) < 20
    assert api.requests == []


@each_client
def test_a_body_is_sent_part_by_part(client, api, trust, manager):
    """Each part of it has arrived before the next one is made."""
    session = open_session(manager())

    def parts():
        for _ in range(3):
            yield b"part"
            assert api.part.acquire(timeout=LONG)

    answer = client.ask(session, trust, "POST", f"{api.url}/v1", headers=with_key(session), content=parts())
    assert (answer.status, api.requests[0][2]) == (200, b"partpartpart")


@each_client
def test_events_of_a_stream_come_without_delay(client, api, trust, manager):
    """The API sends the second one only after the first has come."""
    session = open_session(manager())
    parts = client.parts(session, trust, f"{api.url}/stream", with_key(session), api.gate.set)
    placeholder = session.placeholder("openai")
    assert b"".join(parts).decode() == f"data: 1 {placeholder}\n\ndata: 2 {placeholder}\n\n"
    assert len(parts) >= 2


@each_client
def test_a_host_without_a_rule_gets_the_placeholder(client, other, trust, manager):
    session = open_session(manager())
    answer = client.ask(session, trust, "GET", f"{other.url}/", headers=with_key(session))
    assert answer.status == 200
    assert other.requests[0][1]["X-Key"] == session.placeholder("openai")


@each_client
def test_a_redirect_to_another_host_carries_no_value(client, api, other, trust, manager):
    session = open_session(manager())
    url = f"{api.url}/redirect?to={other.url}/"
    answer = client.ask(session, trust, "GET", url, headers=with_key(session), follow=True)
    assert answer.status == 200
    assert VALUE in api.wire
    assert VALUE not in other.wire


@each_client
def test_a_redirect_is_checked_as_any_request(client, api, trust, manager):
    session = open_session(manager(paths=["/redirect"]))
    url = f"{api.url}/redirect?to=/admin"
    answer = client.ask(session, trust, "GET", url, headers=with_key(session), follow=True)
    assert (answer.status, answer.text) == (403, "The rule openai allows the paths /redirect\n")
    assert len(api.requests) == 1


@pytest.mark.parametrize("client", [CLIENTS[name] for name in CLIENTS if name != "requests"])
def test_a_target_beside_the_url_is_checked_and_sent(client, api, trust, manager):
    """httpcore takes the target of a request from this extension."""
    session = open_session(manager(paths=["/v1/*"]))
    answers = [
        client.ask(session, trust, "GET", f"{api.url}/{path}", headers=with_key(session), extensions={"target": target})
        for path, target in (("v1/x", "/admin"), ("v1/x", b"/v1/../admin"), ("v1/x", b"*"), ("", b"/v1/%61?b=1"))
    ]
    assert [answer.status for answer in answers] == [403, 400, 400, 200]
    assert [line for line, *_ in api.requests] == ["GET /v1/%61?b=1 HTTP/1.1"]


@pytest.mark.parametrize("client", [CLIENTS[name] for name in CLIENTS if name != "requests"])
def test_no_extension_of_a_request_gets_the_values_or_another_name_of_the_host(client, api, trust, manager):
    def trace(_, info):
        raise AssertionError(info)

    session = open_session(manager())
    given = {"trace": trace, "sni_hostname": "other.example"}
    answer = client.ask(session, trust, "GET", f"{api.url}/", headers=with_key(session), extensions=given)
    assert (answer.status, api.requests[0][1]["X-Key"]) == (200, VALUE)


@pytest.mark.parametrize(
    ("method", "url", "sent"),
    [
        ("GET", "/v1/x#/../admin", "GET /v1/x"),
        ("get", "/v1/x", "GET /v1/x"),
        ("GET", "/v1/../admin", 400),
        ("GET", "//v1/x", 400),
        ("GET", "/v1/x/%2e%2e/%2e%2e/admin", 400),
        ("GET", "/admin", 403),
    ],
)
def test_a_prepared_request_of_requests_is_sent_as_it_was_checked(method, url, sent, api, trust, manager):
    """Its attributes can be set after requests has normalized them."""
    session = open_session(manager(paths=["/v1/*"], methods=["GET"]))
    with Requests().client(session, trust) as client:
        prepared = client.prepare_request(requests.Request("GET", f"{api.url}/v1/", headers=with_key(session)))
        prepared.method, prepared.url = method, api.url + url
        answer = client.send(prepared, verify=str(trust), timeout=LONG)
    lines = [line.removesuffix(" HTTP/1.1") for line, *_ in api.requests]
    assert (answer.status_code, lines) == ((200, [sent]) if isinstance(sent, str) else (sent, []))


def test_a_prepared_request_of_requests_goes_to_the_host_that_was_checked(api, other, trust, manager):
    """`requests` and urllib3 read this host differently."""
    session = open_session(manager())
    with Requests().client(session, trust) as client:
        prepared = client.prepare_request(requests.Request("GET", f"{api.url}/", headers=with_key(session)))
        prepared.url = f"https://{other.host}\\@{api.host}/"
        client.send(prepared, verify=str(trust), timeout=LONG)
    assert [headers["X-Key"] for _, headers, _ in api.requests] == [VALUE]
    assert other.requests == []


@each_client
def test_a_request_that_no_rule_allows_is_answered_with_the_reason(client, api, trust, manager):
    session = open_session(manager(methods=["GET"]))
    answer = client.ask(session, trust, "POST", f"{api.url}/", headers=with_key(session))
    assert (answer.status, answer.text) == (403, "The rule openai allows GET, not POST\n")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert api.requests == []


@each_client
def test_a_host_of_a_rule_gets_nothing_without_tls(client, api, trust, manager):
    session = open_session(manager())
    answer = client.ask(session, trust, "GET", f"http://{api.host}/", headers=with_key(session))
    assert (answer.status, answer.text) == (403, "A rule names localhost: send this request with https\n")
    assert api.requests == []


@each_client
def test_another_name_in_the_host_header_is_refused(client, api, trust, manager):
    session = open_session(manager())
    headers = {**with_key(session), "Host": "other.example"}
    answer = client.ask(session, trust, "GET", f"{api.url}/", headers=headers)
    assert answer.status == 400
    assert api.requests == []


@each_client
def test_a_secret_that_the_chain_does_not_have_is_502_with_its_words(client, api, trust, manager):
    secrets = manager()
    session = open_session(secrets)
    secrets.delete_secret(PATH)
    answer = client.ask(session, trust, "GET", f"{api.url}/", headers=with_key(session))
    assert answer.status == 502
    assert answer.text.startswith(f"Secret not found: {PATH} (memory: its newest version is deleted)")
    assert api.requests == []


@each_client
@pytest.mark.parametrize("where", ["header:x-key", "body:key"])
def test_a_use_that_cannot_be_recorded_is_502_without_detail(client, api, trust, manager, where):
    def refuse(event):
        if event.outcome == "started":
            raise errors.AuditError("canary")

    session = open_session(manager(where=[where]))
    headers = with_key(session) if where == "header:x-key" else {"Content-Type": "application/json"}
    content = json.dumps({"key": session.placeholder("openai")}).encode()
    stop = events.audit(refuse)
    try:
        answer = client.ask(session, trust, "POST", f"{api.url}/", headers=headers, content=content)
    finally:
        stop()
    assert (answer.status, answer.text) == (502, "The use of a secret cannot be recorded\n")
    assert api.requests == []


@each_client
@pytest.mark.parametrize(("path", "kind"), [("refused", 0), ("dropped", 1), ("cut", 1)])
def test_a_failure_shows_no_value(client, api, trust, manager, uses, path, kind):
    """Neither its text, nor its request, nor the frames on its way; and the use has ended."""
    session = open_session(manager(where=["query"]))
    if path == "refused":
        api.server_close()
    url = f"{api.url}/{path}?key={session.placeholder('openai')}"
    expected = client.failures[kind]
    if path == "cut" and isinstance(client, Requests):
        expected = requests.exceptions.ChunkedEncodingError
    with pytest.raises(expected) as caught:
        client.ask(session, trust, "GET", url)
    error = caught.value
    assert error.__cause__ is None
    assert path != "refused" or str(error).endswith((": Connection refused", ": Connection reset by peer"))
    if path != "cut" or not isinstance(client, Requests):
        assert str(error.request.url) == url
    shown = shown_by(error, __file__)
    assert VALUE not in shown
    assert quote(VALUE, safe="") not in shown
    assert [event.use.status for event in uses] == [200 if path == "cut" else 0]


@each_client
def test_a_failure_names_the_reason_of_openssl(client, api, manager):
    session = open_session(manager())
    with pytest.raises((client.failures[0], requests.exceptions.SSLError)) as caught:
        client.ask(session, certifi.where(), "GET", api.url)
    assert "certificate verify failed: " in str(caught.value)


@pytest.mark.parametrize("where", ["head", "body"])
@pytest.mark.parametrize("library", [httpx, httpx2, requests], ids=lambda library: library.__name__)
def test_a_failure_shows_no_data_of_the_upstream(library, where, api, manager):
    """Such as the debug data of GOAWAY on HTTP/2, which the libraries print in hex."""
    session = open_session(manager())
    shown = f"<ConnectionTerminated error_code:0, additional_data:{VALUE.encode().hex()}>"

    def fail():
        if library is requests:
            raise requests.ConnectionError(shown) if where == "head" else urllib3.exceptions.ProtocolError(shown)
        raise library.RemoteProtocolError(shown)

    def parts():
        yield b"the beginning"
        fail()

    def ask():
        if library is requests:
            inner = requests.adapters.HTTPAdapter()
            inner.send = lambda *_, **__: fail() if where == "head" else stubbed(parts())
            with requests.Session() as client:
                client.mount("https://", requests_adapter(session, inner))
                return client.get(api.url)
        inner = library.MockTransport(lambda _: fail() if where == "head" else library.Response(200, content=parts()))
        transport = httpx_transport if library is httpx else httpx2_transport
        with library.Client(transport=transport(session, inner)) as client:
            return client.get(api.url)

    with pytest.raises((requests.RequestException, httpx.RemoteProtocolError, httpx2.RemoteProtocolError)) as caught:
        ask()
    assert re.search("The request failed with (RemoteProtocolError|ConnectionError|ProtocolError)$", str(caught.value))
    assert VALUE.encode().hex()[:8] not in shown_by(caught.value, __file__)


def stubbed(parts):
    """A response of requests whose body comes in these parts."""
    answer = requests.Response()
    answer.status_code = 200
    answer.raw = SimpleNamespace(
        headers=urllib3.HTTPHeaderDict(), read1=lambda *_, **__: next(parts), release_conn=int, close=int
    )
    return answer


@each_client
def test_a_failure_shows_no_value_of_a_body(client, api, trust, manager):
    session = open_session(manager(where=["body:key"]))
    content = json.dumps({"key": session.placeholder("openai")}).encode()
    headers = {"Content-Type": "application/json"}
    with pytest.raises(client.failures[1]) as caught:
        client.ask(session, trust, "POST", f"{api.url}/dropped", headers=headers, content=content)
    assert json.loads(api.requests[0][2]) == {"key": VALUE}
    shown = shown_by(caught.value, __file__)
    assert VALUE not in shown
    assert json.dumps(VALUE)[1:-1] not in shown.replace("\\\\", "\\")


@each_client
def test_logs_of_the_libraries_below_show_no_value(client, api, trust, manager, caplog):
    """At DEBUG, with the query of a request and the headers of an answer, for an answer, a cut one and none."""
    session = open_session(manager(where=["query", "header:x-key"]))
    caplog.set_level(logging.DEBUG)
    for path in ("v1", "cut", "dropped"):
        with suppress(*client.failures, requests.exceptions.ChunkedEncodingError):
            url = f"{api.url}/{path}?key={session.placeholder('openai')}"
            client.ask(session, trust, "GET", url, headers=with_key(session))
    assert {VALUE, quote(VALUE, safe="")} <= {line.partition("key=")[2].split()[0] for line, *_ in api.requests} | {
        headers["X-Key"] for _, headers, _ in api.requests
    }
    assert "[redacted]" in caplog.text
    assert VALUE not in caplog.text
    assert quote(VALUE, safe="") not in caplog.text


def test_a_warning_about_a_retry_shows_no_value(api, trust, manager, caplog):
    """urllib3 writes it with the query. The chain has read the value before the session exists."""
    secrets = manager(where=["query"])
    assert secrets.get_secret(PATH, "key") == VALUE
    session = open_session(secrets)
    with Requests().client(session, trust) as client:
        client.mount("https://", requests_adapter(session, requests.adapters.HTTPAdapter(max_retries=1)))
        with pytest.raises(requests.ConnectionError):
            client.get(f"{api.url}/dropped?key={session.placeholder('openai')}", timeout=LONG)
    assert [record.levelname for record in caplog.records if "Retrying" in record.getMessage()] == ["WARNING"]
    assert "/dropped?key=[redacted]" in caplog.text


@pytest.mark.parametrize("package", ["urllib3", "httpcore", "httpcore2", "hpack", "h2", "h11"])
def test_each_logger_of_the_libraries_below_is_filtered(package, manager):
    """A release that adds one fails here."""
    requests_adapter(open_session(manager()))
    folder = Path(pytest.importorskip(package).__file__).parent
    modules = {file.relative_to(folder.parent): file.read_text() for file in folder.rglob("*.py")}
    named = {name for text in modules.values() for name in re.findall(r'getLogger\("(.+?)"\)', text)}
    named |= {".".join(file.with_suffix("").parts) for file, text in modules.items() if "getLogger(__name__)" in text}
    heads = {package, f"{package}.__init__"}  # they write nothing, and `contrib` nothing about a request
    assert [name for name in named - heads if ".contrib." not in name and not logging.getLogger(name).filters] == []


@each_client
def test_a_response_that_is_closed_early_ends_the_use(client, api, trust, manager, uses):
    session = open_session(manager())
    headers = with_key(session)
    assert len(client.parts(session, trust, f"{api.url}/stream", headers, lambda: StopIteration)) == 1
    assert [(event.use.status, event.outcome) for event in uses] == [(200, "200")]


@each_client
def test_an_answer_without_a_body_ends_the_use(client, api, trust, manager, uses):
    session = open_session(manager())
    answer = client.ask(session, trust, "HEAD", f"{api.url}/", headers=with_key(session))
    assert (answer.status, answer.text) == (200, "")
    assert int(answer.headers["Content-Length"]) > 0
    assert [event.use.status for event in uses] == [200]


def test_the_session_reads_the_rules_of_the_default_manager(monkeypatch, tmp_path):
    """`open_session` without a manager is for an application that calls `get_secret`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", VALUE)
    rule = f'[agents.rules.openai]\nsecret = "{PATH}#key"\nvariable = "KEY"\nhosts = ["api.openai.com"]\n'
    (tmp_path / "strongroom.toml").write_text(f'chain = ["env"]\n{rule}')
    from strongroom import secrets_manager

    before = secrets_manager.set_default_manager(None)
    try:
        assert open_session().placeholder("openai").startswith("sk-")
    finally:
        secrets_manager.close()
        secrets_manager.set_default_manager(before)
