"""Everything that Strongroom raises, in one tree.

::

    StrongroomError
    ├── ConfigurationError            the chain, a mapping or an option is wrong
    │   └── MissingFileError          a file that it refers to is not there, or is empty
    ├── PluginError                   a plugin is missing, broken or registered twice
    ├── StoreError                    (.store, .path, .reason, .hint, .attempts)
    │   ├── SecretNotFoundError       a confirmed absence
    │   ├── AuthenticationError       the store does not accept who we are
    │   ├── PermissionDeniedError     it does, but this path is not ours
    │   ├── StoreUnavailableError     no usable answer in time: worth trying again
    │   │   └── WriteOutcomeUnknownError   a write may or may not have been made
    │   ├── ConflictError             somebody else wrote first
    │   ├── InvalidPathError
    │   ├── InvalidDataError
    │   ├── SecretTooLargeError
    │   └── UnsupportedOperationError
    └── MigrationError                with the report of what was and was not done

A message is one line: what happened, to which path, in which store, and what to do next. No message, attribute or
context of any of these ever holds a secret's value, a token, or the body of a reply.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Self

_SHOWN_LENGTH = 120


class Answer(StrEnum):
    """What a link of the chain answered to a read."""

    FOUND = "found"
    NOT_FOUND = "not found"
    KEY_MISSING = "key missing"
    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    FAILED = "failed"
    NOT_ASKED = "not asked"
    """A read would make a secret there, and was only to look."""


class Attempt(NamedTuple):
    """One link's answer to one read: the link, the answer, its reason in words, and how long it took in seconds."""

    store: str
    answer: Answer
    reason: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.store}: {self.reason or self.answer.value}"


class CheckState(StrEnum):
    """What came of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(NamedTuple):
    """One thing that was looked at to say how a store is.

    Attributes:
        name: how it should be, in a word or two: `reachable`, `unsealed`.
        state: FAILED where no read would be answered for it; WARNING where something is to be done before long.
        detail: what was found, in a few words; never a value, a token or a reply's body.
        hint: what to do next, as an imperative sentence, where it is not OK.
    """

    name: str
    state: CheckState
    detail: str = ""
    hint: str = ""


class StrongroomError(Exception):
    """The root of the tree: `except StrongroomError` catches everything that Strongroom raises on purpose.

    Attributes:
        checks: what a store had looked at when it failed, for `strongroom doctor`. A backend may leave it empty.
    """

    checks: tuple[Check, ...] = ()


class ConfigurationError(StrongroomError):
    """The chain, a mapping or an option is wrong. The message names the file, the table and the key."""


class MissingFileError(ConfigurationError):
    """A file that the configuration refers to is not there, or is empty.

    Its name may be wrong, or something that starts beside the application has not written it yet: only time tells the
    two apart.
    """


class PluginError(StrongroomError):
    """A plugin is missing, broken or registered twice. The message names the distributions."""


class MigrationError(StrongroomError):
    """A migration was not completed. The message says what was and what was not done.

    Attributes:
        report: a `strongroom.migrate.Report` of each secret; None where nothing was begun.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class StoreError(StrongroomError):
    """A store could not do what it was asked.

    Raised as it is, it is fatal: nothing falls through to the next link. Its subclasses say more.

    Args:
        path: the secret's path, where there is one.
        reason: what happened, in a few words; never a value, a token or a reply's body.
        store: the store's name in the chain. The chain fills it in; a backend may leave it out.
        hint: what to do next, as an imperative sentence. The class has a default.

    Attributes:
        attempts: where the chain raises it, what each link answered.
    """

    summary: ClassVar[str] = "The store failed"
    default_hint: ClassVar[str] = ""

    def __init__(
        self, path: str | None = None, reason: str = "", *, store: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(path)
        self.path = path
        self.reason = reason
        self.store = store
        self.hint = self.default_hint if hint is None else hint
        self.attempts: tuple[Attempt, ...] = ()

    def __str__(self) -> str:
        text = self.summary
        if self.path is not None:
            text += f": {shown(self.path)}"
        if self.attempts:
            text += f" ({'; '.join(str(attempt) for attempt in self.attempts)})"
        else:
            about = [f"store {self.store}" if self.store else "", self.reason]
            if any(about):
                text += f" ({': '.join(part for part in about if part)})"
        return f"{text}. {self.hint}" if self.hint else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def again(self, path: str | None = None) -> Self:
        """A twin to raise in another thread or at a later time: raising an object writes its traceback and context."""
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        twin.path = self.path if path is None else path
        return twin


class SecretNotFoundError(StoreError):
    """The store answered, and it has no such secret or no such key.

    A backend raises it for a confirmed absence only: never for an outage, a denial or a reply that it cannot read.
    """

    summary = "Secret not found"


class AuthenticationError(StoreError):
    """The store does not accept the credentials: they are wrong, expired or revoked."""

    summary = "Failed to authenticate with the store"
    default_hint = "Check the credentials of this store, and that they have not expired"


class PermissionDeniedError(StoreError):
    """The credentials are good, and may not do this with this path."""

    summary = "Permission denied"
    default_hint = "Grant access to this path"


class StoreUnavailableError(StoreError):
    """The store gave no usable answer in time: refused, timed out, sealed, overloaded, or not understood.

    Whether the secret exists is unknown. Reads are worth trying again.

    Attributes:
        path_only: it is an outage of what stands behind this path, and not of the store, which goes on to be asked for
            others. A backend may set it.
    """

    path_only: bool = False

    summary = "Store unavailable"
    default_hint = "Check that the store is running and can be reached"


class WriteOutcomeUnknownError(StoreUnavailableError):
    """A write may or may not have been made, since the store's reply was lost or does not tell.

    The store has not repeated a write that could overwrite another writer's secret.
    """

    summary = "The write may or may not have been made"
    default_hint = "Read the secret before you write it again"


class ConflictError(StoreError):
    """The secret changed since it was read, or the write would hide what another store holds. Nothing was written."""

    summary = "Conflict, nothing was written"


class InvalidPathError(StoreError):
    """The path or key can never name a secret here. Nothing was sent to a store."""

    summary = "Invalid path"


class InvalidDataError(StoreError):
    """The data cannot be stored exactly, or the stored value is not of the type that was asked for."""

    summary = "Invalid data"


class SecretTooLargeError(StoreError):
    """The secret is larger than the store, or Strongroom's bound on a reply, allows."""

    summary = "Secret too large"


class UnsupportedOperationError(StoreError):
    """The store does not have this capability."""

    summary = "Unsupported operation"


def shown(path: str) -> str:
    """The path as a message shows it: on one line, with odd characters escaped, and cut when it is long."""
    cut = path if len(path) <= _SHOWN_LENGTH else path[: _SHOWN_LENGTH - 1] + "…"
    return cut if cut and cut.isprintable() else ascii(cut)
