"""What fails at AWS is denied, unavailable, absent or wrongly configured, by its code, and says what to do."""

import os

import pytest

from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom_aws.plugin import open_parameter_store, open_secrets_manager
from support.vault.faults import reply

pytestmark = pytest.mark.long

CODES = [
    ("ResourceNotFoundException", 400, SecretNotFoundError, ""),
    ("ParameterNotFound", 400, SecretNotFoundError, ""),
    ("AccessDeniedException", 400, PermissionDeniedError, "Allow this action"),
    ("DecryptionFailure", 400, PermissionDeniedError, "KMS key"),
    ("InvalidKeyId", 400, PermissionDeniedError, "kms:Decrypt"),
    ("UnrecognizedClientException", 400, AuthenticationError, "aws sts get-caller-identity"),
    ("ExpiredTokenException", 400, AuthenticationError, "log in again"),
    ("InvalidSignatureException", 400, AuthenticationError, "clock"),
    ("ThrottlingException", 400, StoreUnavailableError, "throttles"),
    ("TooManyUpdates", 400, StoreUnavailableError, "throttles"),
    ("InternalServiceError", 500, StoreUnavailableError, "AWS failed"),
    ("SomethingNew", 503, StoreUnavailableError, "HTTP 503"),
    ("SomethingNew", 429, StoreUnavailableError, "throttles"),
    ("SomethingNew", 403, PermissionDeniedError, "HTTP 403"),
    ("SomethingNew", 404, StoreError, "an unknown error"),
    ("ValidationException", 400, StoreError, "ValidationException"),
    ("LimitExceededException", 400, StoreError, "quota"),
    ("ParameterMaxVersionLimitExceeded", 400, StoreError, "100 versions"),
    ("HierarchyTypeMismatchException", 400, ConflictError, "Delete the parameter"),
    ("HierarchyLevelLimitExceededException", 400, InvalidPathError, "does not accept this name"),
]


@pytest.mark.parametrize(("code", "status", "kind", "words"), CODES)
def test_code_says_what_happened(aws, monkeypatch, code, status, kind, words):
    """And its text, which may quote anything, never."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    aws.refuse("*", code, status=status)
    for store, operation in ((aws.open_secrets(), "read"), (aws.open_parameters("secrets"), "read")):
        with pytest.raises(StoreError) as caught:
            getattr(store, operation)("app")
        assert type(caught.value) is kind or (kind is StoreError and type(caught.value).__bases__ == (StoreError,))
        assert words in str(caught.value)
        assert caught.value.path == "app"
        assert "canary" not in f"{caught.value} {vars(caught.value)}"
        assert "SomethingNew" not in str(caught.value)


def test_throttled_request_is_repeated(aws, clients):
    """Twice more, by botocore's adaptive mode, which slows down what comes after."""
    store = aws.open_secrets()
    store.write("app", {"k": "v"})
    aws.refuse("GetSecretValue", "ThrottlingException", times=2)
    aws.forget()
    assert dict(store.read("app").data) == {"k": "v"}
    assert aws.asked == ["GetSecretValue"] * 3
    (client,) = clients
    assert client.meta.config.retries["mode"] == "adaptive"


def test_number_of_attempts_is_boto3s(aws, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    aws.refuse("GetSecretValue", "ThrottlingException")
    with pytest.raises(StoreUnavailableError, match="throttles"):
        aws.open_secrets().read("app")
    assert aws.asked == ["GetSecretValue"] * 2


@pytest.mark.parametrize(
    "content",
    [
        reply(200, b"<html>canary-value</html>"),
        reply(200, b"{}"),
        reply(200, b'{"Parameter": null, "SecretString": 5, "Name": [], "VersionId": 1}'),
        reply(200, b"[]"),
        reply(200, b'{"SecretString": "{}", "Name": "another", "VersionId": "1", "Parameter": {"Name": "/x"}}'),
        reply(404, b"<html>not found</html>", ["Content-Type: text/html"]),
        reply(302, b"", ["Location: http://127.0.0.1:1/"]),
    ],
)
def test_what_is_not_aws_is_never_an_absence(aws, monkeypatch, content):
    """Another secret's name, another shape, another kind of server."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    aws.fault("*", lambda exchange: exchange.send(content))
    secrets, parameters, keys = aws.open_secrets(), aws.open_parameters("secrets"), aws.open_parameters()
    for operation in (
        lambda: secrets.read("app"),
        lambda: secrets.versions("app"),
        lambda: list(secrets.walk("")),
        lambda: parameters.read("app"),
        lambda: list(parameters.walk("")),
        lambda: keys.read("app"),
        lambda: secrets.write("app", {"k": "v"}),
        lambda: parameters.write("app", {"k": "v"}),
    ):
        with pytest.raises(StoreError) as caught:
            operation()
        assert not isinstance(caught.value, SecretNotFoundError)
        assert "canary" not in str(caught.value)


@pytest.mark.usefixtures("aws")
def test_refused_connection_is_an_outage(closed_port, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for store in (
        open_secrets_manager(endpoint_url=f"http://127.0.0.1:{closed_port}"),
        open_parameter_store(endpoint_url=f"http://127.0.0.1:{closed_port}"),
    ):
        with pytest.raises(StoreUnavailableError, match=r"EndpointConnectionError.*Check the region, the endpoint"):
            store.read("app")


def test_no_credentials_are_no_authentication(aws, monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_") and "KEY" in name:
            monkeypatch.delenv(name)
    with pytest.raises(AuthenticationError, match=r"no AWS credentials were found \(NoCredentialsError\)"):
        aws.open_secrets().read("app")


def test_credential_process_that_fails_is_no_authentication(aws, monkeypatch, tmp_path):
    """What it printed is not shown."""
    config = tmp_path / "config"
    config.write_text("[profile ci]\ncredential_process = sh -c 'echo canary-value >&2; exit 1'\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with pytest.raises(AuthenticationError) as caught:
        aws.open_secrets(profile="ci").read("app")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"profile": "absent"}, "ProfileNotFound"),
        ({"region": "no region!"}, "InvalidRegionError"),
        ({"endpoint_url": "no url"}, "ValueError"),
        ({}, "NoRegionError"),
    ],
)
@pytest.mark.parametrize("open_store", [open_secrets_manager, open_parameter_store])
def test_settings_that_make_no_client_are_a_configuration_error(aws, monkeypatch, open_store, options, kind):
    """When the store is opened."""
    if kind == "NoRegionError":
        monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigurationError, match=kind):
        open_store(**options)


def test_prefix_is_checked(aws):
    for open_store in (open_secrets_manager, open_parameter_store):
        with pytest.raises(ConfigurationError, match="prefix"):
            open_store(prefix="a//b")


def test_region_and_profile_are_boto3s(clients, monkeypatch, tmp_path):
    """The option first, then the variable, then the profile."""
    config = tmp_path / "config"
    config.write_text("[profile eu]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    open_secrets_manager(region="us-east-2")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    open_secrets_manager(profile="eu")
    monkeypatch.setenv("AWS_PROFILE", "eu")
    open_parameter_store()
    assert [client.meta.region_name for client in clients] == ["us-east-2", "eu-north-1", "eu-north-1"]
