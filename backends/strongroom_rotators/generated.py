"""The rotators `password` and `token`: a generated value that no service has to be told."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from strongroom.errors import AuthenticationError, ConfigurationError
from strongroom.rotate.spi import CredentialPair, PasswordRules, generate
from strongroom.secret import SensitiveDict, SensitiveStr, Value
from strongroom.store import Option

_LEAST_BYTES = 16

Key = Annotated[str, Option("the key of the secret that holds the value")]
PreviousKey = Annotated[
    str | None, Option("a key under which the value before stays readable until the grace time is over")
]


class GeneratedRotator:
    """Replaces one key of a secret by a generated value.

    Args:
        previous_key: a second key, which has the value before until the grace time is over.
    """

    def __init__(self, key: str, previous_key: str | None, make: Callable[[], SensitiveStr]) -> None:
        if previous_key == key:
            raise ConfigurationError("previous_key: must differ from `key`")
        self._key = key
        self._previous_key = previous_key
        self._make = make

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return a new value, and the value before if it stays readable."""
        made: dict[str, Value] = {self._key: self._make()}
        if self._previous_key and self._key in current:
            made[self._previous_key] = current[self._key]
        return made

    def apply(self, credentials: CredentialPair) -> None:
        pass  # the store alone holds the value

    def prove(self, credentials: CredentialPair) -> None:
        if not isinstance(credentials.new.get(self._key), str):
            raise AuthenticationError(None, f"the key {self._key!r} has no value")

    def revoke(self, credentials: CredentialPair) -> Sequence[str]:
        """Drop the value before."""
        del credentials
        return [self._previous_key] if self._previous_key else []

    def close(self) -> None:
        pass


def open_password(
    *,
    key: Key = "password",
    previous_key: PreviousKey = None,
    length: Annotated[int, Option("number of characters")] = 32,
    alphabet: Annotated[str, Option("the characters that are used")] = PasswordRules.alphabet,
    required: Annotated[list[str] | None, Option("sets of characters, of each of which the password has one")] = None,
) -> GeneratedRotator:
    """Return a rotator that generates passwords.

    Raises:
        ConfigurationError: the rules cannot be met, or allow passwords that can be guessed.
    """
    rules = PasswordRules(length, alphabet, tuple(required or ()))
    return GeneratedRotator(key, previous_key, lambda: generate(rules))


def open_token(
    *,
    key: Key = "token",
    previous_key: PreviousKey = None,
    size: Annotated[int, Option("random bytes of the token")] = 32,
    format: Annotated[Literal["urlsafe", "hex"], Option("the token's encoding")] = "urlsafe",  # noqa: A002
    prefix: Annotated[str, Option("a text before the token, by which scanners recognize it")] = "",
) -> GeneratedRotator:
    """Return a rotator that generates random tokens.

    Raises:
        ConfigurationError: the token is too short.
    """
    if not _LEAST_BYTES <= size <= 1024:
        raise ConfigurationError(f"size: must be from {_LEAST_BYTES} to 1024 bytes")
    encode = secrets.token_urlsafe if format == "urlsafe" else secrets.token_hex
    return GeneratedRotator(key, previous_key, lambda: SensitiveStr(prefix + encode(size)))
