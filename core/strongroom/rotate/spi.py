"""Protocols for the authors of rotators.

A rotator creates a new credential and tells the service that checks it. It is an entry point of the group
`strongroom.rotators`: a function with keyword-only options that returns a `Rotator` or a `ServiceRotator`, without a
connection: `strongroom config check` calls it too. As for stores, the signature is the schema of the options in a
configuration file, and errors are those of `strongroom.errors`:

- `AuthenticationError`: the service refuses the credential that it should prove or log in with;
- `PermissionDeniedError`: the rotator may not change the credential;
- `StoreUnavailableError`: the service gives no usable answer in time;
- `ConfigurationError`, `InvalidDataError`: an option, or a key of the secret, is wrong.

A transaction calls the methods of a `Rotator` in this order:

======== ==================================================== ====================================================
step     what happens                                         what undoes it
======== ==================================================== ====================================================
create   `create`; the pending value goes to the store        the pending value is dropped
apply    `apply`: the service accepts the new credential      `apply` of the old one, then `revoke` of the new one
prove    `prove`: a login with the new credential
promote  the new credential is stored as the secret           the old one is stored again
revoke   `revoke`, after the grace time                       the other steps, with the credential from before
======== ==================================================== ====================================================

A process may end in the middle of any step, and another one repeats the step from its beginning. So every method
*must* be idempotent. An undo calls the same methods with `old` and `new` exchanged, also after `revoke`, and also if
`apply` was never called. If the service then refuses the former credential, `apply` or `prove` raises, and the new one
stays.

A process that is killed may have sent a change that the service makes later, such as a statement that waits for a lock.
A change by `apply` or `revoke` *should* follow it: in a transaction that the killed process cannot
commit, under a lock that the service holds for it, or by a condition that the late change no longer meets.

No method may put a value into a message, a log record or an argument of a program.
`strongroom.testing.RotatorContract` checks each sentence that says *must*.
"""

from __future__ import annotations

import math
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from strongroom._credentials.database_address import DatabaseAddress, Host, read_address, url_with, user_key_of
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.secret import SensitiveDict, SensitiveStr, Value, its_keys
from strongroom.store import SecretStore

__all__ = [
    "CredentialPair",
    "DatabaseAddress",
    "Host",
    "PasswordRules",
    "RestoringRotator",
    "Rotator",
    "ServiceRotator",
    "generate",
    "read_address",
    "required_text",
    "url_with",
    "user_key_of",
]


def _no_chain(path: str) -> SensitiveDict:
    raise InvalidDataError(path, "no chain was given to read it from")


@dataclass(frozen=True)
class CredentialPair:
    """The old and the new credential of a rotation.

    Attributes:
        path: the path of the secret that is rotated.
        old: the whole secret with the credential that is replaced.
        new: the whole secret with the credential that replaces it.
        read: returns another secret of the chain, such as that of an administrator, past the cache.
    """

    path: str
    old: SensitiveDict = field(repr=False)
    new: SensitiveDict = field(repr=False)
    read: Callable[[str], SensitiveDict] = field(default=_no_chain, repr=False, compare=False)


@runtime_checkable
class Rotator(Protocol):
    """Replaces a credential that Strongroom generates.

    Every method *must* return or raise within `strongroom.store.remaining()` seconds. Strongroom runs each call in a
    daemon thread, and gives it up at the deadline, unless the class attribute `traits` says `honors_deadline`. A
    rotation whose `apply` was given up is neither undone nor given away while the call still runs.

    An attribute `reads` names the paths that the methods pass to `CredentialPair.read`, if there are any. A rotation
    does not begin if one of these secrets cannot be read: without it, `apply` could be neither done nor undone.
    """

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return the keys that change, with new values. *Must not* change anything outside.

        Args:
            current: the whole secret as it is stored. A second call *must* return another credential.

        Raises:
            InvalidDataError: the secret lacks a key that the rotator needs.
        """
        ...

    def apply(self, credentials: CredentialPair) -> None:
        """Make the service accept the new credential. *Must* be harmless if it does already.

        *Should* set it even then, so that it follows a change that a killed process has sent.

        The old credential *should* stay valid until `revoke`, if the service can have two. If `apply` raises, a
        rotation is undone. A `ConfigurationError` means that this call has changed nothing: the undo of a new
        rotation then calls no method.
        """
        ...

    def prove(self, credentials: CredentialPair) -> None:
        """Return if the service accepts the new credential now, by a login or its like.

        Raises:
            AuthenticationError: the service refuses it.
            StoreUnavailableError: the service does not answer.
        """
        ...

    def revoke(self, credentials: CredentialPair) -> Sequence[str]:
        """End the old credential, and return the keys that the secret no longer needs, such as that of a previous key.

        *Must not* end the new credential, and *must* be harmless if the old one has ended already.
        """
        ...

    def close(self) -> None:
        """Release connections and other resources. *Must* be harmless when called twice."""
        ...


@runtime_checkable
class RestoringRotator(Rotator, Protocol):
    """A `Rotator` whose new credential must stay stored once it was promoted: data may depend on it."""

    def restored(self, stored: SensitiveDict, old: SensitiveDict) -> Mapping[str, Value]:
        """Return the whole secret that an undo stores. *Must not* change anything outside.

        Args:
            stored: the secret with the new credential, as it is stored.
            old: the secret that an undo would store without this method: `stored` with the keys from before the
                rotation. After a rotation that is done, it is the version of the secret before it.
        """
        ...


@runtime_checkable
class ServiceRotator(Protocol):
    """Starts a rotation that the secret's own store carries out, and follows it.

    It is a transaction in which `apply` calls `start`, and `prove` waits for `finished`. The other steps do nothing.
    It cannot be undone.

    The rotator works with the store's connection: `store` is the store's object, as its plugin opened it. Deadlines are
    those of a `Rotator`.

    Attributes:
        starts_once: True if processes that call `start` for one due date start one rotation. Otherwise a scheduler
            records in a store with check-and-set who starts it.
    """

    starts_once: bool

    def start(self, store: SecretStore, path: str) -> None:
        """Start a rotation, or join the one in progress.

        Raises:
            UnsupportedOperationError: the store is of another plugin, or the secret has no rotation in the service.
        """
        ...

    def finished(self, store: SecretStore, path: str) -> bool:
        """Return True if no rotation is in progress, and the new credential is the current one."""
        ...

    def last_rotation(self, store: SecretStore, path: str) -> datetime | None:
        """Return the time of the last rotation that succeeded, with a time zone; None if the service does not tell."""
        ...

    def close(self) -> None:
        """Release connections and other resources. *Must* be harmless when called twice."""
        ...


def required_text(secret: Mapping[str, Value], key: str) -> SensitiveStr:
    """Return a key of a secret that must be text.

    Raises:
        InvalidDataError: it is missing, empty, or of another type.
    """
    value = secret.get(key)
    if isinstance(value, str) and value:
        return SensitiveStr(value)
    del value
    found, hint = ("is not a text, or is empty", "") if key in secret else ("is missing", its_keys(secret))
    raise InvalidDataError(None, f"the key {key!r} of the secret {found}", hint=hint)


# --- generated passwords, from the randomness of the operating system -------------------------------------------------

LETTERS_AND_DIGITS = string.ascii_letters + string.digits

LEAST_ENTROPY = 64.0
"""Bits that a generated password has at least."""

MOST_CHARACTERS = 4096


@dataclass(frozen=True)
class PasswordRules:
    """Rules for generated passwords.

    Attributes:
        length: number of characters.
        alphabet: the characters that are used. Each has the same probability.
        required: sets of characters, such as `"0123456789"`. Each password has at least one character of each set.

    Raises:
        ConfigurationError: the rules cannot be met, or allow too few passwords.
    """

    length: int = 32
    alphabet: str = LETTERS_AND_DIGITS
    required: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.alphabet)) != len(self.alphabet):
            raise ConfigurationError("alphabet: a character is in it twice")
        if not self.alphabet.isprintable():
            raise ConfigurationError("alphabet: it has a control character")
        if not 1 <= self.length <= MOST_CHARACTERS:
            raise ConfigurationError(f"length: must be from 1 to {MOST_CHARACTERS:,}")
        if len(self.alphabet) < 2 or self.length * math.log2(len(self.alphabet)) < LEAST_ENTROPY:
            least = math.ceil(LEAST_ENTROPY / math.log2(max(len(self.alphabet), 2)))
            raise ConfigurationError(
                f"length: {self.length} of {len(self.alphabet)} characters can be guessed: use at least {least}"
            )
        for characters in self.required:
            if not set(characters) & set(self.alphabet):
                raise ConfigurationError("required: a set has no character of the alphabet")
        if len(self.required) > min(self.length, 8):
            raise ConfigurationError("required: there are more sets than the password can be expected to meet")


def generate(rules: PasswordRules | None = None) -> SensitiveStr:
    """Return a new password. All that meet the rules have the same probability."""
    rules = rules or PasswordRules()
    while True:
        password = SensitiveStr("".join(secrets.choice(rules.alphabet) for _ in range(rules.length)))
        if all(set(password.reveal()) & set(characters) for characters in rules.required):
            return password
