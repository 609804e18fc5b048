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
)
from strongroom.store.calls import Fate, Fault

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

_QUOTA = "a quota of the project is used up"
_KINDS: dict[str, tuple[Fate, type[StoreError], str, str]] = {
    "NotFound": (Fate.ANSWERED, SecretNotFoundError, "", ""),
    "PermissionDenied": (Fate.ANSWERED, PermissionDeniedError, "", _GRANT),
    "Unauthenticated": (Fate.ANSWERED, AuthenticationError, "Google does not accept the credentials", LOGIN),
    "MethodNotImplemented": (Fate.ANSWERED, StoreUnavailableError, "the server is not Secret Manager", _REACH),
    "ResourceExhausted": (Fate.THROTTLED, StoreUnavailableError, _QUOTA, "Send fewer requests, or raise it"),
    "ServiceUnavailable": (Fate.FAILED, StoreUnavailableError, "Google cannot be reached, or failed", _REACH),
    "DeadlineExceeded": (Fate.FAILED, StoreUnavailableError, "Google did not answer in time", _REACH),
}
"""Classes of `google.api_core.exceptions`: the fate of the request; class, reason and hint of the error.

Others are refusals or failures.
"""

_REFUSALS = frozenset({"AlreadyExists", "FailedPrecondition", "InvalidArgument", "OutOfRange"})

_NO_CONNECTION = ("failed to connect to all addresses", "errors resolving ", "DNS resolution failed")
"""How gRPC itself begins the message of a call that it could not send. A call in any other state may have been made."""


class RefusedError(StoreError):
    """Google refused the request for a reason that no other class covers.

    Attributes:
        kind: the class of the SDK's exception, such as `FailedPrecondition`.
    """

    def __init__(self, path: str | None, kind: str) -> None:
        super().__init__(path, f"Google refused the request ({kind})")
        self.kind = kind


def fault_of(error: Exception) -> Fault:
    """Translate an exception of Google's SDK or of its search for credentials."""
    from google.api_core import exceptions
    from google.auth import exceptions as auth

    kind = type(error).__name__
    if isinstance(error, Fault):
        return error
    if isinstance(error, exceptions.GoogleAPICallError):
        return _refusal(error, kind)
    if isinstance(error, auth.DefaultCredentialsError):
        return Fault(AuthenticationError(None, "no Google credentials were found", hint=LOGIN))
    if isinstance(error, (auth.TransportError, auth.TimeoutError, OSError)) or getattr(error, "retryable", False):
        return Fault(StoreUnavailableError(None, f"no token could be fetched ({kind})", hint=_REACH), Fate.UNSENT)
    if isinstance(error, auth.GoogleAuthError):
        return Fault(AuthenticationError(None, f"Google does not accept the credentials ({kind})", hint=LOGIN))
    return Fault(StoreError(None, f"the SDK of Google raised {kind}", hint="This is a bug in the store's plugin"))


def _refusal(error: Any, kind: str) -> Fault:
    if kind == "PermissionDenied" and error.reason in _DENIALS:
        reason, hint = _DENIALS[error.reason]
        return Fault(PermissionDeniedError(None, reason, hint=hint))
    if kind in _REFUSALS:
        return Fault(RefusedError(None, kind))
    failed = (Fate.FAILED, StoreUnavailableError, f"Google failed ({kind})", "Try again")
    fate, known, reason, hint = _KINDS.get(kind, failed)
    if kind == "ServiceUnavailable" and str(error.message).startswith(_NO_CONNECTION):
        fate = Fate.UNSENT
    return Fault(known(None, reason, hint=hint), fate, _retry_delay(error))


def _retry_delay(error: Any) -> float | None:
    """Return the seconds for which Google asks to wait (google.rpc.RetryInfo)."""
    delays = (detail.retry_delay for detail in error.details if hasattr(detail, "retry_delay"))
    return next((delay.seconds + delay.nanos / 1e9 for delay in delays), None)


def misconfigured(option: str, what: str) -> ConfigurationError:
    """Return the error for an option that is wrong."""
    return ConfigurationError(f"{option}: {what}")


def malformed(path: str | None, what: str = "its reply lacks the requested fields") -> StoreUnavailableError:
    """Return the error for a reply that lacks the fields of Google's, or is damaged."""
    return StoreUnavailableError(path, f"the server is not Secret Manager: {what}", hint=_REACH)
