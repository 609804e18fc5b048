"""The protocols of helpers: request text -> request, answer -> text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strongroom._chain.answer import Resolution
from strongroom._cli.helper import protocols
from strongroom._config import HelperConfig
from strongroom._config.helpers_table import find_row, parse_place
from strongroom.errors import (
    AuthenticationError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
)
from strongroom.secret import protect

CANARY = "canary-7f3a"
NOON = datetime(2027, 1, 31, 12, 0, 0, 900_000, UTC)


def found(value: Any, key: str | None = "token", ends: datetime | None = None) -> Resolution:
    protected = protect(value)
    return Resolution(
        "a/b", key, protected, "vault", version=1, age=0.0, cached=False, stale=False, attempts=(), ends=ends
    )


def document(content: bytes) -> Any:
    return json.loads(content)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a\nb", "a\n", "a\r", "\0", "a\tb", "\x1b[2J", "\x7f"])
@pytest.mark.parametrize("answer", [protocols.line_of, lambda found: protocols.token_document(found, NOON)])
def test_a_value_with_a_control_character_is_refused_where_a_value_is_a_line(answer, value):
    """A line end would begin another field, as in git's `password_expiry_utc` or `quit`."""
    with pytest.raises(InvalidDataError, match="cannot carry the line end") as raised:
        answer(found(f"{CANARY}{value}"))
    assert CANARY not in repr(raised.value)
    assert raised.value.__context__ is None


@pytest.mark.parametrize("value", [None, CANARY.encode()])
def test_a_value_that_is_not_text_is_refused(value):
    with pytest.raises(InvalidDataError, match="a credential is text") as raised:
        protocols.line_of(found(value))
    assert CANARY not in repr(raised.value)


def test_a_number_is_its_text():
    assert protocols.line_of(found(5432)) == "5432"


# --- key --------------------------------------------------------------------------------------------------------------


def test_a_token_is_bare():
    assert protocols.line_of(found(CANARY)) == CANARY


def test_the_document_of_a_token_has_its_end():
    """`expires_in` is in whole seconds and `expiry` in RFC 3339, both never later than the end."""
    with_end = document(protocols.token_document(found(CANARY, ends=NOON), NOON - timedelta(seconds=90.5)))
    token = {"access_token": CANARY, "token_type": "Bearer"}
    assert with_end == {**token, "expires_in": 90, "expiry": "2027-01-31T12:00:00Z"}
    assert document(protocols.token_document(found(CANARY), NOON)) == token
    assert document(protocols.token_document(found(CANARY, ends=NOON), NOON + timedelta(hours=1)))["expires_in"] == 0


# --- aws --------------------------------------------------------------------------------------------------------------


def test_aws_gets_a_session_token_and_an_expiration_if_there_is_one():
    lasting = {"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": CANARY}
    issued = {"access_key": "AKIA", "secret_key": CANARY, "security_token": "t"}
    assert (
        document(protocols.aws_document(found({"aws_access_key_id": "AKIA", "aws_secret_access_key": CANARY}, None)))
        == lasting
    )
    answer = document(protocols.aws_document(found(issued, None, NOON)))
    assert answer == {**lasting, "SessionToken": "t", "Expiration": "2027-01-31T12:00:00Z"}


def test_a_secret_that_is_no_aws_credential_is_refused():
    with pytest.raises(InvalidDataError, match="none of the keys secret_key"):
        protocols.aws_document(found({"access_key": "AKIA"}, None))


# --- kubectl ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"])
def test_kubectl_gets_the_version_that_it_asks_for(version):
    asked = protocols.kubectl_version(json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": {}}))
    answer = document(protocols.kubectl_document(found(CANARY, ends=NOON), asked))
    status = {"token": CANARY, "expirationTimestamp": "2027-01-31T12:00:00Z"}
    assert answer == {"apiVersion": version, "kind": "ExecCredential", "status": status}


def test_without_a_request_kubectl_gets_v1():
    assert protocols.kubectl_version("") == "client.authentication.k8s.io/v1"


@pytest.mark.parametrize(
    "request_text",
    ["{", "[]", "[" * 100_000, "{}", '{"apiVersion": "client.authentication.k8s.io/v1alpha1"}'],
)
def test_another_version_of_kubectl_is_refused(request_text):
    with pytest.raises(InvalidDataError, match="KUBERNETES_EXEC_INFO"):
        protocols.kubectl_version(request_text)


@pytest.mark.parametrize("names", [("certificate", "private_key"), ("tls.crt", "tls.key")])
def test_kubectl_gets_a_certificate_with_its_chain(names):
    secret = {names[0]: "CERT\n", names[1]: CANARY, "ca_chain": ["CA"]}
    status = document(protocols.kubectl_document(found(secret, None), "v"))["status"]
    assert status == {"clientCertificateData": "CERT\nCA", "clientKeyData": CANARY}


# --- openclaw ---------------------------------------------------------------------------------------------------------


def asked(**changed: Any) -> bytes:
    return json.dumps({"protocolVersion": 1, "provider": "vault", "ids": ["a/b#c"], **changed}).encode()


def test_openclaw_gets_each_value_and_each_error():
    outage = StoreUnavailableError("x/y", "connection refused")
    answer = document(protocols.openclaw_document({"a/b#c": found(CANARY, "c"), "x/y#z": outage, "n/u#l": found(None)}))
    assert answer["values"] == {"a/b#c": CANARY}
    assert answer["errors"]["x/y#z"] == {"code": "UNAVAILABLE", "message": str(outage)}
    assert answer["errors"]["n/u#l"]["code"] == "FAILED"
    assert answer["errors"].keys() == {"x/y#z", "n/u#l"}
    assert "errors" not in document(protocols.openclaw_document({"a/b#c": found(CANARY, "c")}))


@pytest.mark.parametrize(
    ("error", "code"),
    [(SecretNotFoundError, "NOT_FOUND"), (PermissionDeniedError, "DENIED"), (AuthenticationError, "DENIED")],
)
def test_openclaw_can_tell_an_absence_from_a_denial(error, code):
    assert document(protocols.openclaw_document({"a/b#c": error("a/b")}))["errors"]["a/b#c"]["code"] == code


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff", b"[" * 100_000, asked(protocolVersion=2), asked(ids="a/b#c"), asked(ids=[1]), asked()[:-1]],
)
def test_a_malformed_request_of_openclaw_is_refused(content):
    with pytest.raises(InvalidDataError, match="OpenClaw exec provider"):
        protocols.openclaw_places(content)


def test_an_id_of_openclaw_is_a_path_and_a_key():
    """The last `#` separates them, as in every reference. Without a `#`, the key is empty."""
    places = protocols.openclaw_places(asked(ids=["a/b#c", "a#b#c", "a/b", "a/b#c"]))
    assert places == {"a/b#c": ("a/b", "c"), "a#b#c": ("a#b", "c"), "a/b": ("a/b", "")}


# --- git --------------------------------------------------------------------------------------------------------------


def test_git_asks_for_a_service_by_its_parts():
    lines = [b"capability[]=authtype", b"protocol=https", b"host=h.example:8443", b"path=team/app.git", b"username=ada"]
    request = protocols.git_request([*lines, b'wwwauth[]=Basic realm="x=y"\n', b"password=p=q"])
    assert request == ("https://h.example:8443/team/app.git", "ada")


@pytest.mark.parametrize("lines", ["", "protocol=https", "protocol=smtp host=h", "protocol=https host=a/b", "host"])
def test_another_protocol_than_http_has_no_service(lines):
    """No row is that of such a text. A slash in the host was escaped in the URL."""
    service, _ = protocols.git_request(lines.encode().split())
    for host in ("h", "a"):
        assert find_row([HelperConfig(host, parse_place(host), "a/b")], service) is None


@pytest.mark.parametrize("line", [b"host=a\0b", b"host=a\rb", b"path=a\x1bb", b"username=ci\r\n"])
def test_a_control_character_in_a_request_of_git_is_refused(line):
    with pytest.raises(InvalidDataError, match="git's request"):
        protocols.git_request([line])


def test_git_gets_the_user_the_password_and_its_end():
    assert protocols.git_answer("ada", CANARY, None) == f"username=ada\npassword={CANARY}\n".encode()
    assert protocols.git_answer("ada", "p", NOON).endswith(b"\npassword_expiry_utc=1801396800\n")


def test_git_gets_no_line_that_it_would_cut():
    with pytest.raises(InvalidDataError, match="65,535 bytes"):
        protocols.git_answer("ada", "x" * 65_527, None)
    assert protocols.git_answer("ada", "x" * 65_526, None)
