"""An existing token: a static one, one in a file that another process keeps fresh, or that of a local Agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from strongroom.errors import ConfigurationError, shown
from strongroom.secret import SensitiveStr
from strongroom_vault.auth import Grant, Send
from strongroom_vault.auth.credential import from_file
from strongroom_vault.errors import VaultAuthenticationError

_ADVICE = (
    "Set VAULT_TOKEN. For an AppRole in ROLE_ID and SECRET_ID, add to [stores.vault] in strongroom.toml: "
    'auth = { method = "approle", role_id = { env = "ROLE_ID" }, secret_id = { env = "SECRET_ID" } }'
)
"""No variable but a token's is sent anywhere without configuration: a generic name may be another service's."""

_RULE = "it has a space, a line end or another character that no token has"


@dataclass(frozen=True, slots=True)
class StaticToken:
    """The token that was configured.

    Attributes:
        token: the client token.

    Raises:
        VaultAuthenticationError: it is empty.
        ConfigurationError: no header can hold it.
    """

    token: str = field(repr=False)
    repeatable: ClassVar[bool] = False  # it is the same token each time

    def __post_init__(self) -> None:
        if not self.token:
            raise VaultAuthenticationError(reason="there is no token", hint=_ADVICE)
        if not is_token(self.token):
            raise ConfigurationError(f"token: {_RULE}")
        object.__setattr__(self, "token", SensitiveStr(self.token))

    def login(self, send: Send) -> Grant:  # noqa: ARG002  # the protocol's signature
        """Return the token, whose life only the server knows."""
        return Grant(SensitiveStr(self.token))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """The token in a file, such as the sink of a Vault Agent, which replaces it before it expires.

    Attributes:
        token_file: the file, which each login reads anew.
    """

    token_file: Path
    repeatable: ClassVar[bool] = True  # the file may hold another token

    def login(self, send: Send) -> Grant:  # noqa: ARG002  # the protocol's signature
        """Return the token that is in the file now, whose life only the server knows."""
        token = from_file(self.token_file, "token_file")
        if not is_token(token):
            raise VaultAuthenticationError(reason=f"auth.token_file: the file {shown(str(self.token_file))}: {_RULE}")
        return Grant(token)


@dataclass(frozen=True, slots=True)
class Agent:
    """No token: the listener at the store's address has `use_auto_auth_token`."""

    repeatable: ClassVar[bool] = False  # the Agent logs in

    def login(self, send: Send) -> Grant:  # noqa: ARG002  # the protocol's signature
        """Return a grant without a token."""
        return Grant(None)


def is_token(text: str) -> bool:
    """Return True if a header can hold the text. An HTTP library would refuse any other text too, and show it."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
