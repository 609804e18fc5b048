"""What a store makes of a server that does not do what it should."""

import contextlib
import gc
import logging
import socket
import ssl
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.store import time_limit
from strongroom.store.deadline import fail_fast
from strongroom.testing import silent_server
from strongroom_vault.errors import VaultAuthenticationError, VaultConnectionError
from strongroom_vault.http.drivers.deadline_sockets import connect
from support.clock import SOON
from support.vault.engines import open_engine

MIB = 1024 * 1024
LATE = "in time|no time is left"
"""The outage at the end of a time limit. A busy machine may use up a short limit before the request is sent."""

MALFORMED = {
    "html": b"<html>hunter2</html>",
    "empty": b"",
    "null data": {"data": None},
    "list": [],
    "null": b"null",
    "string": b'"hunter2"',
    "no data": {},
    "data is a list": {"data": ["hunter2"]},
    "data has no data": {"data": {"metadata": {"version": 1}}},
    "secret is missing": {"data": {"metadata": {"version": 1}}},
    "secret is a string": {"data": {"data": "hunter2", "metadata": {"version": 1}}},
    "no version": {"data": {"data": {"k": "hunter2"}, "metadata": {}}},
    "cut JSON": b'{"data": {"data": {"k": "hunter2"',
    "not UTF-8": b'{"data": "\xff\xfe"}',
    "NaN": b'{"data": {"data": {"k": NaN}, "metadata": {"version": 1}}}',
}


@pytest.fixture
def opened():
    """A function that opens the front of a KV version 2 store at an address, and closes it at the end."""
    with contextlib.ExitStack() as stack:

        def open_(url, **options):
            store = open_engine(2, url=url, token="t", **options)
            return stack.enter_context(contextlib.closing(GuardedStore(store, "vault")))

        yield open_


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_reply_is_an_outage(faulty, answered, body):
    """Not understood is unknown, never absent; and the message shows nothing of the body."""
    with pytest.raises(StoreUnavailableError, match="not Vault's API") as caught:
        faulty(answered(200, body)).read("app")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"<html>", b"", {"data": None}, [], {"data": {"keys": None}}, {"data": {"keys": [1]}}]
)
def test_malformed_list_is_an_outage(faulty, answered, body):
    """Never a shorter list."""
    with pytest.raises(StoreUnavailableError, match="not Vault's API"):
        list(faulty(answered(200, body)).list_entries("app"))


@pytest.mark.parametrize("body", [b"<html>", b"", {"data": None}, []])
def test_malformed_answer_to_a_write_is_no_success(faulty, answered, body):
    """A proxy's 200 is not the server's word that it holds the secret."""
    with pytest.raises(StoreUnavailableError):
        faulty(answered(200, body)).write("app", {"k": "v"})


@pytest.mark.parametrize("body", [
    {"errors": ["no handler for route"]}, {"errors": ["namespace not found"]},
    {"errors": [], "data": None, "warnings": ["Invalid path for a versioned K/V secrets engine"]},
    {"data": {"data": None, "metadata": {"version": 1, "deletion_time": "", "destroyed": False}}},
])  # fmt: skip
def test_other_404_is_a_configuration_error(faulty, answered, body):
    """It names address, namespace and mount, and is never an absence, which the chain would fall through."""
    front = faulty(answered(404, body), namespace="team", mount="kv")
    with pytest.raises(ConfigurationError, match=r"'kv' in namespace 'team' at http://127.0.0.1:\d+"):
        front.read("app")
    with pytest.raises(ConfigurationError):
        list(front.list_entries(""))


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("body", [b"<html>hunter2</html>", b"", {}])
def test_gateways_404_or_403_is_an_outage(faulty, answered, stored, fault_server, status, body):
    """As an ingress without a backend answers everything. No request checks the token, and a write stays in doubt."""
    front = faulty(answered(status, body))
    with pytest.raises(StoreUnavailableError, match="not Vault's API") as caught:
        front.read("app")
    assert "hunter2" not in str(caught.value)
    assert len(fault_server.requests) == 1
    with pytest.raises(StoreUnavailableError, match="not Vault's API"):
        list(front.list_entries(""))
    [(_, error)] = front.read_many(["app"])
    assert isinstance(error, StoreUnavailableError)
    fault_server.answers[:] = [stored(k="old"), answered(status, body)]
    with pytest.raises(WriteOutcomeUnknownError, match="not Vault's API"):
        front.write("app", {"k": "v"})


def test_404_of_the_right_kinds_are_absences(faulty, answered):
    """`errors: []`, or a version that is deleted or destroyed."""
    for body in (
        {"errors": []},
        {"data": {"data": None, "metadata": {"version": 3, "deletion_time": "2026-01-01T00:00:00Z"}}},
        {"data": {"data": None, "metadata": {"version": 3, "deletion_time": "", "destroyed": True}}},
    ):
        with pytest.raises(SecretNotFoundError):
            faulty(answered(404, body)).read("app")


def test_cut_body_is_an_outage(faulty, fault_server, answered):
    """Fewer bytes than announced, each time: the server is out when it has given no whole reply for a second."""
    cut = answered(200, b'{"data": {', ["Connection: close"], length=500)

    def send_and_close(connection):
        connection.sendall(cut)
        connection.shutdown(socket.SHUT_WR)

    with pytest.raises(VaultConnectionError, match="broke"):
        faulty(send_and_close).read("app")
    assert len(fault_server.requests) > 1
    fault_server.requests.clear()
    with fail_fast(), pytest.raises(VaultConnectionError, match="broke"):
        faulty(send_and_close).read("app")
    reads = [request for request in fault_server.requests if request.target.endswith("/app")]
    assert len(reads) == 2  # the connection may have been stale; a thread looks the first store's token up


def test_connection_that_was_closed_meanwhile_is_opened_anew(faulty, stored):
    """The first read of a pooled connection that the server has dropped succeeds."""
    assert faulty(stored(k="1"), None, stored(k="2")).read("app").data == {"k": "1"}
    front = faulty(stored(k="1"), None, stored(k="2"))
    assert [front.read("app").data["k"] for _ in range(2)] == ["1", "2"]


def test_lost_write_is_sent_once(faulty, fault_server, answered, stored):
    """The connection broke after the request left: it may have been applied, and nothing tells whether it was."""
    with pytest.raises(WriteOutcomeUnknownError, match="may or may not"):
        faulty(stored(version=1, k="old"), None, answered(405, {"errors": []})).write("app", {"k": "v"})
    assert [request.method for request in fault_server.requests].count("POST") == 1


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_huge_reply_is_not_read(faulty, announced):
    """300 MB are refused after 4 MiB, and take no more memory than that."""
    chunk = b"x" * MIB
    sent = []

    def send(connection):
        head = f"Content-Length: {300 * MIB}" if announced else "Transfer-Encoding: chunked"
        connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        for number in range(300):
            connection.sendall(chunk if announced else b"%x\r\n%b\r\n" % (len(chunk), chunk))
            sent.append(number)

    front = faulty(send)
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(SecretTooLargeError, match="4,194,304"):
            front.read("app")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * MIB
    assert len(sent) < 50


@pytest.mark.parametrize("part", ["status line", "headers", "body"])
def test_a_byte_at_a_time_ends_at_the_deadline(faulty, fault_server, part):
    """Each byte comes well within any timeout of a single receive, and the whole never comes."""
    heads = {
        "status line": b"",
        "headers": b"HTTP/1.1 200 OK\r\nX-Slow: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
    }

    def drip(connection):
        connection.sendall(heads[part])
        while not fault_server.stopping.wait(0.05):
            connection.sendall(b"x")

    front = faulty(drip)
    began = time.monotonic()
    with time_limit(0.4), pytest.raises(VaultConnectionError):
        front.read("app")
    assert time.monotonic() - began < SOON


def test_server_that_never_answers_ends_at_the_deadline(faulty, fault_server):
    """It takes the connection and the request, and nothing comes."""
    front = faulty(lambda _: fault_server.stopping.wait(30))
    began = time.monotonic()
    with time_limit(0.3), pytest.raises(VaultConnectionError, match=LATE):
        front.read("app")
    assert time.monotonic() - began < SOON


def test_sending_to_a_server_that_does_not_read_ends_at_the_deadline():
    """Sending waits too, when the buffers of both sides are full, whatever timeout the socket had before."""
    with socket.create_server(("127.0.0.1", 0)) as listener, connect(*listener.getsockname()[:2]) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.settimeout(5)
        began = time.monotonic()
        with time_limit(0.3), pytest.raises(TimeoutError):
            sock.sendall(b"x" * 16 * MIB)
        assert time.monotonic() - began < SOON


def test_name_that_takes_long_to_resolve_ends_at_the_deadline(monkeypatch, fault_server, without_pycurl, opened):
    """The resolver of the C library knows no deadline of ours."""
    resolve = socket.getaddrinfo

    def slow(host, *rest, **more):
        if host == "slow.example" and not more.get("flags"):
            fault_server.stopping.wait(30)
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    front = opened("http://slow.example:8200")
    began = time.monotonic()
    with time_limit(0.3), pytest.raises(VaultConnectionError, match=LATE):
        front.read("app")
    assert time.monotonic() - began < SOON
    fault_server.stopping.set()  # or the end of the front would wait for the lookup


def test_name_without_an_address_is_an_outage(driver, monkeypatch, opened):
    """The message says which name."""

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    front = opened("http://vault.invalid:8200")
    with pytest.raises(VaultConnectionError, match=r"vault\.invalid:8200: the name has no address"):
        front.read("app")


def test_refused_is_an_outage_at_once_if_something_else_can_answer(closed_port, opened):
    """The guide's own message."""
    front = opened(f"http://127.0.0.1:{closed_port}")
    began = time.monotonic()
    for operation in (lambda: front.read("app"), lambda: front.write("app", {"k": "v"}), front.probe):
        with fail_fast(), pytest.raises(VaultConnectionError, match=r"^Cannot connect to Vault"):
            operation()
    assert time.monotonic() - began < SOON


def test_refused_without_a_fallback_is_an_outage_after_a_second(closed_port, opened):
    """The server may be restarting."""
    front = opened(f"http://127.0.0.1:{closed_port}")
    began = time.monotonic()
    with pytest.raises(VaultConnectionError, match=r"^Cannot connect to Vault"):
        front.read("app")
    assert 1 <= time.monotonic() - began < SOON


def test_second_node_answers_when_the_first_is_down(fault_server, stored, closed_port, opened):
    """A list of addresses is one cluster's."""
    dead = f"http://127.0.0.1:{closed_port}"
    fault_server.answers[:] = [stored(k="v")]
    assert opened([dead, fault_server.url]).read("app").data == {"k": "v"}


def test_token_does_not_follow_a_redirect(faulty, start_server, answered, stored):
    """Another host gets no request at all."""
    other = start_server()
    other.answers[:] = [stored(k="stolen")]
    redirect = answered(307, b"", [f"Location: {other.url}/v1/secret/data/app"])
    with pytest.raises(StoreUnavailableError, match="redirects"):
        faulty(redirect, max_retries=0).read("app")
    assert other.requests == []


def test_token_follows_a_redirect_to_another_node_of_the_cluster(fault_server, start_server, answered, stored):
    """To the same path there, whatever the Location says of it."""
    active = start_server()
    active.answers[:] = [stored(k="v")]
    fault_server.answers[:] = [answered(307, b"", [f"Location: {active.url}/v1/sys/raw?list=true"])]
    front = GuardedStore(open_engine(2, url=[fault_server.url, active.url], token="t"), "vault")
    assert front.read("app").data == {"k": "v"}
    assert [request.target for request in active.requests] == ["/v1/secret/data/app"]
    front.close()


# --- statuses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "kind"), [
    (401, VaultAuthenticationError), (405, UnsupportedOperationError), (413, SecretTooLargeError),
    (418, StoreError), (201, StoreUnavailableError), (501, StoreUnavailableError),
])  # fmt: skip
def test_status_of_a_read_has_its_error(faulty, answered, status, kind):
    """By the status, and never by the body's words."""
    with pytest.raises(kind) as caught:
        faulty(answered(status, {"errors": ["hunter2"]})).read("app")
    assert "hunter2" not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize("status", [412, 429, 472, 473, 500, 502, 503, 504])
def test_busy_server_is_an_outage_and_not_waited_for_beyond_the_deadline(faulty, answered, status):
    """With less time than the first pause takes, the answer comes at once."""
    with time_limit(0.9), pytest.raises(StoreUnavailableError, match=f"HTTP {status}|{LATE}"):
        faulty(answered(status, {"errors": ["hunter2"]})).read("app")


@pytest.mark.parametrize(("status", "path_only"), [(500, True), (503, False), (502, False)])
def test_only_a_500_is_about_its_path_alone(faulty, answered, status, path_only):
    """The chain goes on to read other paths then: a chain-wide outage would let a fallback answer for them."""
    with pytest.raises(StoreUnavailableError) as caught:
        faulty(answered(status, {"errors": []}), max_retries=0).read("app")
    assert caught.value.path_only is path_only


def test_many_threads_fill_no_log_and_keep_their_connections(faulty, fault_server, stored, caplog):
    """urllib3 warns of each connection that is one too many to be kept. At most 64 are open at a time."""
    threads, rounds, together = 70, 4, threading.Barrier(70)

    def slowly(connection):
        time.sleep(0.25)  # until every thread has asked
        connection.sendall(stored(k="v"))

    front = faulty(slowly)
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            read = [pool.submit(lambda: (together.wait(60), front.read("app"))) for _ in range(threads)]
            assert all(done.result()[1].data == {"k": "v"} for done in read)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(fault_server.connections) < threads * rounds / 2  # a busy machine loses some to the time limit


def test_rate_limit_is_waited_for(faulty, fault_server, answered, stored):
    """For as long as the server says."""
    front = faulty(answered(429, {"errors": []}, ["Retry-After: 1"]), stored(k="v"))
    began = time.monotonic()
    assert front.read("app").data == {"k": "v"}
    assert 1.0 <= time.monotonic() - began < SOON
    assert [request.target for request in fault_server.requests].count("/v1/secret/data/app") == 2


def test_closing_ends_a_wait(faulty, fault_server, answered):
    """A thread that waits for a retry does not keep the application from closing."""
    front = faulty(answered(429, b"", ["Retry-After: 9"]))
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(front.read, "app")
        while not fault_server.requests:
            time.sleep(0.01)
        began = time.monotonic()
        front.close()
        with pytest.raises(StoreError):
            read.result()
    assert time.monotonic() - began < SOON


def test_failed_write_says_that_it_may_have_been_applied(faulty, fault_server, answered, stored):
    """A 500 is not repeated; a 503 is a server that did nothing."""
    old, failed, refused = stored(version=1, k="old"), answered(500, {"errors": []}), answered(405, {"errors": []})
    with pytest.raises(WriteOutcomeUnknownError, match="may or may not"):
        faulty(old, failed, refused).write("app", {"k": "v"})  # nor can it be read back
    assert [request.method for request in fault_server.requests].count("POST") == 1
    with pytest.raises(StoreUnavailableError) as caught:
        faulty(stored(version=1, k="old"), answered(503, {"errors": []}), max_retries=0).write("app", {"k": "v"})
    assert "may or may not" not in str(caught.value)


def test_refused_data_is_told_from_a_lost_check(faulty, answered, stored):
    """Both are 400: what is there now tells."""
    refused = answered(400, {"errors": ["hunter2"]})
    with pytest.raises(InvalidDataError):
        faulty(refused, stored(version=3, k="v"), refused, stored(version=3, k="v")).write_if("app", {"k": "v"}, 3)
    read = stored(version=3, k="v")
    with pytest.raises(InvalidDataError):
        faulty(read, refused, read, refused, read).write("app", {"k": "v"})


def test_denied_is_told_from_a_bad_token_once_a_minute(faulty, fault_server, answered):
    """403 does not tell: one more question does, and a loop of denied reads asks it no second time."""
    denied, found = answered(403, {"errors": ["permission denied"]}), answered(200, {"data": {}})
    front = faulty(denied, found, denied)
    for _ in range(3):
        with pytest.raises(PermissionDeniedError):
            front.read("app")
    assert [request.target for request in fault_server.requests].count("/v1/sys/internal/ui/mounts/secret") == 1
    front = faulty(denied)
    for _ in range(3):
        with pytest.raises(VaultAuthenticationError, match=r"^Failed to authenticate with Vault"):
            front.read("app")
    assert [request.target for request in fault_server.requests].count("/v1/auth/token/lookup-self") == 1


def test_state_of_a_write_goes_with_the_next_read(faulty, fault_server, answered, stored):
    """A standby that is behind then lets the active node answer."""
    made = answered(200, {"data": {"version": 2}}, ["X-Vault-Index: aW5kZXg="])
    front = faulty(stored(version=1, k="old"), made, stored(version=2, k="v"))
    front.write("app", {"k": "v"})
    front.read("app")
    _, write, read = fault_server.requests
    assert "x-vault-index" not in write.headers
    assert read.headers["x-vault-index"] == "aW5kZXg="
    assert read.headers["x-vault-inconsistent"] == "forward-active-node"


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def secure(authority, start_server, stored):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = start_server(context)
    server.answers[:] = [stored(k="v")]
    return server


@pytest.fixture
def ca_file(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def read_by(server, **options):
    front = GuardedStore(open_engine(2, url=server.url, token="t", **options), "vault")
    try:
        return dict(front.read("app").data)
    finally:
        front.close()


def test_authority_of_ones_own_is_trusted(secure, ca_file):
    """Given as a file."""
    assert read_by(secure, ca_cert=ca_file) == {"k": "v"}


def test_unknown_authority_is_an_outage_and_gets_no_request(secure, tmp_path):
    """The token is not shown to a server that is not trusted, and nothing is tried again."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    for options in ({}, {"ca_cert": tmp_path / "other.pem"}):
        with pytest.raises(VaultConnectionError, match=r"not trusted.*ca_cert"):
            read_by(secure, **options)
    assert secure.requests == []


def test_name_in_the_certificate_has_to_be_right(authority, start_server, stored, ca_file):
    """`tls_server_name` is the name to look for, where the URL has another."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("vault.internal").configure_cert(context)
    server = start_server(context)
    server.answers[:] = [stored(k="v")]
    with pytest.raises(VaultConnectionError, match="not trusted"):
        read_by(server, ca_cert=ca_file)
    assert read_by(server, ca_cert=ca_file, tls_server_name="vault.internal") == {"k": "v"}


def test_client_certificate_is_shown(authority, start_server, stored, ca_file, tmp_path):
    """A server that asks for one gets it, and refuses without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = start_server(context)
    server.answers[:] = [stored(k="v")]
    client = authority.issue_cert("client@example.org")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    assert read_by(server, ca_cert=ca_file, client_cert=tmp_path / "client.pem") == {"k": "v"}
    with pytest.raises(VaultConnectionError):
        read_by(server, ca_cert=ca_file)


def test_any_certificate_is_trusted_when_told_to(secure, caplog):
    """It is warned of once, in the store's own words."""
    assert read_by(secure, skip_verify=True) == {"k": "v"}
    (said,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "TLS verification is disabled (skip_verify)" in said
    assert f"at {secure.url}" in said


def test_doctor_warns_of_any_certificate(secure, answered):
    """The store is well today."""
    front = GuardedStore(open_engine(2, url=secure.url, token="t", skip_verify=True), "vault")
    told = {"initialized": True, "sealed": False, "version": "9.9"}
    secure.answers[:] = [answered(200, told), answered(200, {"data": {"ttl": 0}})]
    health = front.probe()
    front.close()
    assert health.ok
    assert {each.name: each.state.value for each in health.checks}["certificate trust"] == "warning"


def test_tls_handshake_ends_at_the_deadline(ca_file, opened):
    """The server takes the connection and never answers the client's hello."""
    began = time.monotonic()
    with silent_server() as (host, port):
        front = opened(f"https://{host}:{port}", ca_cert=ca_file)
        with time_limit(0.3), pytest.raises(VaultConnectionError, match=LATE):
            front.read("app")
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize(("option", "content"), [
    ("ca_cert", None), ("ca_cert", "not a certificate"), ("ca_path", None),
    ("client_cert", None), ("client_cert", "not a certificate"), ("client_key", "alone"),
])  # fmt: skip
def test_unusable_file_is_a_configuration_error(tmp_path, option, content):
    """It names the option, before anything is sent."""
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=option):
        open_engine(2, url="https://127.0.0.1:1", token="t", **{option: file})
