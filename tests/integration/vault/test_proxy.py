"""The fault proxy: it passes on what it should, and does what it was told to."""

import contextlib
import http.client
import json
import socket
import ssl
import time
from urllib.parse import urlsplit

import pytest
import trustme

from support.vault import faults
from support.vault.proxy import FaultProxy


@pytest.fixture
def proxy(openbao):
    with FaultProxy(openbao.url) as proxy:
        yield proxy


@pytest.fixture
def ask(proxy, openbao):
    """Sends requests on one connection, and returns the status and the body."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=60)) as connection:

        def send(method="GET", target="/v1/secret/data/proxy", body=None):
            headers = {"X-Vault-Token": openbao.token}
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            return reply.status, reply.read()

        yield send


@pytest.fixture
def secure():
    """The TLS contexts of a server and of its client."""
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    authority.configure_trust(trusting)
    return serving, trusting


def test_what_meets_no_fault_passes(openbao, proxy, ask):
    """Both ways, also several requests of one connection, and verbs that are Vault's own."""
    assert ask("POST", body={"data": {"k": "v"}})[0] == 200
    assert json.loads(ask()[1])["data"]["data"] == {"k": "v"}
    assert ask("LIST", "/v1/secret/metadata/")[0] == 200
    assert [request.method for request in proxy.requests] == ["POST", "GET", "LIST"]
    assert openbao.token not in repr(proxy.requests)


def test_a_fault_is_for_as_many_requests_as_were_said(openbao, proxy, ask):
    openbao.put("proxy", {"k": "v"})
    proxy.inject(faults.status(503), times=2)
    assert [ask()[0] for _ in range(4)] == [503, 503, 200, 200]


def test_a_fault_is_for_the_requests_that_were_said(proxy, ask):
    with proxy.fault(faults.status(502), when=lambda request: request.method == "POST"):
        assert ask("POST", body={"data": {}})[0] == 502
        assert ask()[0] in {200, 404}
    assert ask("POST", body={"data": {}})[0] == 200


@pytest.mark.parametrize("forward", [True, False])
def test_a_request_is_let_through_before_its_reply_is_lost_or_not(openbao, proxy, ask, forward):
    """What decides whether a write that nobody heard of is there."""
    before = openbao.put("proxy", {"k": "before"})
    with proxy.fault(faults.reset(forward=forward)), pytest.raises(ConnectionError):
        ask("POST", body={"data": {"k": "after"}})
    after = openbao.call("GET", "secret/data/proxy")["data"]["metadata"]["version"]
    assert after == before + forward


@pytest.mark.parametrize("fault", [faults.truncated(), faults.reset_within_body()], ids=["truncated", "reset"])
def test_half_a_body_comes(openbao, proxy, ask, fault):
    openbao.put("proxy", {"k": "v"})
    with proxy.fault(fault), pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask()


@pytest.mark.parametrize(("fault", "expected"), [
    (faults.html(), (200, b"<!doctype")), (faults.wrong_json(), (200, b"null")), (faults.status(473), (473, b"{")),
])  # fmt: skip
def test_a_whole_reply_comes_in_the_place_of_the_servers(proxy, ask, fault, expected):
    with proxy.fault(fault):
        status, body = ask()
    assert (status, body[: len(expected[1])]) == expected


def test_the_echo_shows_what_a_client_must_not(openbao, proxy, ask):
    with proxy.fault(faults.echo()):
        assert openbao.token.encode() in ask()[1]


def test_a_drip_is_slow_and_whole(openbao, proxy, ask):
    openbao.put("proxy", {"k": "v"})
    with proxy.fault(faults.drip(0.0005)):
        assert ask()[0] == 200


def test_connections_that_are_not_accepted_run_into_their_timeout(proxy, ask):
    """And not into a refusal; open connections end. Healed, it goes on."""
    assert ask()[0] in {200, 404}
    address = urlsplit(proxy.url)
    proxy.stop_accepting()
    proxy.stop_accepting()  # again, which changes nothing
    with pytest.raises(TimeoutError):
        socket.create_connection((address.hostname, address.port), timeout=0.3)
    proxy.heal()
    with contextlib.closing(http.client.HTTPConnection(address.netloc, timeout=60)) as connection:
        connection.request("GET", "/v1/sys/health")
        assert connection.getresponse().status == 200


def test_it_speaks_tls_where_it_is_given_a_certificate(openbao, secure):
    serving, trusting = secure
    with FaultProxy(openbao.url, context=serving) as proxy:
        address = urlsplit(proxy.url)
        assert address.scheme == "https"
        with contextlib.closing(http.client.HTTPSConnection(address.netloc, context=trusting)) as connection:
            connection.request("GET", "/v1/sys/health")
            assert connection.getresponse().status == 200


def test_a_reset_does_not_touch_connections_that_open_later(openbao, secure):
    """TLS would read from a descriptor that was closed below it, and its number may be in use again."""
    serving, trusting = secure
    with contextlib.ExitStack() as opened:
        later = []

        def reset(exchange):
            exchange.reset()
            for _ in range(50):
                ends = socket.socketpair()
                later.append([opened.enter_context(end) for end in ends])
                for end in ends:
                    end.sendall(b"theirs")

        with FaultProxy(openbao.url, context=serving) as proxy, proxy.fault(reset):
            connection = http.client.HTTPSConnection(urlsplit(proxy.url).netloc, context=trusting, timeout=60)
            with contextlib.closing(connection):
                connection.request("GET", "/v1/sys/health")
                with pytest.raises(ConnectionResetError):
                    connection.getresponse()
        for ends in later:
            for end in ends:
                assert end.recv(100, socket.MSG_DONTWAIT) == b"theirs"


def test_closing_ends_what_hangs_and_leaves_no_thread(openbao):
    with FaultProxy(openbao.url) as proxy, socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port)) as sock:
        proxy.inject(faults.hang())
        sock.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n")
        while not proxy.requests:
            time.sleep(0.01)
    assert not [thread for thread in proxy.threads if thread.is_alive()]
