"""A store behind TLS: what is known before the handshake is done, and what after."""

import contextlib
import socket
import ssl
import threading

import pytest
import trustme

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import WriteOutcomeUnknownError
from strongroom.store import time_limit
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.plugin import open_vault
from support.vault import faults
from support.vault.proxy import FaultProxy


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def secure_proxy(openbao, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FaultProxy(openbao.url, context=context) as proxy:
        yield proxy


@pytest.fixture
def secure_front(openbao, authority, secure_proxy, tmp_path):
    """A function that opens a front through that proxy, and through other addresses before it."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with contextlib.ExitStack() as stack:

        def open_(*before, **options):
            urls = [*before, secure_proxy.url]
            given = {"url": urls, "token": openbao.token, "ca_cert": tmp_path / "ca.pem", **options}
            return stack.enter_context(contextlib.closing(GuardedStore(open_vault(**given), "vault")))

        yield open_


@contextlib.contextmanager
def breaking_off():
    """A server that ends each connection at the client's first words; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_handshake_that_breaks_off_sends_a_write_to_the_next_node(secure_front):
    """Nothing has left yet, so that this is safe for a write, and its version tells that it was made once."""
    with breaking_off() as url:
        front = secure_front(url)
        version = front.write("tls/app", {"k": "v"})
        assert front.write("tls/app", {"k": "w"}) == version + 1


def test_an_authority_that_is_not_trusted_is_not_asked_again(secure_front, secure_proxy, tmp_path):
    """Neither there nor elsewhere, and it gets no request."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(VaultConnectionError, match=r"not trusted.*ca_cert"):
        secure_front(ca_cert=tmp_path / "other.pem")
    assert secure_proxy.requests == []


def test_a_server_of_plain_http_is_told_from_one_that_is_not_trusted(openbao):
    """No certificate of ours would help."""
    url = openbao.url.replace("http://", "https://")
    with pytest.raises(VaultConnectionError, match=r"it does not speak TLS.*start its address with http://") as caught:
        open_vault(url=url, token=openbao.token)
    assert "ca_cert" not in str(caught.value)


def test_a_connection_that_breaks_after_the_write_left_is_a_doubt(openbao, secure_front, secure_proxy):
    """And no failure of TLS, which would be no doubt."""
    before = openbao.put("tls/lost", {"k": "v"})
    front = secure_front()
    with (
        secure_proxy.fault(faults.reset(), when=lambda request: request.method == "POST"),
        time_limit(3),
        pytest.raises(WriteOutcomeUnknownError),
    ):
        front.write("tls/lost", {"k": "w"})
    with (
        secure_proxy.fault(faults.reset(forward=True), when=lambda request: request.method == "POST"),
        time_limit(3),
    ):
        assert front.write("tls/lost", {"k": "x"}) == before + 1


def test_a_handshake_that_hangs_leaves_time_for_the_next_node(secure_front):
    """It takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent, time_limit(4):
        front = secure_front(f"https://127.0.0.1:{silent.getsockname()[1]}")
        assert front.write("tls/silent", {"k": "v"}) >= 1
