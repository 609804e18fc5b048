"""A JSON Web Token that the platform signs for the workload: a CI job, a cloud's machine, a SPIFFE identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr
from strongroom_vault.auth import Grant, Send
from strongroom_vault.auth.credential import from_file, from_variable, one_of
from strongroom_vault.auth.login import log_in
from strongroom_vault.http.hvac_adapter import requests

_HINT = "Check `role`, that its bound claims and audience fit the token, and that the token has not expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class JWT:
    """The methods `jwt` and `oidc`, for workloads. Each login reads the JWT anew, because it lives for minutes.

    Attributes:
        role: the role to log in as; None for the method's default role.
        jwt_file: a file that holds the JWT.
        jwt_env: the name of the environment variable that holds the JWT.
        jwt_from: `github` requests the JWT from GitHub Actions.
        audience: the audience of GitHub's JWT; None for GitHub's default, the URL of the repository's owner.
        mount: the method's mount path.
        namespace: the method's namespace; None for the store's, `""` for the root.

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
            hint=_HINT,
        )

    def _token(self) -> SensitiveStr:
        if self.jwt_file is not None:
            return from_file(self.jwt_file, "jwt_file")
        if self.jwt_env is not None:
            return from_variable(self.jwt_env, "jwt_env")
        from strongroom_vault.auth import github

        return github.request_token(self.audience)
