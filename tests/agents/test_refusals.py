"""Refusals of the proxy: each is a record of the audit log, and the first for a reason is a line on stderr."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from strongroom.agents._proxy.layers import NO_ANSWER
from strongroom.agents._proxy.server import UNTRUSTED, UNUSED
from strongroom.agents.session import COMPRESSED
from support.agents.recorder import Recorder
from support.agents.upstream import Answer
from support.agents.workers import VALUE, read_answer, rule
from support.programs import require

ANSWER = "HTTP/1.1 200 OK\r\n"
REFUSED = "The certificate of {} is refused"
TRUST = "If you trust its authority, add that to the file of SSL_CERT_FILE"
NO_TLS = "Cannot connect to {}, or it does not speak HTTP/1.1 over TLS"


@pytest.fixture
def worker(operator_of, upstream, tmp_path):
    log = f'[audit]\nfile = "{tmp_path / "audit.log"}"\n'
    operator = operator_of(log + rule([f"localhost:{upstream.port}", "*.example.com:443"], methods=["GET"]))
    with operator.worker() as door:
        yield door


@pytest.fixture
def refusals(worker, tmp_path):
    """Returns the host, the method, the path and the status of each recorded refusal."""

    def read():
        records = map(json.loads, (tmp_path / "audit.log").read_text().splitlines())
        fields = ("request_host", "method", "request_path", "status")
        return [tuple(record.get(field) for field in fields) for record in records if record["outcome"] == "refused"]

    return read


def lines(worker):
    """Return the lines about refusals, after the worker has ended."""
    worker.__exit__()
    return [line for line in worker.err.splitlines() if "Refused" in line]


def plain(worker, request):
    """Return the answer to a request that is not in a tunnel."""
    with socket.create_connection(worker.address, timeout=30) as connection:
        connection.sendall(request.encode())
        return read_answer(connection)


def test_refused_tunnels(worker, refusals):
    for target in ("10.0.0.1:443", "10.0.0.1:443", "other.example.org:22", "localhost:1", "127.1:443"):
        worker.ask(target)[0].close()
    assert refusals() == [
        ("10.0.0.1", "CONNECT", None, 403),
        ("10.0.0.1", "CONNECT", None, 403),
        ("other.example.org:22", "CONNECT", None, 403),
        ("localhost:1", "CONNECT", None, 403),
        ("127.1", "CONNECT", None, 400),
    ]
    first, *others = lines(worker)
    assert first == (
        "strongroom: Refused 10.0.0.1 to the worker: 10.0.0.1 is not a public address, and no rule names it"
    )
    assert [line.split()[2] for line in others] == ["other.example.org:22", "localhost:1", "127.1"]


def test_name_whose_address_is_private(operator_of, tmp_path):
    log = f'[audit]\nfile = "{tmp_path / "audit.log"}"\n'
    with operator_of(log + rule(["api.example.com"])).worker() as door:
        door.ask("localhost:443")[0].close()
        plain(door, "GET http://localhost/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    records = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    refused = [record["method"] for record in records if record["outcome"] == "refused"]
    assert refused == ["CONNECT", "GET"]
    assert door.err.count("Cannot connect to localhost:443: localhost has an address that is not public") == 1


def test_connection_that_fails_is_told_to_the_operator(operator_of):
    """Most programs hide the body of an answer to CONNECT."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nothing listens
        host = f"localhost:{bound.getsockname()[1]}"
        with operator_of(rule([host])).worker() as door:
            connection, status, _ = door.ask(host)
            connection.close()
    assert status == 502
    assert f"Refused {host} to the worker: Cannot connect to {host}: Connection refused" in door.err


def test_upstream_that_leaves_at_once_ends_the_connection(operator_of):
    """As a load balancer without a backend does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"localhost:{listener.getsockname()[1]}"
        with operator_of(rule([host])).worker() as door:
            connection, _, _ = door.ask(host)
            listener.accept()[0].close()
            ends = contextlib.suppress(ssl.SSLError)  # not a timeout, which is an OSError
            with connection, ends, door.tls.wrap_socket(connection, server_hostname="localhost") as tunnel:
                tunnel.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert read_answer(tunnel).startswith(b"HTTP/1.1 502 ")
    reasons = (f"{host} ended the connection at once", NO_TLS.format(host))  # as the worker or the upstream is first
    assert door.err.count(f"Refused {host} to the worker") == 1
    assert door.err.rstrip().endswith(reasons)


def test_absolute_targets(worker, refusals, upstream):
    host = f"localhost:{upstream.port}"
    for origin, status in ((f"https://{host}", 400), (f"http://{host}", 403), ("http://10.0.0.1", 403)):
        answer = plain(worker, f"GET {origin}/v1/x?q=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert refusals() == [
        (host, "GET", "/v1/x", 400),
        (host, "GET", "/v1/x", 403),
        ("10.0.0.1:80", "GET", "/v1/x", 403),
    ]
    assert [line.split()[2] for line in lines(worker)] == [host, host, "10.0.0.1:80"]


def test_requests_in_a_tunnel(worker, refusals, upstream):
    host = f"localhost:{upstream.port}"
    heads = [
        "GET /a?q=1 HTTP/1.1",
        "GET /a?q=1 HTTP/1.1\r\nHost: other.example.com",
        f"GET https://other.example.com/a?q=1 HTTP/1.1\r\nHost: {host}",
        f"GET /a?q=1 HTTP/1.1\r\nHost: {host}\r\nHost: {host}",
        f"GET /a?q=1 HTTP/1.1\r\nHost: {host}\r\nx y: a",
        f"GET /a?q=1 HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip, chunked",
        f"GET /a?q=1 HTTP/1.1\r\nHost: {host}\r\nX-HTTP-Method-Override: DELETE",
    ]
    for head in heads:
        answer = worker.raw(host, f"{head}\r\nConnection: close\r\n\r\n0\r\n\r\n".encode())
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 ")), head
    assert refusals() == [(host, "GET", "/a", 400)] * 6 + [(host, "GET", "/a", 403)]
    told = lines(worker)
    assert len(set(told)) == len(told) > 1
    assert all(line.startswith(f"strongroom: Refused {host} to the worker: ") for line in told)
    assert upstream.requests == []


def test_a_compressed_answer(worker, refusals, upstream):
    host = f"localhost:{upstream.port}"
    upstream.answer = lambda _: Answer(headers=[("content-encoding", "gzip")])
    head = f"GET /a?q=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    for key in ("", f"Authorization: Bearer {worker.placeholder}\r\n"):
        assert worker.raw(host, f"{head}{key}\r\n".encode()).startswith(b"HTTP/1.1 502 ")
    assert refusals() == [(host, "GET", "/a", 502)] * 2
    (line,) = lines(worker)
    assert line == f"strongroom: Refused {host} to the worker: {COMPRESSED}"


def test_an_answer_with_a_folded_header(worker, refusals, upstream):
    host = f"localhost:{upstream.port}"
    folded = f"HTTP/1.1 200 OK\r\nx-key: {VALUE[:5]}\r\n {VALUE[5:]}\r\ncontent-length: 0\r\n\r\n"
    upstream.answer = lambda _: Answer(raw=folded.encode())
    answer = worker.raw(host, f"GET /a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert VALUE[5:].encode() not in answer
    assert refusals() == [(host, "GET", "/a", 502)]


def test_another_name_in_the_handshake(worker, refusals, upstream):
    host = f"localhost:{upstream.port}"
    request = f"GET /a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = worker.raw(host, request.encode(), sni="other.example.com")
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert refusals() == [(host, "GET", "/a", 421)]
    (line,) = lines(worker)
    assert "The name in the TLS handshake is not that of the connection" in line


def test_no_character_of_the_worker_controls_the_terminal(worker):
    plain(worker, "CONNECT a\x1b[2Jb:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    plain(worker, "GET http://a\x1b[2Jb/ HTTP/1.1\r\nHost: x\r\n\r\n")
    worker.__exit__()
    assert "\x1b" not in worker.err


class Resetting:
    """A server that resets each connection after its first bytes, for a `with` block."""

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                with self._listener.accept()[0] as connection:
                    connection.recv(65536)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_an_upstream_that_fails_is_a_refusal_with_its_reason(operator_of, upstream_authority, tmp_path):
    """In the logs of the session and for auditors, and on stderr, in the words that the worker gets."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    expired = upstream_authority.issue_cert("localhost", not_after=yesterday)
    certificates = [
        ("certificate has expired", expired),
        ("hostname mismatch", upstream_authority.issue_cert("other.example.com")),
        (f"unable to get local issuer certificate. {TRUST}", trustme.CA().issue_cert("localhost")),
    ]
    answers = ["", f"{ANSWER}no colon\r\n\r\n", f"{ANSWER}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"]
    good = upstream_authority.issue_cert("localhost")
    with contextlib.ExitStack() as servers:
        found = [(servers.enter_context(Recorder(made)), f"{REFUSED}: {reason}") for reason, made in certificates]
        found.append((servers.enter_context(Resetting()), NO_TLS))
        for answer in answers:
            found.append((servers.enter_context(Recorder(good)), NO_ANSWER))
            found[-1][0].answer = answer.encode()
        expected = {f"localhost:{server.port}": reason.format(f"localhost:{server.port}") for server, reason in found}
        operator = operator_of(f'[audit]\nfile = "{tmp_path / "audit.log"}"\n' + rule([*expected]))
        with operator.worker() as door:
            for host, reason in expected.items():
                key = f"Authorization: Bearer {door.placeholder}\r\n"
                answer = door.raw(host, f"GET /a?q=1 HTTP/1.1\r\nHost: {host}\r\n{key}\r\n".encode())
                assert (answer[:13], answer.decode().splitlines()[-1]) == (b"HTTP/1.1 502 ", reason)
    records = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    refused = [record for record in records if record["outcome"] == "refused"]
    assert {(record["rule"], record["request_path"], record["status"]) for record in refused} == {("openai", "/a", 502)}
    assert len(refused) == len(expected)
    (log,) = (tmp_path / "state/strongroom/agents").iterdir()
    logged = [
        fields for fields in map(json.loads, log.read_text().splitlines()) if fields["event"] in {"use", "refusal"}
    ]
    assert {fields["host"]: fields["reason"] for fields in logged} == expected
    told = {line.rpartition(" to the worker: ")[2] for line in door.err.splitlines() if "Refused" in line}
    assert told == {*expected.values()}
    assert VALUE not in door.err + log.read_text() + (tmp_path / "audit.log").read_text()


def test_a_program_that_does_not_trust_the_authority_is_told_to_the_operator(operator, upstream):
    """Some send an alert, and some end the connection after the handshake. Others do not count."""
    host = f"localhost:{upstream.port}"
    with operator.worker() as door:
        left, *_ = door.ask(host)
        left.close()
        door.raw(host, b"malformed\r\n\r\n")
        trusting_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        connection, *_ = door.ask(host)
        with connection, pytest.raises(ssl.SSLCertVerificationError):
            trusting_nobody.wrap_socket(connection, server_hostname="localhost")
        door.tunnel(host).close()
    told = [line for line in door.err.splitlines() if "Refused" in line]
    assert [line.rpartition(" to the worker: ")[2] for line in told] == [UNTRUSTED, UNUSED]
    assert all(f"Refused {host}" in line for line in told)


def test_an_upstream_that_does_not_answer_the_handshake_is_told_to_the_operator(operator_of):
    """When the worker gives up. A connection that it opens ahead, and does not use, does not count."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"localhost:{listener.getsockname()[1]}"
        with operator_of(rule([host])).worker() as door:
            ahead, *_ = door.ask(host)
            ahead.close()
            connection, *_ = door.ask(host)
            connection.settimeout(0.2)
            with connection, pytest.raises(TimeoutError):
                door.tls.wrap_socket(connection, server_hostname="localhost")
    told = [line for line in door.err.splitlines() if "Refused" in line]
    assert told == [f"strongroom: Refused {host} to the worker: {host} did not answer the TLS handshake"]


def test_the_summary_counts_a_last_program_that_does_not_trust_the_authority(operator, upstream, upstream_file):
    require("curl")
    done = operator.run("curl", "-sS", "--cacert", upstream_file, upstream.origin)
    assert done.returncode == 60, done.stderr
    assert f"1 refusal: {UNTRUSTED}" in done.stderr


def test_an_answer_that_is_cut_is_recorded(operator_of, upstream_authority):
    """The worker has a part of it, with the status of the upstream."""
    with Recorder(upstream_authority.issue_cert("localhost")) as server:
        server.answer = f"{ANSWER}Content-Length: 100\r\n\r\nthe beginning\n".encode()
        host = f"localhost:{server.port}"
        with operator_of(rule([host])).worker() as door:
            key = f"Authorization: Bearer {door.placeholder}\r\n"
            answer = door.raw(host, f"GET /a HTTP/1.1\r\nHost: {host}\r\n{key}\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Refused {host} to the worker: {NO_ANSWER}" in door.err


def test_the_reason_phrase_of_a_refusal_is_its_sentence(operator_of, upstream):
    """Programs such as npm and twine show nothing else of an answer."""
    name = "ключ\nof all" + "x" * 300
    host = f"localhost:{upstream.port}"
    with operator_of(rule([host], name=json.dumps(name), methods=["POST"])).worker() as door:
        answer = door.raw(host, f"GET /a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    first, _, rest = answer.partition(b"\r\n")
    assert first.startswith(b"HTTP/1.1 403 The rule      of all")
    assert len(first) == len("HTTP/1.1 403 ") + 200
    assert f"The rule {name} allows POST, not GET" in rest.decode()


@pytest.mark.parametrize("target", ["unknown.invalid:443", "http://unknown.invalid/x"])
def test_a_name_that_cannot_be_resolved(operator_of, target):
    with operator_of(rule(["api.example.com"])).worker() as door:
        if target.startswith("http"):
            plain(door, f"GET {target}?q=1 HTTP/1.1\r\nHost: unknown.invalid\r\n\r\n")
        else:
            door.ask(target)[0].close()
    assert door.err.count("Refused unknown.invalid") == 1
    assert "its name cannot be resolved" in door.err
