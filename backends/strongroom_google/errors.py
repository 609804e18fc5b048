"""Translation of failures of Google's SDK, by class and reason code. Their text is never used: it may quote a value."""

from __future__ import annotations

from typing import Any

from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)

UNSENT = "strongroom has no token for this call"
"""The text by which a call is known that was not sent for want of a token."""

LOGIN = "Run `gcloud auth application-default login`, or check the service account and its key"
_GRANT = (
    "Grant a role with this right on the secret or the project, such as roles/secretmanager.secretAccessor for reads. "
    "Google also denies a secret that does not exist"
)
_REACH = "Check the endpoint, the proxy, and that the network reaches it"

_DENIALS = {
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": ("the token lacks the scope cloud-platform", "Give the machine that scope"),
    "CONSUMER_INVALID": ("Google does not accept the project", "Check the option `project`"),
    "IAM_PERMISSION_DENIED": ("", _GRANT),
    "SECURITY_POLICY_VIOLATED": ("a perimeter of VPC Service Controls refuses it", "Allow it in the perimeter"),
    "SERVICE_DISABLED": (
        "the Secret Manager API is disabled in the project",
        "Run `gcloud services enable secretmanager.googleapis.com`",
    ),
}
"""Reason codes of a denial (google.rpc.ErrorInfo) with the reason and the hint of the error that they become."""

_KINDS: dict[str, tuple[type[StoreError], str, str]] = {
    "NotFound": (SecretNotFoundError, "", ""),
    "PermissionDenied": (PermissionDeniedError, "", _GRANT),
    "Unauthenticated": (AuthenticationError, "Google does not accept the credentials", LOGIN),
    "ResourceExhausted": (
        StoreUnavailableError,
        "a quota of the project is used up",
        "Send fewer requests, or raise it",
    ),
    "ServiceUnavailable": (StoreUnavailableError, "Google cannot be reached, or failed", _REACH),
    "DeadlineExceeded": (StoreUnavailableError, "Google did not answer in time", _REACH),
    "InternalServerError": (StoreUnavailableError, "Google failed", "Try again"),
    "Unknown": (StoreUnavailableError, "Google failed", "Try again"),
    "DataLoss": (StoreUnavailableError, "Google failed", "Try again"),
    "Cancelled": (StoreUnavailableError, "the request was cancelled", "Try again"),
    "Aborted": (StoreUnavailableError, "Google aborted the request", "Try again"),
    "MethodNotImplemented": (StoreUnavailableError, "the server is not Secret Manager", _REACH),
}
"""Classes of `google.api_core.exceptions` with the class, the reason and the hint of the error that they become."""

_NOT_EXECUTED = frozenset({"ResourceExhausted", "MethodNotImplemented"})


class RefusedError(StoreError):
    """Google refused the request for a reason that no other class covers.

    Attributes:
        kind: the class of the SDK's exception, such as `FailedPrecondition`.
    """

    def __init__(self, path: str | None, kind: str) -> None:
        super().__init__(path, f"Google refused the request ({kind})")
        self.kind = kind


def translate(error: Exception, path: str | None) -> StrongroomError:
    """Translate an exception of Google's SDK or of its search for credentials."""
    from google.api_core import exceptions
    from google.auth import exceptions as auth

    kind = type(error).__name__
    if isinstance(error, StrongroomError):
        return error
    if isinstance(error, exceptions.GoogleAPICallError):
        return _refusal(error, kind, path)
    if isinstance(error, auth.DefaultCredentialsError):
        return AuthenticationError(path, "no Google credentials were found", hint=LOGIN)
    if isinstance(error, (auth.TransportError, auth.TimeoutError, OSError)) or getattr(error, "retryable", False):
        return StoreUnavailableError(path, f"no token could be fetched ({kind})", hint=_REACH)
    if isinstance(error, auth.GoogleAuthError):
        return AuthenticationError(path, f"Google does not accept the credentials ({kind})", hint=LOGIN)
    return StoreError(path, f"the SDK of Google raised {kind}", hint="This is a bug in the store's plugin")


def _refusal(error: Any, kind: str, path: str | None) -> StoreError:
    if kind == "PermissionDenied" and error.reason in _DENIALS:
        reason, hint = _DENIALS[error.reason]
        return PermissionDeniedError(path, reason, hint=hint)
    if kind in _KINDS:
        known, reason, hint = _KINDS[kind]
        return known(path, reason, hint=hint)
    return RefusedError(path, kind)


def may_have_been_executed(error: Exception) -> bool:
    """Return False if Google refused the request before it executed it."""
    return type(error).__name__ not in _NOT_EXECUTED


def misconfigured(option: str, what: str) -> ConfigurationError:
    """Return the error for an option that is wrong."""
    return ConfigurationError(f"{option}: {what}")


def malformed(path: str | None, what: str = "its reply lacks the requested fields") -> StoreUnavailableError:
    """Return the error for a reply that lacks the fields of Google's, or is damaged."""
    return StoreUnavailableError(path, f"the server is not Secret Manager: {what}", hint=_REACH)
