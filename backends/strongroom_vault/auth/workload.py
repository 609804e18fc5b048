"""Methods whose credential the platform gives to a workload: a JWT, a service account, a TLS client certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr
from strongroom_vault.auth import Grant, Send
from strongroom_vault.auth.credential import from_file, from_variable, one_of
from strongroom_vault.auth.login import log_in
from strongroom_vault.http.hvac_adapter import requests

_KUBERNETES_HINT = "Check `role`, and that it names the pod's service account, its namespace, and the token's audience"
_CERTIFICATE_HINT = (
    "Check that `url` is https, and that the method trusts the authority of `client_cert`, which has not expired"
)
_JWT_HINT = "Check `role`, that its bound claims and audience fit the token, and that the token has not expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class JWT:
    """The methods `jwt` and `oidc`, for workloads. Each login reads the JWT anew, because it lives for minutes.

    Attributes:
        role: the role to log in as; by default that of the method.
        jwt_file: a file that holds the JWT.
        jwt_env: the name of the environment variable that holds the JWT.
        jwt_from: `github` requests the JWT from GitHub Actions.
        audience: the audience of GitHub's JWT; by default the URL of the repository's owner.
        mount: the method's mount path.
        namespace: the method's namespace; by default the store's, `""` for the root.

    Raises:
        ConfigurationError: not exactly one of the three sources is given, or `jwt_from` is not `github`.
    """

    role: str | None = None
    jwt_file: Path | None = None
    jwt_env: str | None = None
    jwt_from: str | None = None
    audience: str | None = None
    mount: str = "jwt"
    namespace: str | None = None
    repeatable: ClassVar[bool] = True  # there may be a newer JWT

    def __post_init__(self) -> None:
        one_of("jwt", jwt_file=self.jwt_file, jwt_env=self.jwt_env, jwt_from=self.jwt_from)
        if self.jwt_from not in {None, "github"}:
            raise ConfigurationError("auth.jwt_from: it must be 'github'")
        if self.audience is not None and self.jwt_from is None:
            raise ConfigurationError("auth.audience: it needs jwt_from; a JWT in a file or a variable has an audience")

    def login(self, send: Send) -> Grant:
        """Return a new token, for the current JWT."""
        return log_in(
            send,
            requests().jwt.jwt_login(self.role, self._token(), path=self.mount),
            mount=self.mount,
            namespace=self.namespace,
            credentials="the JWT for this role",
            hint=_JWT_HINT,
        )

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
class Kubernetes:
    """The method `kubernetes`, whose token Vault verifies with the cluster's TokenReview.

    Attributes:
        role: the role to log in as.
        token_file: the service account's token, which Kubernetes replaces while the pod runs.
        mount: the method's mount path.
        namespace: the method's namespace of Vault; by default the store's, `""` for the root.
    """

    role: str
    token_file: Path = SERVICE_ACCOUNT_TOKEN
    mount: str = "kubernetes"
    namespace: str | None = None
    repeatable: ClassVar[bool] = True  # Kubernetes replaces the token in the file

    def login(self, send: Send) -> Grant:
        """Return a new token, for the service account's current token."""
        return log_in(
            send,
            requests().kubernetes.login(
                self.role, from_file(self.token_file, "token_file", private=False), mount_point=self.mount
            ),
            mount=self.mount,
            namespace=self.namespace,
            credentials="the service account's token for this role",
            hint=_KUBERNETES_HINT,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The method `cert`: the store's `client_cert`, which the TLS handshake presents.

    Attributes:
        name: the role; by default any role that matches the certificate.
        mount: the method's mount path.
        namespace: the method's namespace; by default the store's, `""` for the root.
    """

    name: str | None = None
    mount: str = "cert"
    namespace: str | None = None
    repeatable: ClassVar[bool] = True

    def login(self, send: Send) -> Grant:
        return log_in(
            send,
            requests().cert.login(self.name, mount_point=quote(self.mount)),  # hvac does not encode this mount
            mount=self.mount,
            namespace=self.namespace,
            credentials="the client certificate",
            hint=_CERTIFICATE_HINT,
        )
