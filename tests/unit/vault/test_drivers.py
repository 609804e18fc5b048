"""What both drivers do on connections that break, in forks, under signals, and with names that do not resolve."""

import contextlib
import gc
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
import trustme

from strongroom.store import time_limit
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.drivers.curl_driver import CurlDriver
from strongroom_vault.http.drivers.urllib3_driver import Urllib3Driver
from strongroom_vault.http.messages import FaultKind, HttpRequest, Reply, SendStep
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.request_policy import exchange
from strongroom_vault.http.tls import TLSSettings
from support.clock import LONG
from support.programs import require

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
READ = HttpRequest("GET", "/v1/secret/data/app", {})
MANY = 1100


class Server:
    """Answers the requests of each connection with the answers given for it. None closes the connection."""

    def __init__(self, *connections, context=None, again=None):
        self.requests, self.connections = [], 0
        self._answers, self._again, self._context = iter(connections), again, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("http" if context is None else "https", *self._listener.getsockname()[:2])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while (answers := next(self._answers, self._again)) is not None:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection, answers), daemon=True).start()
            self._listener.close()

    def _serve(self, connection, answers):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stream = stack.enter_context(connection)
            if self._context is not None:
                stream = stack.enter_context(self._context.wrap_socket(connection, server_side=True))
            for answer in answers:
                received = b""
                while b"\r\n\r\n" not in received:
                    part = stream.recv(65536)
                    if not part:
                        return
                    received += part
                self.requests.append(received.split(b" ", 1)[0].decode())
                if answer is None:
                    return
                stream.sendall(answer)


@pytest.fixture
def server():
    """A function that starts a `Server`."""
    with contextlib.ExitStack() as stack:

        def start(*connections, **options):
            started = Server(*connections, **options)
            stack.callback(started.close)
            return started

        yield start


@pytest.fixture(params=[CurlDriver, Urllib3Driver], ids=["curl", "urllib3"])
def kind(request):
    return request.param


@pytest.fixture
def opened(kind):
    """A function that opens a driver."""
    with contextlib.ExitStack() as stack:

        def open_(address, tls=None):
            return stack.enter_context(contextlib.closing(kind([address], tls or TLSSettings())))

        yield open_


def send(driver, address, request, seconds=LONG):
    def exchange_once():
        return (yield SendStep(request, address, seconds))

    return driver.run(exchange_once())


def always(answer=OK):
    """The answers of a connection that stays."""
    while True:
        yield answer


# --- connections that break -------------------------------------------------------------------------------------------

CHANGES = {
    "POST": HttpRequest("POST", "/v1/secret/data/app", {}, b'{"data":{}}', changes=True),
    "POST without a body": HttpRequest("POST", "/v1/auth/token/revoke-self", {}, changes=True),
    "DELETE": HttpRequest("DELETE", "/v1/secret/data/app", {}, changes=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_sent_once_when_its_connection_breaks(server, opened, change):
    """The server closes a connection that was kept when it receives the change. It may have been carried out."""
    upstream = server([OK, None], [None])
    driver = opened(upstream.address)
    assert send(driver, upstream.address, READ).status == 200
    assert send(driver, upstream.address, change).kind is FaultKind.LOST
    assert upstream.requests == ["GET", change.method]


@pytest.mark.parametrize("change", [CHANGES["POST"]])
def test_a_change_may_have_arrived_although_the_server_is_gone_since(server, opened, change):
    """The connection breaks, and another one is refused."""
    upstream = server([OK, None])
    driver = opened(upstream.address)
    assert send(driver, upstream.address, READ).status == 200
    assert send(driver, upstream.address, change).kind is FaultKind.LOST


def test_an_exchange_may_end_before_it_sends_anything(opened):
    """As after a first attempt whose reply is final."""

    reply = Reply(404, {}, b"")

    def ended():
        yield from ()
        return reply

    assert opened(Address.parse("http://127.0.0.1:9")).run(ended()) is reply


def test_changes_share_a_connection(server, opened):
    upstream = server(always())
    driver = opened(upstream.address)
    for _ in range(3):
        assert send(driver, upstream.address, CHANGES["POST"]).status == 200
    assert upstream.connections == 1


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nno header\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\n folded: header\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsize\r\n",
    b"HTTP/1.1 two OK\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
])  # fmt: skip
def test_a_reply_that_is_malformed_is_lost(server, opened, answer):
    upstream = server([answer])
    assert send(opened(upstream.address), upstream.address, CHANGES["POST"]).kind is FaultKind.LOST


def test_headers_of_interim_replies_and_trailers_are_not_the_replys(server, opened):
    upstream = server([(
        b"HTTP/1.1 100 Continue\r\nX-Early: hint\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nX-Vault-Index: one\r\nX-Many: a\r\nX-Many: b\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\nX-Late: trailer\r\n\r\n"
    )])  # fmt: skip
    reply = send(opened(upstream.address), upstream.address, READ)
    assert (reply.status, reply.body) == (200, b"{}")
    assert (reply.headers["x-vault-index"], reply.headers["x-many"]) == ("one", "a, b")
    assert not {"x-early", "x-late"} & set(reply.headers)


@pytest.fixture
def many_descriptors():
    """More open files than `select` can handle: the next descriptors are above 1,023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < MANY * 2:
        pytest.skip(f"the system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY * 2), hard))
    with contextlib.ExitStack() as files:
        for _ in range(MANY):
            files.enter_context(Path(os.devnull).open("rb"))
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_with_many_open_files_can_read_and_write(many_descriptors, server, opened):
    upstream = server(again=always())
    driver = opened(upstream.address)
    long = HttpRequest("POST", "/v1/secret/data/app", {}, b" " * 1_000_000, changes=True)
    assert [send(driver, upstream.address, request).status for request in (READ, long, READ)] == [200] * 3
    batch = driver.run_many((n, partial(exchange, READ, Cluster([upstream.address]))) for n in range(20))
    assert {reply.status for _, reply in batch} == {200}


def test_a_connection_without_its_reply_is_not_used_for_the_next_batch(server, opened):
    """The first connection gets one answer. A request without one does not keep that of another back."""
    upstream = server(chain([OK], always(b"")), again=always())
    driver = opened(upstream.address)

    def batch(size):
        return driver.run_many((n, partial(exchange, READ, Cluster([upstream.address]))) for n in range(size))

    with time_limit(LONG):
        assert [reply.status for _, reply in batch(1)] == [200]
        abandoned = batch(2)
        assert next(abandoned)[1].status == 200
        abandoned.close()
        assert {reply.status for _, reply in batch(2)} == {200}


# --- processes and signals --------------------------------------------------------------------------------------------


class Stopped(Exception):  # noqa: N818  # not an error, and no BaseException either
    pass


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Stopped])
@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
def test_a_signal_ends_a_wait(server, opened, stop, batch):
    """At once, and the driver continues to work."""
    upstream = server(always(b""), again=always())  # the first connection gets no answer
    driver = opened(upstream.address)

    def handler(*_):
        raise stop

    def wait():
        if batch:
            list(driver.run_many([("a", partial(exchange, READ, Cluster([upstream.address])))]))
        else:
            send(driver, upstream.address, READ)

    def interrupt():
        while not upstream.requests:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    sender = threading.Thread(target=interrupt)
    sender.start()
    began = time.monotonic()
    try:
        with pytest.raises(stop):
            wait()
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < LONG / 2
    assert send(driver, upstream.address, READ).status == 200


# The start of the thread that closes idle connections may be interrupted too: CPython ends that thread with a KeyError.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, Stopped])
def test_no_exception_of_a_signal_handler_is_lost(server, stop, capfd):
    """Wherever it arrives. Python code in a callback of libcurl would run the handler, and pycurl drops exceptions."""
    upstream = server(again=always())
    driver = CurlDriver([upstream.address], TLSSettings())
    raised = caught = 0

    def handler(*_):
        nonlocal raised
        raised += 1
        raise stop

    def work():
        until = time.monotonic() + LONG
        while time.monotonic() < until:
            assert send(driver, upstream.address, READ).status == 200
            assert send(driver, upstream.address, CHANGES["POST"]).status == 200
            batch = driver.run_many((n, partial(exchange, READ, Cluster([upstream.address]))) for n in range(20))
            assert all(isinstance(reply, Reply) for _, reply in batch)
        raise AssertionError("the exception of the handler was lost")

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # a callback of the collector, such as hypothesis has, would run the handler and drop its exception
    try:
        for number in range(100):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.002 + number / 50_000)
                work()
            except stop:
                caught += 1
    finally:
        gc.enable()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (raised, caught) == (100, 100)
    assert len(driver._pool._open) <= 2  # nothing public counts its connections
    assert send(driver, upstream.address, READ).status == 200
    driver.close()
    assert capfd.readouterr() == ("", "")


def secure(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_end_of_a_forks_child_leaves_the_parents_tls_connections(server, opened):
    """libcurl would end the TLS session for both processes when it closes its copy."""
    authority = trustme.CA()
    upstream = server(again=always(), context=secure(authority))
    tls = TLSSettings(ca_cert_bytes=authority.cert_pem.bytes().decode())
    driver = opened(upstream.address, tls)
    assert send(driver, upstream.address, READ).status == 200
    child = os.fork()
    if child == 0:
        driver.reset()
        driver.close()
        del driver
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert send(driver, upstream.address, READ).status == 200
    assert upstream.connections == 1


def test_nodes_whose_certificates_have_one_name_have_connections_of_their_own(server, kind):
    """Of a cluster behind `tls_server_name`."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("vault.internal").configure_cert(context)
    answers = [OK.replace(b"{}", text) for text in (b"[]", b"{}")]
    nodes = [server(again=always(answer), context=context) for answer in answers]
    tls = TLSSettings(ca_cert_bytes=authority.cert_pem.bytes().decode(), server_name="vault.internal")
    with contextlib.closing(kind([node.address for node in nodes], tls)) as driver:
        for _ in range(3):
            assert [send(driver, node.address, READ).body for node in nodes] == [b"[]", b"{}"]
        assert set(driver.certificates()) == {str(node.address) for node in nodes}
    assert [node.connections for node in nodes] == [1, 1]


# --- the environment --------------------------------------------------------------------------------------------------

KEY_LOG = """
import os, sys
if sys.argv[1] == "used before": import pycurl
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.messages import HttpRequest, SendStep
from strongroom_vault.http.tls import TLSSettings
address = Address("https", "127.0.0.1", int(sys.argv[2]))
driver = new_driver([address], TLSSettings(skip_verify=True))
assert driver._send(SendStep(HttpRequest("GET", "/", {}), address, 20)).status == 200
assert os.environ["SSLKEYLOGFILE"]
print(type(driver).__name__)
"""


@pytest.mark.parametrize(("case", "name"), [("new", "CurlDriver"), ("used before", "Urllib3Driver")])
def test_the_keys_of_connections_are_not_logged(server, tmp_path, case, name):
    """libcurl opens the file of SSLKEYLOGFILE when pycurl is imported: then another driver is used."""
    upstream = server(again=always(), context=secure(trustme.CA()))
    command = [sys.executable, "-c", KEY_LOG, case, str(upstream.address.port)]
    environment = {**os.environ, "SSLKEYLOGFILE": str(tmp_path / "keys")}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (name, "")
    assert not (tmp_path / "keys").exists() or not (tmp_path / "keys").read_text()


def test_replaced_sockets_are_used(monkeypatch):
    """As by gevent: libcurl would block every greenlet."""

    class Socket(socket.socket):
        pass

    address = Address("http", "127.0.0.1", 1)
    assert isinstance(new_driver([address], TLSSettings()), CurlDriver)
    monkeypatch.setattr(socket, "socket", Socket)
    assert isinstance(new_driver([address], TLSSettings()), Urllib3Driver)


HANGING_LOOKUP = """
import signal, socket, subprocess, time
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))
from functools import partial
from itertools import chain
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers.curl_driver import CurlDriver
from strongroom_vault.http.messages import HttpRequest, SendStep
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.request_policy import exchange
from strongroom_vault.http.tls import TLSSettings
from strongroom.store import time_limit
address, request = Address("http", "vault.example", 8200), HttpRequest("GET", "/", {})
driver = CurlDriver([address], TLSSettings())
began = time.monotonic()
print(driver._send(SendStep(request, address, 0.3)).reason)
with time_limit(0.3):
    ((_, error),) = driver.run_many([("a", partial(exchange, request, Cluster([address])))])
print(error.reason)
def stop(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    driver._send(SendStep(request, address, 20))
except KeyboardInterrupt:
    print("interrupted")
driver.close()
assert names.recv(1000)
assert time.monotonic() - began < 50
"""
"""It runs in a separate network, whose name server is silent. The C library waits half a minute for it, twice."""


def test_a_lookup_that_hangs_delays_neither_an_error_nor_the_end_of_the_process(tmp_path):
    require("unshare", "ip")
    own = ["unshare", "--map-root-user", "--net", "--mount"]
    if subprocess.run([*own, "true"], check=False).returncode:
        pytest.skip("this user may not make namespaces")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30\n")
    (tmp_path / "program.py").write_text(HANGING_LOOKUP)
    script = 'mount --bind "$0/resolv.conf" /etc/resolv.conf && exec "$1" "$0/program.py"'
    began = time.monotonic()
    done = subprocess.run(
        [*own, "sh", "-c", script, tmp_path, sys.executable], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third = done.stdout.splitlines()
    assert (first, third) == ("no connection in time", "interrupted")
    assert "no connection in time" in second
    assert time.monotonic() - began < 55
