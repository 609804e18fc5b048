"""A TLS server whose certificate is replaced while clients connect."""

import logging
import os
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from strongroom._manager.manager import parts_of
from strongroom.integrations.credentials import CredentialSource, Reread
from strongroom.integrations.tls import create_client_context, create_server_context
from support.scenarios.handshakes import NAME, connect
from support.scenarios.load import wait_until

PATH = "tls/web"
LIFETIMES = int(os.environ.get("TEST_CERTIFICATES", "3"))
LIFETIME = float(os.environ.get("TEST_CERTIFICATE_SECONDS", "3600"))
"""Of each certificate, in seconds. `nox -s connections` takes ten of five seconds."""


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def authority_file(authority, tmp_path):
    """The file of the authority, as an argument of both contexts."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    return file


@pytest.fixture
def issue(authority, store):
    """A function that stores a new certificate and returns it in DER form."""

    def issue(lifetime=timedelta(days=1), path=PATH, key_type=trustme.KeyType.ECDSA):
        not_after = datetime.now(UTC) + lifetime
        pair = authority.issue_cert(NAME, not_after=not_after, key_type=key_type)
        chain = [part.bytes().decode() for part in pair.cert_chain_pems]
        store.write(path, {"certificate": "".join(chain), "private_key": pair.private_key_pem.bytes().decode()})
        return ssl.PEM_cert_to_DER_cert(chain[0])

    return issue


@pytest.fixture
def client(authority):
    """The context of a client without a certificate."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return client


@pytest.fixture
def handshake(client):
    """A function that makes one handshake with a server context, and returns the certificate of the server."""
    return lambda context: connect(context, client)


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


def certificates(server, client):
    """Return the certificates that the server and the client show each other."""
    return client.getpeercert(binary_form=True), server.getpeercert(binary_form=True)


def test_what_an_application_sets_on_a_server_context_outlives_a_renewal(
    issue, watching_manager, client, authority_file
):
    """The authority of the clients, protocols and versions: a client without a certificate is refused as before."""
    issue()
    issue(path="tls/client")
    context = create_server_context(PATH, client_ca=authority_file, manager=watching_manager)
    context.set_alpn_protocols(["h2"])
    client.set_alpn_protocols(["http/1.1", "h2"])
    shown = create_client_context("tls/client", server_ca=authority_file, manager=watching_manager)
    shown.set_alpn_protocols(["http/1.1", "h2"])
    newest = issue()
    wait_until(lambda: connect(context, shown) == newest)
    assert connect(context, shown, lambda server, _client: server.selected_alpn_protocol()) == "h2"
    with pytest.raises(OSError, match=r"(?i)certificate|ended"):
        connect(context, client)


def test_both_sides_of_mutual_tls_follow_their_secrets(issue, watching_manager, authority_file):
    """Each shows its newest certificate."""
    issue()
    issue(path="tls/client")
    server = create_server_context(PATH, client_ca=authority_file, manager=watching_manager)
    client = create_client_context("tls/client", server_ca=authority_file, manager=watching_manager)
    newest = issue(), issue(path="tls/client")
    wait_until(lambda: connect(server, client, certificates) == newest)


def test_a_client_context_verifies_the_name_of_the_server(issue, manager, authority_file, authority):
    """As every client should, also without an argument for it."""
    issue(path="tls/client")
    client = create_client_context("tls/client", server_ca=authority_file, manager=manager)
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example.com").configure_cert(other)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connect(other, client)


def test_no_connection_begins_between_a_certificate_and_its_key(authority, issue, manager, store, client):
    """OpenSSL replaces the one before the other: a connection in between would have no key."""
    issue()
    context = create_server_context(PATH, manager=manager)
    source = CredentialSource(PATH, manager)
    logins = []
    for _ in range(2):
        issue()
        logins.append(source.after_refusal(Reread.FRESH))
        manager.invalidate(PATH)
    stop = threading.Event()

    def replace():
        while not stop.is_set():
            for login in logins:
                context.renew(lambda login=login: login)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(100):
            assert connect(context, client)
    finally:
        stop.set()
        thread.join()


def test_a_certificate_with_a_short_life_is_looked_at_in_time(issue, store, open_manager):
    """Ten times within the rest of its life, where an ordinary watch would look after its end."""
    issue(timedelta(seconds=20))
    with open_manager(30) as manager:
        context = create_server_context(PATH, manager=manager)
        (interval,) = parts_of(manager).watcher.intervals
    assert context is not None
    assert interval <= 2


def test_a_wrong_pair_does_not_replace_a_good_one(issue, store, watching_manager, handshake, caplog):
    """The log says why; the server keeps the certificate that it has."""
    certificate = issue()
    context = create_server_context(PATH, manager=watching_manager)
    store.write(PATH, {"certificate": "wrong", "private_key": "wrong"})
    wait_until(lambda: "cannot be used" in caplog.text)
    assert handshake(context) == certificate


def test_another_type_of_key_is_named_in_the_log(issue, watching_manager, caplog):
    """OpenSSL keeps the old pair beside the new one, and some clients would still see it."""
    issue()
    context = create_server_context(PATH, manager=watching_manager)
    caplog.set_level(logging.WARNING)
    issue(key_type=trustme.KeyType.RSA)
    wait_until(lambda: "restart" in caplog.text)
    assert context
