"""AWS IAM: a signed request to STS, which Vault sends to learn the identity of the workload."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar
from urllib.parse import quote

from strongroom.errors import ConfigurationError, PluginError, StoreUnavailableError, StrongroomError
from strongroom.secret import SensitiveStr, Value
from strongroom.store import in_daemon, remaining
from strongroom.store.option import named_contents
from strongroom.store.sdk_logging import silenced_logs
from strongroom_vault.auth import Send
from strongroom_vault.auth.login import LoginMethod
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.hvac_adapter import ApiRequest

_BODY = "Action=GetCallerIdentity&Version=2011-06-15"
_SERVER_ID = "X-Vault-AWS-IAM-Server-ID"
CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
"""The variables in which botocore finds a credential itself."""

_FILES = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))

_NO_CREDENTIALS = "Check that botocore finds credentials here: `aws sts get-caller-identity` with the same profile"


def credential_contents() -> dict[str, Value] | None:
    """Return the AWS_* variables and the files that decide who logs in; None if a program gives the credentials."""
    found: dict[str, Value] = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    found |= named_contents([os.environ.get(variable) or usual for variable, usual in _FILES])
    if any(isinstance(content, bytes) and b"credential_process" in content for content in found.values()):
        return None
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class AWS(LoginMethod):
    """The method `aws` of type `iam`. botocore finds the credentials: variables, profile, pod, task or instance.

    Each login finds the credentials and signs anew: a signature is valid for some minutes. Only the signature leaves
    this process. Until it expires, its bearer can log in to any Vault that does not require a `server_id`.

    Attributes:
        role: the role to log in as; by default the role that is named like the identity.
        region: the region of the STS endpoint; by default that of the AWS profile or of AWS_DEFAULT_REGION.
        server_id: the value that Vault requires in the header X-Vault-AWS-IAM-Server-ID, if it does.

    Raises:
        PluginError: botocore is not installed.
    """

    role: str | None = None
    region: str | None = None
    server_id: str | None = None
    mount: str = "aws"
    credentials: ClassVar[str] = "the AWS identity for this role"
    hint: ClassVar[str] = (
        "Check `role`, `server_id`, that the clock of this machine is right, and that the method's STS endpoint is "
        "that of `region`"
    )

    def __post_init__(self) -> None:
        if find_spec("botocore") is None:
            raise PluginError(
                "The method 'aws' of the plugin vault needs botocore, which is not installed: "
                'pip install "strongroom[aws]"'
            )

    def request(self, send: Send) -> ApiRequest:  # noqa: ARG002  # the signature of the base class
        """Return the login with a new signature."""
        # hvac's `iam_login` signs for sts.amazonaws.com alone: no region, no partition, no other endpoint.
        content = {name: SensitiveStr(value) for name, value in self._signed_in_time().items()}
        if self.role is not None:
            content["role"] = SensitiveStr(self.role)
        return ApiRequest("POST", f"/v1/auth/{quote(self.mount)}/login", content)

    def _signed_in_time(self) -> Mapping[str, str]:
        """Sign in a thread: botocore may call a service for credentials, and has no deadline."""
        try:
            return in_daemon(self._signed, "sign for STS").result(timeout=remaining())
        except TimeoutError:
            pass
        raise StoreUnavailableError(reason="botocore found no AWS credentials in time", hint=_NO_CREDENTIALS)

    def _signed(self) -> Mapping[str, str]:
        try:
            import botocore.session  # type: ignore[import-untyped]  # botocore ships no types; it creates its loggers

            _ = botocore.session
            # At DEBUG, botocore logs the request that it signs, with the session token, and replies with credentials.
            with silenced_logs("botocore"):
                return _sign(self.region, self.server_id)
        except StrongroomError:
            raise
        except Exception as error:  # noqa: BLE001  # its frames hold credentials
            failure = _translated(error)
        raise failure


def _sign(region: str | None, server_id: str | None) -> Mapping[str, str]:
    """Return a signed POST of GetCallerIdentity, as fields of the login's body."""
    from botocore.auth import SigV4Auth  # type: ignore[import-untyped]  # botocore ships no types
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]  # botocore ships no types
    from botocore.session import Session

    session = Session()
    # Older releases and some settings use one endpoint for many regions, with the signature of another region.
    session.set_config_variable("sts_regional_endpoints", "regional")
    region = region or session.get_config_variable("region")
    if not region:
        raise ConfigurationError("auth.region: it is not set, and neither AWS_DEFAULT_REGION nor the profile has one")
    credentials = session.get_credentials()
    if credentials is None:
        raise VaultAuthenticationError(reason="there are no AWS credentials", hint=_NO_CREDENTIALS)
    url = f"{session.create_client('sts', region_name=region).meta.endpoint_url.rstrip('/')}/"
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    if server_id is not None:
        headers[_SERVER_ID] = server_id
    request = AWSRequest(method="POST", url=url, headers=headers, data=_BODY)
    SigV4Auth(credentials.get_frozen_credentials(), "sts", region).add_auth(request)
    prepared = request.prepare()
    return {
        "iam_http_request_method": "POST",
        "iam_request_url": _encoded(url),
        "iam_request_body": _encoded(_BODY),
        "iam_request_headers": _encoded(json.dumps({name: [_text(value)] for name, value in prepared.headers.items()})),
    }


def _translated(error: Exception) -> StrongroomError:
    """Return the error for an exception of botocore's, whose own text may hold credentials."""
    from botocore import exceptions

    kind = type(error).__name__
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        reason = f"the service that gives AWS credentials does not answer: {kind}"
        return StoreUnavailableError(reason=reason, hint=_NO_CREDENTIALS)
    settings = (
        exceptions.ProfileNotFound,
        exceptions.ConfigNotFound,
        exceptions.ConfigParseError,
        exceptions.InvalidConfigError,
        exceptions.InvalidRegionError,
        exceptions.PartialCredentialsError,
    )
    if isinstance(error, settings):
        return ConfigurationError(f"auth: the settings of AWS are wrong: {kind}")
    return VaultAuthenticationError(reason=f"botocore gave no AWS credentials: {kind}", hint=_NO_CREDENTIALS)


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
