"""Where credentials come from, and what happens if they are missing, refused or slow. With TLS."""

import json
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import AuthenticationError, StoreUnavailableError, WriteOutcomeUnknownError
from strongroom.store import time_limit
from strongroom.store.deadline import fail_fast
from strongroom.testing import dripping_server, silent_server
from strongroom_google import credentials
from strongroom_google.client import Client
from strongroom_google.store import GoogleSecretManagerStore
from support.services.google import FakeSecretManager, TokenServer, workload_identity

pytestmark = pytest.mark.long

LIMIT, GRACE = 0.5, 8.0
"""Seconds that a call is given, and that a busy machine may add."""


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def google(authority, monkeypatch, tmp_path):
    """A fake with TLS, whose authority the client trusts."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with FakeSecretManager(context=context) as fake:
        fake.put("app", b"one")
        yield fake


@pytest.fixture
def store(google):
    """The store with the credentials of the machine."""
    opened = GoogleSecretManagerStore(Client(f"https://127.0.0.1:{google.port}"), "projects/demo", "", "keep")
    yield opened
    opened.close()


def ends_in_time(store, kind):
    """Assert that a read ends in time with this class of error, and return the error."""
    began = time.monotonic()
    with time_limit(LIMIT), pytest.raises(kind) as caught:
        GuardedStore(store, "google").read("app")
    assert time.monotonic() - began < LIMIT + GRACE
    return caught.value


def test_workload_identity(google, store, token_server):
    """One token serves all calls of its lifetime, also those that begin at the same time."""
    google.tokens = {TokenServer.TOKEN}
    with ThreadPoolExecutor(8) as pool:
        assert {secret.data["value"] for secret in pool.map(store.read, ["app"] * 8)} == {"one"}
    assert token_server.count == 1


def test_service_account_signs_its_tokens_itself(google, store, monkeypatch, tmp_path):
    """No token server is asked, which could be out."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "client_email": "app@demo.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:1/token",
        "private_key": key.decode(),
    }
    (tmp_path / "account.json").write_text(json.dumps(account), "utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    assert store.read("app").data == {"value": "one"}
    assert google.given[-1].count(".") == 2


def test_refused_credentials_are_not_an_outage(google, store, token_server):
    """An outage would lead to the next link."""
    token_server.answer = 400, {"error": "invalid_grant", "error_description": "canary"}
    with pytest.raises(AuthenticationError, match="does not accept the credentials") as caught:
        store.read("app")
    assert "canary" not in f"{caught.value} {vars(caught.value)}"
    assert google.asked == []


def test_token_that_google_refuses_is_an_authentication_error(google, store, token_server):
    google.tokens = {"another"}
    with pytest.raises(AuthenticationError, match="gcloud auth"):
        store.read("app")


def test_token_server_that_fails_is_an_outage(google, store, token_server):
    token_server.answer = 503, {"error": "backend"}
    with fail_fast(), pytest.raises(StoreUnavailableError, match="token server"):
        store.read("app")


def test_write_without_a_token_is_in_no_doubt(google, store, token_server):
    """Nothing was sent."""
    token_server.answer = 503, {"error": "backend"}
    with fail_fast(), pytest.raises(StoreUnavailableError) as caught:
        store.write("app", {"k": "v"})
    assert not isinstance(caught.value, WriteOutcomeUnknownError)


def test_token_server_that_recovers_is_asked_again(google, store, token_server):
    good, token_server.answer = token_server.answer, (503, {"error": "backend"})
    with fail_fast(), pytest.raises(StoreUnavailableError):
        store.read("app")
    token_server.answer = good
    assert store.read("app").data == {"value": "one"}


@pytest.mark.parametrize("service", [silent_server, dripping_server])
def test_token_server_that_hangs_is_an_outage_in_time(google, store, monkeypatch, tmp_path, service):
    with service() as (host, port):
        file = workload_identity(f"http://{host}:{port}/token", tmp_path)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        ends_in_time(store, StoreUnavailableError)
    assert google.asked == []


@pytest.mark.parametrize("service", [silent_server, dripping_server])
def test_metadata_server_that_hangs_is_an_outage_in_time(google, store, monkeypatch, service):
    """No answer may mean that this machine is not at Google, or that its metadata server is out."""
    monkeypatch.setattr(credentials, "LIMIT", 0.2)
    with service() as (host, port):
        monkeypatch.setenv("GCE_METADATA_IP", f"{host}:{port}")
        ends_in_time(store, StoreUnavailableError)


def test_silent_metadata_server_costs_one_wait(google, store, monkeypatch):
    """Google's own search tries three times. The error says how to log in, for a machine that is not at Google."""
    monkeypatch.setattr(credentials, "LIMIT", 0.2)
    began = time.monotonic()
    with silent_server() as (host, port):
        monkeypatch.setenv("GCE_METADATA_IP", f"{host}:{port}")
        with fail_fast(), pytest.raises(StoreUnavailableError, match="metadata server") as caught:
            store.read("app")
    assert time.monotonic() - began < 0.2 + GRACE
    assert "gcloud auth application-default login" in str(caught.value)


def test_machine_without_credentials_is_an_authentication_error(google, store, monkeypatch):
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)
    with pytest.raises(AuthenticationError, match="no Google credentials were found") as caught:
        store.read("app")
    assert "gcloud auth application-default login" in str(caught.value)


def test_file_that_is_no_credentials_is_an_authentication_error(google, store, monkeypatch, tmp_path):
    (tmp_path / "odd.json").write_text('{"type": "canary"}', "utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "odd.json"))
    with pytest.raises(AuthenticationError) as caught:
        store.read("app")
    assert "canary" not in str(caught.value)
