"""Each reply of Google is an absence, a denial, an outage or a refusal, and none shows its message."""

import json

import pytest
import requests
import urllib3
from google.auth import exceptions as auth
from google.rpc import code_pb2

from strongroom.errors import (
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store.calls import Fate
from strongroom_google.errors import RefusedError, fault_of, refusal

EXPECTED = {
    "NOT_FOUND": (404, SecretNotFoundError, Fate.ANSWERED),
    "PERMISSION_DENIED": (403, PermissionDeniedError, Fate.ANSWERED),
    "UNAUTHENTICATED": (401, AuthenticationError, Fate.ANSWERED),
    "INVALID_ARGUMENT": (400, RefusedError, Fate.ANSWERED),
    "FAILED_PRECONDITION": (400, RefusedError, Fate.ANSWERED),
    "OUT_OF_RANGE": (400, RefusedError, Fate.ANSWERED),
    "ALREADY_EXISTS": (409, RefusedError, Fate.ANSWERED),
    "RESOURCE_EXHAUSTED": (429, StoreUnavailableError, Fate.THROTTLED),
}


def refused(code, status, *details):
    error = {"code": status, "message": "canary", "status": code, "details": details}
    return refusal(status, json.dumps({"error": error}).encode(), {"Retry-After": "7"}, "GetSecret")


@pytest.mark.parametrize("code", [code for code in code_pb2.Code.keys() if code != "OK"])  # noqa: SIM118  # an enum
def test_status_code_has_a_class(code):
    """A code that is not listed here is an outage."""
    status, kind, fate = EXPECTED.get(code, (500, StoreUnavailableError, Fate.FAILED))
    fault = refused(code, status)
    assert (type(fault.error), fault.fate) == (kind, fate)
    assert "canary" not in f"{fault.error} {vars(fault.error)}"


@pytest.mark.parametrize(
    ("status", "content", "fate"),
    [
        (404, b"<!doctype html><title>canary</title>", Fate.ODD),
        (302, b"", Fate.ODD),
        (403, b'["canary"]', Fate.ODD),
        (429, b"canary", Fate.THROTTLED),
        (502, b"canary", Fate.FAILED),
    ],
)
def test_reply_of_another_server_confirms_no_absence(status, content, fate):
    fault = refusal(status, content, {}, "GetSecret")
    assert (type(fault.error), fault.fate) == (StoreUnavailableError, fate)
    assert "canary" not in str(fault.error)


def test_throttled_call_says_when_to_come_back():
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}
    assert refused("RESOURCE_EXHAUSTED", 429, delay).after == 1.5
    assert refused("RESOURCE_EXHAUSTED", 429).after == 7


@pytest.mark.parametrize(
    ("error", "kind", "fate"),
    [
        (urllib3.exceptions.NewConnectionError(None, "canary"), StoreUnavailableError, Fate.UNSENT),
        (requests.ConnectionError("canary"), StoreUnavailableError, Fate.FAILED),
        (requests.ReadTimeout("canary"), StoreUnavailableError, Fate.FAILED),
        (auth.DefaultCredentialsError("canary"), AuthenticationError, Fate.ANSWERED),
        (auth.MalformedError("canary"), AuthenticationError, Fate.ANSWERED),
        (auth.RefreshError("canary"), AuthenticationError, Fate.ANSWERED),
        (auth.RefreshError("canary", retryable=True), StoreUnavailableError, Fate.UNSENT),
        (auth.OAuthError("canary"), AuthenticationError, Fate.ANSWERED),
        (auth.TransportError("canary"), StoreUnavailableError, Fate.UNSENT),
        (KeyError("canary"), StoreUnavailableError, Fate.ODD),
        (ZeroDivisionError("canary"), StoreError, Fate.ANSWERED),
    ],
)
def test_exception_has_a_class(error, kind, fate):
    fault = fault_of(error)
    assert (type(fault.error), fault.fate) == (kind, fate)
    assert "canary" not in f"{fault.error} {vars(fault.error)}"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("IAM_PERMISSION_DENIED", "secretmanager.secretAccessor"),
        ("SERVICE_DISABLED", "gcloud services enable"),
        ("CONSUMER_INVALID", "option `project`"),
        ("SOMETHING_NEW", "secretmanager.secretAccessor"),
    ],
)
def test_denial_tells_what_to_do(reason, told):
    text = str(refused("PERMISSION_DENIED", 403, {"@type": "type.googleapis.com/x", "reason": reason}).error)
    assert told in text
    assert "GetSecret" in text
    assert reason not in text
