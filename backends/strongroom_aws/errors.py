"""What a failure of the AWS SDK means: by the error's code or class, never by its text, which may quote a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)

_LOGIN = "Check who you are with `aws sts get-caller-identity`, under the same profile, and log in anew if it fails"
_GRANT = (
    "Allow this action on this name to the identity (`aws sts get-caller-identity` names it), and the key's use too "
    "where a KMS key of your own encrypts it"
)
_KMS = "Allow kms:Decrypt and kms:GenerateDataKey on that key, and see that it is enabled"
_CLOCK = "Check the secret access key, and that the clock of this machine is right"
_TOO_MUCH = "AWS throttles these requests, repeated ones too"
_SLOWER = "Ask less often, or have the quota of this region raised"
_REACH = "Check the region, the endpoint, the proxy, and that the network reaches it"

_ABSENT = frozenset({"ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"})

_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation", "OptInRequired"}
)

_KEY = frozenset(
    {
        "DecryptionFailure",
        "EncryptionFailure",
        "InvalidKeyId",
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSNotFoundException",
    }
)

_NOT_US = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)

_UNSIGNED = frozenset(
    {
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)

_THROTTLED = frozenset(
    {
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
        "TooManyUpdates",
    }
)

_BROKEN = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "InternalServiceError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
    }
)

_NAME = frozenset({"HierarchyLevelLimitExceededException", "ParameterPatternMismatchException"})

_FULL = frozenset({"LimitExceededException", "ParameterLimitExceeded"})

_TYPED = frozenset({"HierarchyTypeMismatchException"})

_MARKED = frozenset({"ParameterMaxVersionLimitExceeded"})


_REFUSED = frozenset(
    {
        "InvalidNextTokenException",
        "InvalidParameterException",
        "InvalidRequestException",
        "InvalidResourceId",
        "PreconditionNotMetException",
        "ResourceExistsException",
        "TooManyTagsError",
        "ValidationException",
    }
)


class RefusedError(StoreError):
    """AWS refused the request for a reason that is in no other class.

    Attributes:
        code: AWS's code for it, where it is one that is known; else empty.
    """

    def __init__(self, path: str | None, code: str, status: int) -> None:
        super().__init__(
            path, f"AWS refused the request: {code or 'an error of no kind that is known'} (HTTP {status})"
        )
        self.code = code


_KINDS: tuple[tuple[frozenset[str], type[StoreError], str, str], ...] = (
    (_ABSENT, SecretNotFoundError, "", ""),
    (_KEY, PermissionDeniedError, "its KMS key does not do it ({code})", _KMS),
    (_DENIED, PermissionDeniedError, "{code}", _GRANT),
    (_NOT_US, AuthenticationError, "AWS does not accept the credentials ({code})", _LOGIN),
    (_UNSIGNED, AuthenticationError, "AWS does not accept the signature ({code})", _CLOCK),
    (_THROTTLED, StoreUnavailableError, _TOO_MUCH, _SLOWER),
    (_BROKEN, StoreUnavailableError, "AWS failed ({code})", "Try again"),
    (_NAME, InvalidPathError, "AWS does not take this name ({code})", ""),
    (_FULL, StoreError, "AWS has no room for it ({code})", "Delete what is of no use, or have the quota raised"),
    (_TYPED, ConflictError, "AWS does not change a parameter's type", "Delete the parameter, and write it again"),
    (_MARKED, StoreError, "it has 100 versions, and the oldest has a label", "Move that label to a newer version"),
)
"""Codes with what they mean: an error, its reason, and what to do."""


def of_code(code: str, status: int, path: str | None) -> StoreError:
    """The error that stands for an error code of Secrets Manager or of Systems Manager, and for an HTTP status.

    Codes: https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html, and under each operation.
    """
    # What is in no table is not repeated: whatever answered may have put anything there.
    for codes, kind, reason, hint in _KINDS:
        if code in codes:
            return kind(path, reason.format(code=code), hint=hint)
    if status == 429:
        return StoreUnavailableError(path, _TOO_MUCH, hint=_SLOWER)
    if status >= 500:
        return StoreUnavailableError(path, f"AWS failed (HTTP {status})", hint="Try again")
    if status == 403:
        return PermissionDeniedError(path, "HTTP 403", hint=_GRANT)
    return RefusedError(path, code if code in _REFUSED else "", status)


def code_of(error: Exception) -> str:
    """The service's error code in a `ClientError`; empty for any other exception."""
    response: Any = getattr(error, "response", None)
    found = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return found if isinstance(found, str) else ""


_Kind: TypeAlias = "tuple[tuple[type[Exception], ...], Callable[[str, str | None], StrongroomError]]"


def meaning(error: Exception, path: str | None) -> StrongroomError:
    """The error of our tree that stands for what boto3 or botocore raised."""
    from botocore import exceptions, parsers  # type: ignore[import-untyped]  # botocore ships no types

    if isinstance(error, StrongroomError):
        return error
    if isinstance(error, exceptions.ClientError):
        response: Any = error.response
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        failure = of_code(code_of(error), status if isinstance(status, int) else 0, path)
        if isinstance(failure, PermissionDeniedError):
            failure = failure.copy(reason=f"{error.operation_name}: {failure.reason}")
        return failure
    kind = type(error).__name__
    if isinstance(error, parsers.ResponseParserError):
        return malformed(path)
    for kinds, make in _classes(exceptions):
        if isinstance(error, kinds):
            return make(kind, path)
    return StoreError(path, f"the AWS SDK raised {kind}", hint="This is a bug in the store's plugin")


def may_have_been_done(error: Exception) -> bool:
    """Whether a request that ended so may have reached AWS: not where there was no connection, or AWS throttled it."""
    from botocore import exceptions

    unsent = (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError, exceptions.ProxyConnectionError)
    return not isinstance(error, unsent) and code_of(error) not in _THROTTLED


def misconfigured(kind: str) -> ConfigurationError:
    """The error of settings that boto3 cannot make a client of."""
    return ConfigurationError(
        f"The settings of AWS are wrong ({kind}). Check `region`, `profile` and `endpoint_url`, the AWS_* variables "
        "and ~/.aws/config"
    )


def _classes(known: Any) -> tuple[_Kind, ...]:
    """Classes of botocore's with what makes our error of them; the first that fits counts."""
    return (
        (
            (
                known.NoCredentialsError,
                known.CredentialRetrievalError,
                known.TokenRetrievalError,
                known.SSOError,
                known.NoAuthTokenError,
                getattr(known, "LoginError", known.NoCredentialsError),  # newer than the oldest botocore that will do
            ),
            lambda kind, path: AuthenticationError(path, f"there are no AWS credentials ({kind})", hint=_LOGIN),
        ),
        (
            (
                known.ConfigNotFound,
                known.ConfigParseError,
                known.InvalidConfigError,
                known.InvalidRegionError,
                known.MissingDependencyException,
                known.NoRegionError,
                known.PartialCredentialsError,
                known.ProfileNotFound,
                known.UnknownEndpointError,
                known.UnknownRegionError,
                known.InvalidRetryConfigurationError,
                known.InvalidRetryModeError,
                known.InvalidMaxRetryAttemptsError,
                known.InvalidProxiesConfigError,
                known.EndpointProviderError,
            ),
            lambda kind, _: misconfigured(kind),
        ),
        (
            (known.HTTPClientError, known.ConnectionError, known.MetadataRetrievalError, OSError),
            lambda kind, path: StoreUnavailableError(path, f"AWS cannot be reached ({kind})", hint=_REACH),
        ),
    )


def malformed(path: str | None) -> StoreUnavailableError:
    """The error of an answer that lacks what AWS says in it."""
    return StoreUnavailableError(path, "what answered is not AWS: its reply lacks what was asked for", hint=_REACH)
