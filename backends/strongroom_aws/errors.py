"""Translation of AWS SDK failures, by error code or class. Their text is never used, since it may quote a value."""

from __future__ import annotations

from typing import Any

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

NO_CREDENTIALS = "Run `aws sts get-caller-identity` with the same profile, and log in again if it fails"
_GRANT = (
    "Allow this action on this name to the identity (`aws sts get-caller-identity` shows it), and the use of the key "
    "if a KMS key of your own encrypts it"
)
_KMS = "Allow kms:Decrypt and kms:GenerateDataKey on that key, and check that it is enabled"
_CLOCK = "Check the secret access key and the clock of this machine"
_TOO_MUCH = "AWS throttles these requests, also after retries"
_SLOWER = "Send fewer requests, or have the quota of this region raised"
_REACH = "Check the region, the endpoint, the proxy, and that the network reaches it"

_ABSENT = frozenset({"ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"})
_DENIED = frozenset({
    "AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation", "OptInRequired",
})  # fmt: skip
_KEY = frozenset({
    "DecryptionFailure", "EncryptionFailure", "InvalidKeyId", "KMSAccessDeniedException", "KMSDisabledException",
    "KMSInvalidStateException", "KMSNotFoundException",
})  # fmt: skip
_NOT_US = frozenset({
    "AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId",
    "InvalidToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "TokenRefreshRequired",
    "UnrecognizedClientException",
})  # fmt: skip
_UNSIGNED = frozenset({
    "IncompleteSignature", "IncompleteSignatureException", "InvalidSignatureException", "RequestExpired",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch",
})  # fmt: skip
_THROTTLED = frozenset({
    "PriorRequestNotComplete", "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled",
    "RequestThrottledException", "SlowDown", "Throttling", "ThrottledException", "ThrottlingException",
    "TooManyRequestsException", "TooManyUpdates",
})  # fmt: skip
_BROKEN = frozenset({
    "InternalFailure", "InternalServerError", "InternalServiceError", "RequestTimeout", "RequestTimeoutException",
    "ServiceUnavailable",
})  # fmt: skip
_NAME = frozenset({"HierarchyLevelLimitExceededException", "ParameterPatternMismatchException"})
_FULL = frozenset({"LimitExceededException", "ParameterLimitExceeded"})
_TYPED = frozenset({"HierarchyTypeMismatchException"})
_MARKED = frozenset({"ParameterMaxVersionLimitExceeded"})
_REFUSED = frozenset({
    "InvalidNextTokenException", "InvalidParameterException", "InvalidRequestException", "InvalidResourceId",
    "PreconditionNotMetException", "RegionDisabledException", "ResourceExistsException", "TooManyTagsError",
    "ValidationError", "ValidationException",
})  # fmt: skip


class RefusedError(StoreError):
    """AWS refused the request for a reason that no other class covers.

    Attributes:
        code: the error code of AWS if it is a known one, otherwise empty.
    """

    def __init__(self, path: str | None, code: str, status: int) -> None:
        super().__init__(path, f"AWS refused the request: {code or 'an unknown error'} (HTTP {status})")
        self.code = code


_KINDS: tuple[tuple[frozenset[str], type[StoreError], str, str], ...] = (
    (_ABSENT, SecretNotFoundError, "", ""),
    (_KEY, PermissionDeniedError, "its KMS key refused ({code})", _KMS),
    (_DENIED, PermissionDeniedError, "{code}", _GRANT),
    (_NOT_US, AuthenticationError, "AWS does not accept the credentials ({code})", NO_CREDENTIALS),
    (_UNSIGNED, AuthenticationError, "AWS does not accept the signature ({code})", _CLOCK),
    (_THROTTLED, StoreUnavailableError, _TOO_MUCH, _SLOWER),
    (_BROKEN, StoreUnavailableError, "AWS failed ({code})", "Try again"),
    (_NAME, InvalidPathError, "AWS does not accept this name ({code})", ""),
    (_FULL, StoreError, "AWS is at its quota ({code})", "Delete unused secrets, or have the quota raised"),
    (_TYPED, ConflictError, "AWS does not change a parameter's type", "Delete the parameter, and write it again"),
    (_MARKED, StoreError, "it has 100 versions, and the oldest has a label", "Move that label to a newer version"),
)
"""Error codes with the class, the reason and the hint of the error that they become."""


def error_from_code(code: str, status: int, path: str | None) -> StoreError:
    """Return the error for an error code of Secrets Manager or Systems Manager, and for an HTTP status.

    Codes: https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html, and under each operation.
    """
    # An unknown code is not repeated: a server that is not AWS may have put a value there.
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
    """Return the error code of a `ClientError`; empty for any other exception."""
    response: Any = getattr(error, "response", None)
    found = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return found if isinstance(found, str) else ""


def translate(error: Exception, path: str | None) -> StrongroomError:
    """Translate an exception of boto3 or botocore."""
    from botocore import exceptions, parsers  # type: ignore[import-untyped]  # botocore ships no types

    if isinstance(error, StrongroomError):
        return error
    if isinstance(error, exceptions.ClientError):
        response: Any = error.response
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        failure = error_from_code(code_of(error), status if isinstance(status, int) else 0, path)
        if isinstance(failure, PermissionDeniedError):
            failure = failure.copy(reason=f"{error.operation_name}: {failure.reason}")
        return failure
    if isinstance(error, parsers.ResponseParserError):
        return malformed(path)
    return _translated(error, path, exceptions)


def _translated(error: Exception, path: str | None, known: Any) -> StrongroomError:
    """Translate an exception that is not about a reply, by its class; `known` are those of botocore."""
    kind = type(error).__name__
    no_credentials = (
        known.NoCredentialsError, known.CredentialRetrievalError, known.TokenRetrievalError, known.SSOError,
        known.NoAuthTokenError,
        getattr(known, "LoginError", known.NoCredentialsError),  # newer than the oldest botocore that will do
    )  # fmt: skip
    settings = (
        known.ConfigNotFound, known.ConfigParseError, known.InvalidConfigError, known.InvalidRegionError,
        known.MissingDependencyException, known.NoRegionError, known.PartialCredentialsError, known.ProfileNotFound,
        known.UnknownEndpointError, known.UnknownRegionError, known.InvalidRetryConfigurationError,
        known.InvalidRetryModeError, known.InvalidMaxRetryAttemptsError, known.InvalidProxiesConfigError,
        known.EndpointProviderError,
    )  # fmt: skip
    if isinstance(error, no_credentials):
        return AuthenticationError(path, f"no AWS credentials were found ({kind})", hint=NO_CREDENTIALS)
    if isinstance(error, settings):
        return misconfigured(kind)
    if isinstance(error, (known.HTTPClientError, known.ConnectionError, known.MetadataRetrievalError, OSError)):
        return StoreUnavailableError(path, f"AWS cannot be reached ({kind})", hint=_REACH)
    return StoreError(path, f"the AWS SDK raised {kind}", hint="This is a bug in the store's plugin")


def may_have_reached_aws(error: Exception) -> bool:
    """Return False if the request had no connection or was throttled, so AWS cannot have executed it."""
    from botocore import exceptions

    unsent = (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError, exceptions.ProxyConnectionError)
    return not isinstance(error, unsent) and code_of(error) not in _THROTTLED


def misconfigured(kind: str) -> ConfigurationError:
    """Return the error for settings that boto3 refuses."""
    return ConfigurationError(
        f"The settings of AWS are wrong ({kind}). Check `region`, `profile` and `endpoint_url`, the AWS_* variables "
        "and ~/.aws/config"
    )


def malformed(path: str | None) -> StoreUnavailableError:
    """Return the error for a reply that lacks the fields of AWS's."""
    return StoreUnavailableError(path, "the server is not AWS: its reply lacks the requested fields", hint=_REACH)
