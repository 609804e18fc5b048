"""Translation of failures of Google, by status and reason code. Their text is never used: it may quote a value."""

from __future__ import annotations

import json
from collections.abc import Mapping

from strongroom.errors import (
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store.calls import Fate, Fault, is_unsent, retry_after

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
    "NOT_FOUND": (Fate.ANSWERED, SecretNotFoundError, "", ""),
    "PERMISSION_DENIED": (Fate.ANSWERED, PermissionDeniedError, "", _GRANT),
    "UNAUTHENTICATED": (Fate.ANSWERED, AuthenticationError, "Google does not accept the credentials", LOGIN),
    "RESOURCE_EXHAUSTED": (Fate.THROTTLED, StoreUnavailableError, _QUOTA, "Send fewer requests, or raise it"),
}
"""Status codes of Google (google.rpc.Code): the fate of the request; class, reason and hint of the error.

Others are refusals or failures.
"""

_REFUSALS = frozenset({"ALREADY_EXISTS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "OUT_OF_RANGE"})


class RefusedError(StoreError):
    """Google refused the request for a reason that no other class covers.

    Attributes:
        kind: Google's status code, such as `FAILED_PRECONDITION`.
    """

    def __init__(self, path: str | None, kind: str) -> None:
        super().__init__(path, f"Google refused the request ({kind})")
        self.kind = kind


def refusal(status: int, content: bytes, headers: Mapping[str, str], operation: str) -> Fault:
    """Return the fault for a reply that is not 200.

    Args:
        status: the HTTP status.
        content: the body: an object of Google with its status code, unless another server has sent it.
        headers: the headers of the reply.
        operation: the API's method, for the error of a denial.
    """
    try:
        error = json.loads(content)["error"]
        kind, details = str(error["status"]), error.get("details", ())
        reasons = [detail["reason"] for detail in details if "reason" in detail]
        delays = [float(detail["retryDelay"].rstrip("s")) for detail in details if "retryDelay" in detail]
    except Exception:  # noqa: BLE001  # the body may be anything
        kind, reasons, delays = "RESOURCE_EXHAUSTED" if status == 429 else "", [], []
    if kind in _REFUSALS:
        return Fault(RefusedError(None, kind))
    if status < 500 and not kind:
        return Fault(malformed(None), Fate.ODD)
    failed = (Fate.FAILED, StoreUnavailableError, f"Google failed (HTTP {status})", "Try again")
    fate, known, reason, hint = _KINDS.get(kind, failed)
    if known is PermissionDeniedError:
        reason, hint = _DENIALS.get(reasons[0] if reasons else "", (reason, hint))
        reason = f"{operation}: {reason}" if reason else operation
    return Fault(known(None, reason, hint=hint), fate, delays[0] if delays else retry_after(headers))


def fault_of(error: Exception) -> Fault:
    """Translate an exception of requests or of Google's search for credentials, or one for a reply of another shape."""
    from google.auth import exceptions as auth
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    kind = type(error).__name__
    if isinstance(error, RequestException | HTTPError):
        failure = StoreUnavailableError(None, f"Google cannot be reached ({kind})", hint=_REACH)
        return Fault(failure, Fate.UNSENT if is_unsent(error) else Fate.FAILED)
    if isinstance(error, auth.DefaultCredentialsError):
        return Fault(AuthenticationError(None, "no Google credentials were found", hint=LOGIN))
    if isinstance(error, auth.TransportError | auth.TimeoutError | OSError) or getattr(error, "retryable", False):
        return Fault(StoreUnavailableError(None, f"no token could be fetched ({kind})", hint=_REACH), Fate.UNSENT)
    if isinstance(error, auth.GoogleAuthError):
        return Fault(AuthenticationError(None, f"Google does not accept the credentials ({kind})", hint=LOGIN))
    if isinstance(error, AttributeError | LookupError | RecursionError | TypeError | ValueError):
        return Fault(malformed(None), Fate.ODD)
    return Fault(StoreError(None, f"the SDK of Google raised {kind}", hint="This is a bug in the store's plugin"))


def malformed(path: str | None, what: str = "its reply lacks the requested fields") -> StoreUnavailableError:
    """Return the error for a reply that lacks the fields of Google's, or is damaged."""
    return StoreUnavailableError(path, f"the server is not Secret Manager: {what}", hint=_REACH)
