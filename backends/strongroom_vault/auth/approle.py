"""AppRole: a role_id, and a secret_id that is delivered to the workload."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr
from strongroom_vault.auth import Send
from strongroom_vault.auth.credential import checked, from_file, one_of
from strongroom_vault.auth.login import LoginMethod
from strongroom_vault.auth.wrapping import unwrap_secret_id
from strongroom_vault.http.hvac_adapter import ApiRequest, requests


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRole(LoginMethod):
    """The method `approle`.

    Attributes:
        role_id: the role.
        secret_id: its secret_id.
        secret_id_file: a file that holds the secret_id.
        wrapping_token: a response-wrapping token that holds the secret_id. It can be unwrapped once.
        wrapping_token_file: a file that holds such a token. A new token in it is unwrapped at the next login.
        role: the role's name. Only a token that wraps a secret_id of this role is unwrapped; by default any role.

    Raises:
        ConfigurationError: not exactly one of the four sources is given.
    """

    role_id: str = field(repr=False)
    secret_id: str | None = field(default=None, repr=False)
    secret_id_file: Path | None = None
    wrapping_token: str | None = field(default=None, repr=False)
    wrapping_token_file: Path | None = None
    role: str | None = None
    mount: str = "approle"
    credentials: ClassVar[str] = "the role_id and secret_id"
    hint: ClassVar[str] = "Check `role_id`, and that the secret_id has not expired, been used up or been destroyed"

    def __post_init__(self) -> None:
        one_of(
            "approle",
            secret_id=self.secret_id,
            secret_id_file=self.secret_id_file,
            wrapping_token=self.wrapping_token,
            wrapping_token_file=self.wrapping_token_file,
        )
        for name in ("role_id", "secret_id", "wrapping_token"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, SensitiveStr(value))
        if self.role is not None and self.wrapping_token is None and self.wrapping_token_file is None:
            raise ConfigurationError("auth.role: it needs a wrapping token, whose secret_id it is checked against")

    def request(self, send: Send) -> ApiRequest:
        return requests().approle.login(self.role_id, self._secret_id(send), mount_point=self.mount)

    def _secret_id(self, send: Send) -> SensitiveStr:
        if self.secret_id is not None:
            return checked(SensitiveStr(self.secret_id), "auth.secret_id")
        if self.secret_id_file is not None:
            return from_file(self.secret_id_file, "secret_id_file")
        if self.wrapping_token_file is not None:
            wrapping = from_file(self.wrapping_token_file, "wrapping_token_file")
        else:
            wrapping = checked(SensitiveStr(self.wrapping_token or ""), "auth.wrapping_token")
        return unwrap_secret_id(send, wrapping, mount=self.mount, role=self.role, namespace=self.namespace)
