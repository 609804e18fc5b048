"""Each exception of Google's SDK is an absence, a denial, an outage or a refusal, and none shows its message."""

import pytest
from google.api_core import exceptions
from google.auth import exceptions as auth

from strongroom.errors import (
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store.calls import Fate, Fault
from strongroom_google.errors import RefusedError, fault_of

GRPC_ERRORS = {
    kind.__name__: kind
    for kind in vars(exceptions).values()
    if isinstance(kind, type) and issubclass(kind, exceptions.GoogleAPICallError) and "grpc_status_code" in vars(kind)
}
EXPECTED = {
    "NotFound": SecretNotFoundError,
    "PermissionDenied": PermissionDeniedError,
    "Unauthenticated": AuthenticationError,
    "InvalidArgument": RefusedError,
    "FailedPrecondition": RefusedError,
    "OutOfRange": RefusedError,
    "AlreadyExists": RefusedError,
}


@pytest.mark.parametrize("name", [name for name, kind in GRPC_ERRORS.items() if kind.grpc_status_code is not None])
def test_status_code_has_a_class(name):
    """A code that is not listed here is an outage."""
    fault = fault_of(GRPC_ERRORS[name]("canary"))
    assert type(fault.error) is EXPECTED.get(name, StoreUnavailableError)
    assert "canary" not in f"{fault.error} {vars(fault.error)}"
    final = name in EXPECTED or name == "MethodNotImplemented"
    expected = Fate.ANSWERED if final else Fate.THROTTLED if name == "ResourceExhausted" else Fate.FAILED
    assert fault.fate is expected


@pytest.mark.parametrize(
    ("message", "fate"),
    [
        ("failed to connect to all addresses; last error: UNKNOWN: Connection refused", Fate.UNSENT),
        ("errors resolving nosuch.invalid:443: [field:hostname lookup]", Fate.UNSENT),
        ("Stream removed (recvmsg:Connection reset by peer (104))", Fate.FAILED),
        ("The service is currently unavailable.", Fate.FAILED),
    ],
)
def test_call_without_a_connection_was_not_sent(message, fate):
    assert fault_of(exceptions.ServiceUnavailable(message)).fate is fate


def test_throttled_call_says_when_to_come_back():
    from google.protobuf import duration_pb2
    from google.rpc import error_details_pb2

    delay = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000))
    assert fault_of(exceptions.ResourceExhausted("canary", details=[delay])).after == 1.5


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (auth.DefaultCredentialsError("canary"), AuthenticationError),
        (auth.MalformedError("canary"), AuthenticationError),
        (auth.RefreshError("canary"), AuthenticationError),
        (auth.RefreshError("canary", retryable=True), StoreUnavailableError),
        (auth.OAuthError("canary"), AuthenticationError),
        (auth.TransportError("canary"), StoreUnavailableError),
        (ConnectionResetError("canary"), StoreUnavailableError),
        (ZeroDivisionError("canary"), StoreError),
    ],
)
def test_failure_of_credentials_has_a_class(error, kind):
    translated = fault_of(error).error
    assert type(translated) is kind
    assert "canary" not in f"{translated} {vars(translated)}"


def test_failure_of_the_token_server_keeps_its_fate():
    fault = Fault(StoreUnavailableError(), Fate.FAILED)
    assert fault_of(fault) is fault


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
    from google.rpc import error_details_pb2

    info = error_details_pb2.ErrorInfo(reason=reason)
    translated = fault_of(exceptions.PermissionDenied("canary", error_info=info)).error
    assert told in str(translated)
    assert reason not in str(translated)
