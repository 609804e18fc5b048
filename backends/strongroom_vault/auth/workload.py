"""Methods whose credential the platform gives to a workload: a JWT, a service account, a TLS client certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr
from strongroom_vault.auth import Send
from strongroom_vault.auth.credential import from_file, from_variable, one_of
from strongroom_vault.auth.login import LoginMethod
from strongroom_vault.http.hvac_adapter import ApiRequest, requests


@dataclass(frozen=True, slots=True, kw_only=True)
class JWT(LoginMethod):
    """The methods `jwt` and `oidc`, for workloads. Each login reads the JWT anew, because it lives for minutes.

    Attributes:
        role: the role to log in as; by default that of the method.
        jwt_file: a file that holds the JWT.
        jwt_env: the name of the environment variable that holds the JWT.
        jwt_from: `github` requests the JWT from GitHub Actions.
        audience: the audience of GitHub's JWT; by default the URL of the repository's owner.

    Raises:
        ConfigurationError: not exactly one of the three sources is given, or `jwt_from` is not `github`.
    """

    role: str | None = None
    jwt_file: Path | None = None
    jwt_env: str | None = None
    jwt_from: str | None = None
    audience: str | None = None
    mount: str = "jwt"
    credentials: ClassVar[str] = "the JWT for this role"
    hint: ClassVar[str] = (
        "Check `role`, that its bound claims and audience fit the token, and that the token has not expired"
    )

    def __post_init__(self) -> None:
        one_of("jwt", jwt_file=self.jwt_file, jwt_env=self.jwt_env, jwt_from=self.jwt_from)
        if self.jwt_from not in {None, "github"}:
            raise ConfigurationError("auth.jwt_from: it must be 'github'")
        if self.audience is not None and self.jwt_from is None:
            raise ConfigurationError("auth.audience: it needs jwt_from; a JWT in a file or a variable has an audience")

    def request(self, send: Send) -> ApiRequest:  # noqa: ARG002  # the signature of the base class
        return requests().jwt.jwt_login(self.role, self._token(), path=self.mount)

    def _token(self) -> SensitiveStr:
        if self.jwt_file is not None:
            return from_file(self.jwt_file, "jwt_file", private=False)
        if self.jwt_env is not None:
            return from_variable(self.jwt_env, "jwt_env")
        from strongroom_vault.auth import github

        return github.request_token(self.audience)


# https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api
SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes mounts the token of a pod's service account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes(LoginMethod):
    """The method `kubernetes`, whose token Vault verifies with the cluster's TokenReview.

    Attributes:
        role: the role to log in as.
        token_file: the service account's token, which Kubernetes replaces while the pod runs.
    """

    role: str
    token_file: Path = SERVICE_ACCOUNT_TOKEN
    mount: str = "kubernetes"
    credentials: ClassVar[str] = "the service account's token for this role"
    hint: ClassVar[str] = (
        "Check `role`, and that it names the pod's service account, its namespace, and the token's audience"
    )

    def request(self, send: Send) -> ApiRequest:  # noqa: ARG002  # the signature of the base class
        token = from_file(self.token_file, "token_file", private=False)
        return requests().kubernetes.login(self.role, token, mount_point=self.mount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(LoginMethod):
    """The method `cert`: the store's `client_cert`, which the TLS handshake presents.

    Attributes:
        name: the role; by default any role that matches the certificate.
    """

    name: str | None = None
    mount: str = "cert"
    credentials: ClassVar[str] = "the client certificate"
    hint: ClassVar[str] = (
        "Check that `url` is https, and that the method trusts the authority of `client_cert`, which has not expired"
    )

    def request(self, send: Send) -> ApiRequest:  # noqa: ARG002  # the signature of the base class
        return requests().cert.login(self.name, mount_point=quote(self.mount))  # hvac does not encode this mount
