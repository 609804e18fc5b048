"""Each failure of Key Vault, the network and the login is an absence, a denial or an outage, by its code."""

import json

import pytest
import trustme

from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import time_limit
from strongroom.testing import silent_server
from strongroom_azure.plugin import open_key_vault
from support.services.azure import CREDENTIALS, answered, raw, silent

pytestmark = pytest.mark.long


def kind_of(operation):
    """The class and the text of the error of an operation that is given a second."""
    with time_limit(1.0), pytest.raises(StoreError) as caught:
        operation()
    return type(caught.value), str(caught.value)


READS = [
    (404, "SecretNotFound", "", SecretNotFoundError, ""),
    (404, "VaultNotFound", "", StoreUnavailableError, "no such vault"),
    (404, "canary-code", "", StoreUnavailableError, "not Key Vault"),
    (401, "Unauthorized", "", AuthenticationError, "no Azure credentials were accepted"),
    (403, "Forbidden", "AccessDenied", PermissionDeniedError, "AccessDenied"),
    (403, "Forbidden", "ForbiddenByRbac", PermissionDeniedError, "ForbiddenByRbac"),
    (403, "Forbidden", "ForbiddenByPolicy", PermissionDeniedError, "ForbiddenByPolicy"),
    (403, "Forbidden", "SecretDisabled", PermissionDeniedError, "disabled"),
    (403, "Forbidden", "canary-code", PermissionDeniedError, "HTTP 403"),
    (403, "Forbidden", "ForbiddenByFirewall", StoreUnavailableError, "refuses this network"),
    (403, "Forbidden", "ForbiddenByConnection", StoreUnavailableError, "refuses this network"),
    (400, "BadParameter", "", StoreError, "BadParameter"),
    (418, "canary-code", "", StoreError, "HTTP 418"),
]


@pytest.mark.parametrize("token", [False, True], ids=["first request", "with a token"])
def test_one_refusal_without_a_challenge_is_repeated(key_vault, token):
    """Key Vault names a challenge with each 401. A server before it that answered so has carried nothing out."""
    key_vault.vault.put("app", "s3cret")
    store = key_vault.open()
    if token:
        store.read("app")
    left = [raw(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")]

    def once(handler):
        return bool(left) and left.pop()(handler)

    with key_vault.fault(once):
        assert store.read("app").data == {"value": "s3cret"}
        assert store.write("app", {"value": "new"})


@pytest.mark.parametrize(("status", "code", "inner", "kind", "words"), READS)
def test_reply_to_a_read(key_vault, status, code, inner, kind, words):
    """One request, and no repetition; an unknown code and the text are not shown."""
    key_vault.vault.put("app", "s3cret")
    store = key_vault.open()
    store.read("app")
    before = len(key_vault.asked)
    with key_vault.fault(answered(status, code, inner)):
        found, text = kind_of(lambda: store.read("app"))
    assert found.__mro__[:2].count(kind) == 1
    assert words in text
    assert "canary" not in text
    assert len(key_vault.asked) - before == (2 if status == 401 else 1)  # a new token is tried once


@pytest.mark.parametrize(
    "content",
    [
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"canary": 1.5}',
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n["canary-value"]',
        b"HTTP/1.1 307 x\r\nLocation: https://canary.example/\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_reply_of_another_server_is_an_outage(key_vault, content):
    store = key_vault.open()
    store.write("app", {"k": "v"})
    with key_vault.fault(raw(content), "GET"):
        found, text = kind_of(lambda: store.read("app"))
    assert found is StoreUnavailableError
    assert "canary" not in text


def test_redirect_of_a_write_does_not_send_the_value_to_another_host(key_vault):
    other = key_vault.azure.fresh_vault()
    location = f"Location: https://{other}.vault.azure.net/secrets/app?api-version=7.6"
    store = key_vault.open()
    store.write("app", {"k": "v"})
    with key_vault.fault(raw(f"HTTP/1.1 307 x\r\n{location}\r\nContent-Length: 0\r\n\r\n".encode()), "PUT"):
        assert kind_of(lambda: store.write("app", {"k": "w"}))[0] is WriteOutcomeUnknownError
    assert not [url for _, url in key_vault.azure.requests if other in url]


def test_reply_with_another_secret_is_an_outage(key_vault):
    key_vault.vault.put("app", "one")
    key_vault.vault.secrets["app"][0]["name"] = "other"
    assert kind_of(lambda: key_vault.open().read("app"))[0] is StoreUnavailableError


# --- the network ------------------------------------------------------------------------------------------------------


def test_vault_that_does_not_exist_is_an_outage(azure):
    """Its name does not resolve. That says nothing about a secret."""
    assert kind_of(lambda: open_key_vault(vault="nowhere").read("app"))[0] is StoreUnavailableError


def test_certificate_of_an_unknown_authority_is_an_outage(key_vault, monkeypatch, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    assert kind_of(lambda: key_vault.open().read("app"))[0] is StoreUnavailableError
    assert key_vault.asked == []


def test_challenge_for_another_resource_gets_no_token(key_vault):
    """So no server can have a token that another one accepts."""
    challenge = b'Bearer authorization="https://login.microsoftonline.com/x", resource="https://canary.example"'
    reply = b"HTTP/1.1 401 x\r\nContent-Length: 0\r\nWWW-Authenticate: " + challenge + b"\r\n\r\n"
    with key_vault.fault(raw(reply)):
        found, text = kind_of(lambda: key_vault.open().read("app"))
    assert (found, "canary" in text) == (StoreUnavailableError, False)
    assert not [url for _, url in key_vault.azure.requests if "login" in url]


def test_write_is_not_sent_after_the_deadline(key_vault):
    """Its caller has left, and would not know of it. The read before it ends late, and no single wait is too long."""
    body = b'{"error":{"code":"SecretNotFound"}}'
    lines = b"HTTP/1.1 404 x", b"Content-Type: application/json", b"Content-Length: %d" % len(body), b"", body

    def answer_slowly(handler):
        for line in lines[:-1]:
            handler.wfile.write(line + b"\r\n")
            handler.wfile.flush()
            handler.azure.ended.wait(0.1)
        handler.wfile.write(body)
        return True

    store = key_vault.open()
    store.write("app", {"k": "v"})
    with key_vault.fault(answer_slowly, "GET"), time_limit(0.3):
        assert kind_of(lambda: store.write("app", {"k": "w"}))[0] is StoreUnavailableError
    assert key_vault.asked.count("PUT /secrets/app") == 1


# --- the login --------------------------------------------------------------------------------------------------------


def test_refused_credential_is_named_by_its_number(key_vault, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "canary-wrong")
    found, text = kind_of(lambda: key_vault.open().read("app"))
    assert found is AuthenticationError
    assert "(AADSTS7000215)" in text
    assert "canary" not in text


@pytest.mark.parametrize("fault", [silent, raw(b""), answered(503, "x")])
def test_outage_of_the_login_is_no_refusal(key_vault, fault):
    """The SDK reports both as a refusal of all credentials."""
    with key_vault.azure.fault(fault, lambda _, url: "login" in url), time_limit(1.0):
        assert kind_of(lambda: key_vault.open().read("app"))[0] is StoreUnavailableError


@pytest.mark.parametrize(
    ("status", "kind"), [(400, AuthenticationError), (401, AuthenticationError), (503, StoreUnavailableError)]
)
def test_failed_renewal_of_a_token_is_told_apart_too(key_vault, monkeypatch, status, kind):
    """The SDK raises it in another form than the failure of the first login, and msal repeats it without a request."""
    monkeypatch.setattr(key_vault.azure, "token_seconds", 60)  # the SDK renews a token five minutes before its end
    store = key_vault.open()
    store.write("app", {"k": "v"})

    def refuse(handler):
        handler.send(status, {"error": "invalid_client", "error_description": "AADSTS7000222: canary"})
        return True

    with key_vault.azure.fault(refuse, lambda method, _: method == "POST"):
        for operation in (lambda: store.read("app"), lambda: store.delete("app"), lambda: store.read("app")):
            found, text = kind_of(operation)
            assert found is kind
            assert "canary" not in text
            assert ("AADSTS7000222" in text) is (kind is AuthenticationError)
    assert "app" in key_vault.vault.secrets


@pytest.fixture
def no_principal(key_vault, monkeypatch):
    """No service principal is configured, and no program of Azure's is installed."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "/nowhere")
    return key_vault


def test_no_identity_is_a_refusal(no_principal, monkeypatch, closed_port):
    """No machine of Azure answers: the connection is refused."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{closed_port}")
    assert kind_of(lambda: no_principal.open().read("app"))[0] is AuthenticationError


def test_silent_endpoint_of_a_managed_identity_is_an_outage_after_two_seconds(no_principal, monkeypatch):
    """The SDK alone would wait for five minutes."""
    monkeypatch.setattr("strongroom_azure.client.PROBE_READ", 0.1)
    with silent_server() as (host, port):
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://{host}:{port}")
        with time_limit(60):
            found, text = kind_of(lambda: no_principal.open().read("app"))
    assert found is StoreUnavailableError
    assert "no time" not in text


def test_wrong_variables_are_a_configuration_error(azure, monkeypatch):
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "canary-kind")
    with pytest.raises(ConfigurationError) as caught:
        open_key_vault(vault="shop")
    assert "canary" not in str(caught.value)


def test_codes_are_read_in_either_spelling(key_vault):
    """Key Vault writes `innererror` and, since 2023, `innerError`."""
    key_vault.vault.put("app", "s3cret")
    store = key_vault.open()
    store.read("app")
    body = json.dumps({"error": {"code": "Forbidden", "innerError": {"code": "SecretDisabled"}}}).encode()
    head = f"HTTP/1.1 403 x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with key_vault.fault(raw(head + body)):
        assert "it is disabled" in kind_of(lambda: store.read("app"))[1]
