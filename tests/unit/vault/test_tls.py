"""TLS contexts of the Vault backend."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme

from strongroom.errors import ConfigurationError
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers.curl_driver import CurlDriver
from strongroom_vault.http.drivers.urllib3_driver import Urllib3Driver
from strongroom_vault.http.messages import FaultKind, HttpFault, HttpRequest, SendStep
from strongroom_vault.http.tls import TLSSettings, is_refusal
from support.clock import LONG


def test_environment_does_not_make_a_context_log_its_keys(tmp_path, monkeypatch):
    """SSLKEYLOGFILE would write the keys of every connection, and so the secrets, to a file."""
    file = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(file))
    assert TLSSettings().context().keylog_filename is None
    assert not file.exists()


def test_context_verifies_as_the_default_context_of_python_does():
    context, default = TLSSettings().context(), ssl.create_default_context()
    for name in ("verify_mode", "check_hostname", "verify_flags", "minimum_version", "options", "protocol"):
        assert getattr(context, name) == getattr(default, name)
    assert context.cert_store_stats() == default.cert_store_stats()


@pytest.mark.parametrize(
    ("option", "fault"), [("ca_cert", "File name"), ("ca_path", "is not a folder"), ("client_cert", "File name")]
)
def test_name_that_is_too_long_is_a_fault_of_its_option(option, fault):
    """As any other file that cannot be read, and not a bug of the plugin."""
    with pytest.raises(ConfigurationError, match=f"^{option}: x+:? {fault}"):
        TLSSettings(**{option: Path("x" * 300)}).check()


@pytest.mark.parametrize("reason", [
    "TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_CERTIFICATE_UNKNOWN", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_ACCESS_DENIED",
])  # fmt: skip
def test_alerts_about_the_client_certificate_refuse_the_request(reason):
    assert is_refusal(reason)


@pytest.mark.parametrize("reason", [
    "SSLV3_ALERT_UNEXPECTED_MESSAGE", "SSLV3_ALERT_BAD_RECORD_MAC", "TLSV1_ALERT_INTERNAL_ERROR",
    "TLSV1_ALERT_USER_CANCELLED", "DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "WRONG_VERSION_NUMBER", None,
])  # fmt: skip
def test_other_errors_do_not_tell_whether_the_request_was_processed(reason):
    assert not is_refusal(reason)


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture(params=[CurlDriver, Urllib3Driver], ids=["curl", "urllib3"])
def send(request, authority):
    """A function that sends a write to a server which sends the alert of that function, and returns the outcome."""

    def once(step):
        return (yield step)

    def run(server_context, alert):
        tls = TLSSettings(ca_cert_bytes=authority.cert_pem.bytes().decode())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = threading.Thread(target=_serve, args=(listener, server_context, alert))
            server.start()
            address = Address("https", "127.0.0.1", listener.getsockname()[1])
            driver = request.param([address], tls)
            write = HttpRequest("POST", "/v1/secret/data/app", {}, b"{}", changes=True)
            outcome = driver.run(once(SendStep(write, address, LONG)))
            driver.close()
            server.join()
        return outcome

    return run


def _serve(listener, context, alert):
    """Serve one connection, on buffers: a TLS socket gives no access to the alert it sends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(LONG)
        with contextlib.suppress(ssl.SSLError):
            _until_read(connection, incoming, outgoing, tls.do_handshake)
            request = b""
            while not request.endswith(b"{}"):
                request += _until_read(connection, incoming, outgoing, lambda: tls.read(10_000))
            alert(incoming, tls)
        connection.sendall(outgoing.read())
        while connection.recv(10_000):  # a reset would overtake the alert
            pass


def _until_read(connection, incoming, outgoing, step):
    while True:
        try:
            result = step()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(10_000))
        else:
            connection.sendall(outgoing.read())
            return result


def _server_context(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_an_alert_after_the_request_left_is_a_lost_reply(authority, send):
    """The server may have processed the request before its connection broke."""

    def garble(incoming, tls):
        incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that the client did not send
        tls.read(1)

    assert send(_server_context(authority), garble).kind is FaultKind.LOST


def test_a_client_certificate_that_is_required_is_a_refusal(authority, send):
    """Its alert arrives after the request left in TLS 1.3, and the server processed nothing."""
    context = _server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    outcome = send(context, None)
    assert outcome == HttpFault(FaultKind.UNTRUSTED, "TLS failed: TLSV13_ALERT_CERTIFICATE_REQUIRED")
