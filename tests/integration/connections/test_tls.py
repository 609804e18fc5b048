"""A TLS server whose certificate is replaced while clients connect."""

import contextlib
import os
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from strongroom.integrations.tls import create_server_context
from support.scenarios.load import wait_until

PATH = "tls/web"
LIFETIMES = int(os.environ.get("TEST_CERTIFICATES", "3"))
LIFETIME = float(os.environ.get("TEST_CERTIFICATE_SECONDS", "3600"))
"""Of each certificate, in seconds. `nox -s connections` takes ten of five seconds."""


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def issue(authority, store):
    """A function that stores a new certificate and returns it in DER form."""

    def issue(lifetime=timedelta(days=1)):
        pair = authority.issue_cert("web.example.com", not_after=datetime.now(UTC) + lifetime)
        chain = [part.bytes().decode() for part in pair.cert_chain_pems]
        store.write(PATH, {"certificate": "".join(chain), "private_key": pair.private_key_pem.bytes().decode()})
        return ssl.PEM_cert_to_DER_cert(chain[0])

    return issue


@pytest.fixture
def handshake(authority):
    """A function that makes one handshake with a server context, and returns the certificate of the server."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)

    def handshake(context):
        ours, theirs = socket.socketpair()

        def serve():
            with contextlib.suppress(OSError), context.wrap_socket(theirs, server_side=True) as served:
                served.recv(1)  # until the client ends

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with client.wrap_socket(ours, server_hostname="web.example.com") as secure:
            certificate = secure.getpeercert(binary_form=True)
        thread.join()
        return certificate

    return handshake


def test_a_server_context_shows_the_certificate_of_the_secret(issue, manager, handshake):
    """The pair is loaded when the context is made."""
    certificate = issue()
    assert handshake(create_server_context(PATH, manager=manager)) == certificate


def test_a_secret_without_a_key_is_refused(store, manager):
    """The error names the path and the keys, and no value."""
    store.write(PATH, {"certificate": "secret-certificate"})
    with pytest.raises(Exception, match="private_key") as caught:
        create_server_context(PATH, manager=manager)
    assert "secret-certificate" not in str(caught.value)


def test_no_handshake_fails_while_certificates_end(issue, watching_manager, handshake):
    """Each certificate is replaced when half of its life is over, while clients connect all the time."""
    issue(timedelta(seconds=LIFETIME))
    context = create_server_context(PATH, manager=watching_manager)
    seen = {handshake(context)}
    for _ in range(LIFETIMES - 1):
        until = time.monotonic() + min(LIFETIME / 2, 3)
        while LIFETIME < 60 and time.monotonic() < until:
            seen.add(handshake(context))
        newest = issue(timedelta(seconds=LIFETIME))
        wait_until(lambda newest=newest: seen.add(handshake(context)) or newest in seen)
    assert len(seen) == LIFETIMES
