"""Certificates and files of authorities that change while a context uses them. The looks are driven by hand."""

import logging
import re
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from strongroom import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.integrations import tls
from strongroom.integrations.tls import create_client_context, create_server_context
from support.scenarios.handshakes import NAME, connect
from support.scenarios.watching import ListedStore, Looks

PATH = "tls/web"
DAY = timedelta(days=1)
USUAL = 30.0
"""Seconds between two looks at a secret."""


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def store():
    return ListedStore()


@pytest.fixture
def manager(store):
    with SecretsManager(chain=[store], cache_ttl=3600) as manager:
        yield manager


@pytest.fixture
def look(manager):
    """A function that looks at the watched secrets once."""
    return Looks(manager)


@pytest.fixture
def issue(authority, store):
    """A function that stores a new certificate and returns it in DER form."""

    def issue(begins=-DAY, ends=DAY, by=authority, key_type=trustme.KeyType.ECDSA):
        now = datetime.now(UTC)
        pair = by.issue_cert(NAME, not_before=now + begins, not_after=now + ends, key_type=key_type)
        (certificate,) = (part.bytes().decode() for part in pair.cert_chain_pems)
        store.write(PATH, {"certificate": certificate, "private_key": pair.private_key_pem.bytes().decode()})
        return ssl.PEM_cert_to_DER_cert(certificate)

    return issue


@pytest.fixture
def time(monkeypatch):
    """A function that lets the clock that certificates are compared with go forward."""

    def go(by):
        now = datetime.now(UTC) + by
        monkeypatch.setattr(tls, "_now", lambda: now)

    return go


@pytest.fixture
def served(authority):
    """A function that returns the certificate that a server shows, even one that has ended."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    return lambda context: connect(context, client)


def pauses(manager):
    """Return the seconds between two looks at each watched secret."""
    return [round(interval, 1) for interval in parts_of(manager).watcher.intervals]


# --- the pair ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_is_refused_without_a_prompt(issue, store, manager, look, served, caplog, form):
    """OpenSSL would prompt for its passphrase in the thread of the watch, which would end every watch."""
    certificate = issue()
    context = create_server_context(PATH, manager=manager)
    issue()
    secret = manager.get_secret(PATH, fresh=True)
    key = load_pem_private_key(secret["private_key"].reveal().encode(), None)
    encrypted = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"canary-passphrase")).decode()
    store.write(PATH, {"certificate": secret["certificate"].reveal(), "private_key": encrypted})
    look()
    assert "cannot be used (encrypted)" in caplog.text
    assert PATH in caplog.text
    assert encrypted.splitlines()[1] not in caplog.text
    assert served(context) == certificate
    with pytest.raises(Exception, match=r"cannot be used \(encrypted\)"):
        create_server_context(PATH, manager=manager)


@pytest.mark.parametrize(
    ("begins", "ends", "reason"),
    [(-2 * DAY, -DAY, r"ended at 20\d\d-\d\d-\d\d"), (DAY, 2 * DAY, r"not valid before 20\d\d-\d\d-\d\d")],
)
def test_a_certificate_that_is_not_valid_now_does_not_replace_a_good_one(
    issue, manager, look, served, caplog, begins, ends, reason
):
    """One line of the log names the secret and the time."""
    certificate = issue()
    context = create_server_context(PATH, manager=manager)
    issue(begins, ends)
    look()
    look()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert PATH in record.getMessage()
    assert re.search(reason, record.getMessage())
    assert served(context) == certificate


def test_a_certificate_is_used_from_the_moment_on_at_which_it_is_valid(issue, manager, look, served, time):
    """Without another change of the secret."""
    first = issue()
    context = create_server_context(PATH, manager=manager)
    second = issue(timedelta(hours=1), 2 * DAY)
    look()
    assert served(context) == first
    time(timedelta(hours=2))
    look()
    assert served(context) == second


def test_a_later_certificate_supersedes_one_that_is_not_valid_yet(issue, manager, look, served, time):
    """The one that was not valid yet is forgotten."""
    issue()
    context = create_server_context(PATH, manager=manager)
    issue(timedelta(hours=1), 2 * DAY)
    look()
    third = issue(ends=3 * DAY)
    look()
    time(timedelta(hours=2))
    look()
    assert served(context) == third


def test_an_ended_certificate_serves_at_the_start_and_is_named_in_the_log(issue, manager, look, served, caplog):
    """The secret has no better one yet. The next one replaces it."""
    certificate = issue(-2 * DAY, -DAY)
    context = create_server_context(PATH, manager=manager)
    assert served(context) == certificate
    assert f"The certificate at {PATH} is not accepted by peers now: ended at" in caplog.text
    newest = issue()
    look()
    assert served(context) == newest


def test_a_pair_that_could_not_be_loaded_is_tried_again(issue, manager, look, served, monkeypatch, caplog):
    """For example, a process has no free descriptor for the moment. The secret does not change again."""
    issue()
    context = create_server_context(PATH, manager=manager)
    newest = issue()

    def full(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(tls.os, "memfd_create", full, raising=False)
        look()
        look()
    (record,) = caplog.records
    assert record.getMessage() == "The certificate was not replaced. [Errno 24] Too many open files"
    look()
    assert served(context) == newest


# --- the pause between two looks --------------------------------------------------------------------------------------


def test_the_pause_follows_the_certificate_that_is_used(issue, manager, look):
    """A long one, then one of a minute, then a long one."""
    issue()
    context = create_server_context(PATH, manager=manager)
    assert pauses(manager) == [USUAL]
    issue(ends=timedelta(seconds=60))
    look()
    assert pauses(manager) == [pytest.approx(6, abs=0.5)]
    issue()
    look()
    assert pauses(manager) == [USUAL]
    assert context


def test_an_ended_certificate_is_looked_at_as_often_as_any_secret(issue, manager, look, time):
    """From the start, or from its end on. It may never be replaced."""
    issue(ends=-timedelta(hours=1))
    ended = create_server_context(PATH, manager=manager)
    assert pauses(manager) == [USUAL]
    issue(ends=timedelta(seconds=5))
    look()
    assert pauses(manager) == [pytest.approx(0.5, abs=0.1)]
    time(timedelta(seconds=6))
    look()
    assert pauses(manager) == [USUAL]
    assert ended


def test_a_long_certificate_is_looked_at_more_often_before_its_end(issue, manager, look, time):
    """Ten times within its last five minutes, and the pause stays the same within them."""
    issue()
    context = create_server_context(PATH, manager=manager)
    time(DAY - timedelta(seconds=100))
    look()
    assert pauses(manager) == [pytest.approx(10, abs=0.5)]
    time(DAY - timedelta(seconds=50))
    look()
    assert pauses(manager) == [pytest.approx(10, abs=0.5)]
    assert context


# --- authorities ------------------------------------------------------------------------------------------------------


def write(file, *authorities):
    """Replace a file by one with these authorities, as a rename does."""
    new = file.with_suffix(".new")
    new.write_bytes(b"".join(authority.cert_pem.bytes() for authority in authorities))
    new.replace(file)


@pytest.fixture
def rollover(authority, tmp_path):
    """The file of the present authority, and the next one."""
    file = tmp_path / "authority.pem"
    write(file, authority)
    return file, trustme.CA()


def client_of(authority, issuer):
    """Return the context of a client that trusts one authority and has a certificate of another."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    issuer.issue_cert("client").configure_cert(client)
    return client


def test_an_authority_that_is_added_to_client_ca_is_trusted(issue, manager, look, authority, rollover):
    """A rollover without a restart: clients of both authorities connect while both are in the file."""
    file, following = rollover
    issue()
    context = create_server_context(PATH, client_ca=file, manager=manager)
    with pytest.raises((OSError, ConnectionError)):
        connect(context, client_of(authority, following))
    write(file, authority, following)
    look()
    for issuer in (authority, following):
        assert connect(context, client_of(authority, issuer))


def test_an_authority_that_is_added_to_server_ca_is_trusted(issue, manager, look, authority, rollover):
    """The server changes to the new authority, which the client's file has since the last look."""
    file, following = rollover
    issue()
    client = create_client_context(PATH, server_ca=file, manager=manager)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    following.issue_cert(NAME).configure_cert(server)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server, client)
    write(file, authority, following)
    look()
    assert connect(server, client)


def test_an_authority_that_is_removed_is_named_in_the_log(issue, manager, look, authority, rollover, caplog):
    """OpenSSL only adds authorities, so it is trusted until the process ends. Removed and added ones are told apart."""
    file, following = rollover
    issue()
    context = create_server_context(PATH, client_ca=file, manager=manager)
    write(file, authority, following)
    look()
    assert caplog.records == []
    write(file, following)
    look()
    look()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"Authorities were removed from {file} (1): restart")
    assert context


@pytest.mark.parametrize("damage", ["missing", "half"])
def test_a_file_of_authorities_that_cannot_be_read_changes_nothing(
    issue, manager, look, authority, rollover, caplog, damage
):
    """One line names it. When it is whole again, its authorities are added."""
    file, following = rollover
    issue()
    context = create_server_context(PATH, client_ca=file, manager=manager)
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(following.cert_pem.bytes() + authority.cert_pem.bytes()[:300])
    look()
    look()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"The authorities were not replaced. {file}: ")
    assert connect(context, client_of(authority, authority))
    with pytest.raises((OSError, ConnectionError)):
        connect(context, client_of(authority, following))
    write(file, authority, following)
    look()
    assert connect(context, client_of(authority, following))
