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
from strongroom_google.errors import RefusedError, translate

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
    translated = translate(GRPC_ERRORS[name]("canary"), "app")
    assert type(translated) is EXPECTED.get(name, StoreUnavailableError)
    assert "canary" not in f"{translated} {vars(translated)}"
    assert translated.path == "app"


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
    translated = translate(error, "app")
    assert type(translated) is kind
    assert "canary" not in f"{translated} {vars(translated)}"


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
    translated = translate(exceptions.PermissionDenied("canary", error_info=info), "app")
    assert told in str(translated)
    assert reason not in str(translated)
