"""Everything that Strongroom raises, in one tree.

::

    StrongroomError                   (.checks)
    ├── ConfigurationError            the chain, a mapping or an option is wrong
    │   ├── MissingFileError          a file that the configuration names is missing or empty
    │   └── NewerFormatError          a file or record has the format of a later release
    ├── AuditError                    the audit log cannot be written, and nothing is done without a record
    ├── PluginError                   a plugin is missing, broken or registered twice
    ├── RotationError                 (.path, .step) a rotation failed and was undone
    │   └── UnfinishedRotationError   a rotation has to be resumed or undone
    ├── DecryptionError               (.path, .column) a text of an encrypted column cannot be decrypted
    │   ├── UnknownKeyError           (.key_id) the keyset lacks the key of the text
    │   ├── AlteredTextError          the text was changed, or is that of another column or row
    │   └── PlainTextError            the value is not encrypted
    ├── StoreError                    (.store, .path, .reason, .hint, .attempts)
    │   ├── SecretNotFoundError       a confirmed absence
    │   │   └── MissingKeyError       a whole secret lacks the key; a `KeyError` too
    │   ├── AuthenticationError       the store rejects the credentials
    │   ├── PermissionDeniedError     the credentials are valid, but do not cover this path
    │   ├── StoreUnavailableError     no usable answer in time: retry later
    │   │   └── WriteOutcomeUnknownError   a write may or may not have been made
    │   ├── ConflictError             the secret changed in the meantime
    │   ├── InvalidPathError
    │   ├── InvalidDataError
    │   ├── SecretTooLargeError
    │   └── UnsupportedOperationError
    └── MigrationError                (.report)

A message is one line: what failed, which path, which store, and what to do next. No message, attribute or context of
an error ever holds a secret's value, a token, or the body of a reply.

An error is complete when it is raised and never changes afterwards: `copy` makes another one, with other fields.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

_SHOWN_LENGTH = 4096
"""More than the longest path, key or file name: only text that is none of these is cut."""

_LEAST_LIKENESS = 0.7
"""That of a misspelled word. difflib's own limit, 0.6, takes `headers` for `adress`."""


class Answer(StrEnum):
    """A link's answer to a read."""

    FOUND = "found"
    NOT_FOUND = "not found"
    KEY_MISSING = "key missing"
    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    FAILED = "failed"
    NOT_ASKED = "not asked"
    """The store issues a credential on every read, and the read did not allow that."""


class Attempt(NamedTuple):
    """One link's answer to one read, with the reason in words and the duration in seconds.

    `age` is the seconds since the store had answered, if the link's cache answered; otherwise None.
    """

    store: str
    answer: Answer
    reason: str = ""
    seconds: float = 0.0
    age: float | None = None

    def __str__(self) -> str:
        return f"{self.store}: {self.reason or self.answer.value}"


class CheckState(StrEnum):
    """Result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(NamedTuple):
    """One check of a store's health.

    Attributes:
        name: the healthy state, in a word or two: `reachable`, `unsealed`.
        state: FAILED if reads fail because of it; WARNING if it needs attention soon.
        detail: the finding, in a few words; never a value, a token or the body of a reply.
        hint: what to do next, as an imperative sentence, unless the state is OK.
    """

    name: str
    state: CheckState
    detail: str = ""
    hint: str = ""


class StrongroomError(Exception):
    """Root of the tree: `except StrongroomError` catches everything that Strongroom raises on purpose.

    Attributes:
        checks: the checks of the store that failed, for `strongroom doctor`. A backend may leave it empty.
    """

    checks: tuple[Check, ...] = ()

    def copy(self, **fields: Any) -> Self:
        """Return a new error of this class with some fields replaced, without traceback, cause and context.

        Raising an error writes to it. So an error is copied before it is raised in another thread or a second time, and
        when it leaves behind frames that may hold values.
        """
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__, **fields)
        return twin


class ConfigurationError(StrongroomError):
    """The chain, a mapping or an option is wrong. The message names the file, the table and the key."""


class MissingFileError(ConfigurationError):
    """A file that the configuration names is missing or empty.

    The name may be wrong, or the process that writes the file has not written it yet: waiting may help.
    """


class NewerFormatError(ConfigurationError):
    """A file or a record has the format of a later release, and its fields are not interpreted. Upgrade Strongroom."""


class AuditError(StrongroomError):
    """The audit log cannot be written. Nothing was read or changed: without a record nothing is."""


class PluginError(StrongroomError):
    """A plugin is missing, broken or registered twice. The message names the distributions."""


class MigrationError(StrongroomError):
    """A migration is incomplete. The message counts the finished and the unfinished secrets.

    Attributes:
        report: a `strongroom.migrate.Report` on each secret; None if nothing was started.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class RotationError(StrongroomError):
    """A rotation failed and was undone: the old credential works. The message names the step and the next command.

    Attributes:
        path: the secret's path.
        step: the step that failed: apply, prove, promote or revoke.
    """

    def __init__(self, message: str, path: str = "", step: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.step = step


class UnfinishedRotationError(RotationError):
    """A rotation failed and has to be resumed or undone. Both credentials stay stored until a login proves one."""


class DecryptionError(StrongroomError):
    """A text of an encrypted column cannot be decrypted. An outage of the stores is a `StoreUnavailableError` instead.

    Attributes:
        path: the path of the keyset.
        column: the name for which the text was encrypted, such as `customer.iban`.
    """

    def __init__(self, message: str, path: str = "", column: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.column = column


class UnknownKeyError(DecryptionError):
    """The keyset lacks the key of the text, also when it is read past the cache.

    Attributes:
        key_id: the key that encrypted the text.
    """

    def __init__(self, message: str, path: str = "", column: str = "", key_id: str = "") -> None:
        super().__init__(message, path, column)
        self.key_id = key_id


class AlteredTextError(DecryptionError):
    """The text was changed, or it is that of another column or row, or of another key with the same id."""


class PlainTextError(DecryptionError):
    """The value is not encrypted."""


class StoreError(StrongroomError):
    """A store failed.

    A StoreError of no subclass ends a read: no other link is queried.

    Args:
        path: the secret's path, if the failure is about one.
        reason: what happened, in a few words; never a value, a token or the body of a reply.
        store: the store's name in the chain. A backend may leave it out.
        hint: what to do next, as an imperative sentence. The class has a default.
        attempts: the answer of each link, if the chain raises the error.
    """

    summary: ClassVar[str] = "The store failed"
    default_hint: ClassVar[str] = ""

    def __init__(
        self,
        path: str | None = None,
        reason: str = "",
        *,
        store: str | None = None,
        hint: str | None = None,
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        super().__init__(path)
        self.path = path
        self.reason = reason
        self.store = store
        self.hint = self.default_hint if hint is None else hint
        self.attempts = attempts

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


class SecretNotFoundError(StoreError):
    """The store answered that it has no such secret or no such key.

    A backend raises it for a confirmed absence only: never for an outage, a denial or an unreadable reply.
    """

    summary = "Secret not found"


class MissingKeyError(SecretNotFoundError, KeyError):
    """A whole secret lacks the key, as in `get_secret("database/connection")["url"]`. The hint names its keys."""

    summary = "Key not found"


class AuthenticationError(StoreError):
    """The store rejects the credentials: they are wrong, expired or revoked."""

    summary = "Failed to authenticate with the store"
    default_hint = "Check the credentials of this store, and that they have not expired"


class PermissionDeniedError(StoreError):
    """The credentials are valid, but do not allow this operation on this path."""

    summary = "Permission denied"
    default_hint = "Grant access to this path"


class StoreUnavailableError(StoreError):
    """The store gave no usable answer in time: connection refused, timeout, sealed, overloaded, or unreadable reply.

    Whether the secret exists is unknown. A read can be retried.

    Attributes:
        path_only: the outage concerns this path alone, such as the database behind it. The store is still queried for
            other paths. A backend sets it with `copy(path_only=True)`.
        conclusive: False if the failure tells nothing about the store, because the call has waited for a free
            connection of this process. It begins no outage. A backend sets it with `copy(conclusive=False)`.
        retry_after: the seconds for which a service that throttles its callers asks for no request; None if it does not
            say, and if the failure is another one. A chain whose read has this time asks it again.
    """

    path_only: bool = False
    conclusive: bool = True
    retry_after: float | None = None

    summary = "Store unavailable"
    default_hint = "Check that the store is running and can be reached"


class WriteOutcomeUnknownError(StoreUnavailableError):
    """A write may or may not have been made, since the store's reply was lost or does not tell.

    The store has not repeated a write that could overwrite another writer's secret.
    """

    summary = "The write may or may not have been made"
    default_hint = "Read the secret before you write it again"


class ConflictError(StoreError):
    """The secret changed since it was read, or the write would hide keys of another store. Nothing was written."""

    summary = "Conflict, nothing was written"


class InvalidPathError(StoreError):
    """The path or key can never name a secret here. Nothing was sent to a store."""

    summary = "Invalid path"


class InvalidDataError(StoreError):
    """The data cannot be stored exactly, or the stored value is not of the requested type."""

    summary = "Invalid data"


class SecretTooLargeError(StoreError):
    """The secret is larger than the store allows, or than the largest reply that Strongroom reads."""

    summary = "Secret too large"


class UnsupportedOperationError(StoreError):
    """The store does not have this capability."""

    summary = "Unsupported operation"


def shown(path: str) -> str:
    """Return the path as a message shows it: one line, whole, in quotes if its ends are not plain."""
    cut = path if len(path) <= _SHOWN_LENGTH else path[: _SHOWN_LENGTH - 1] + "…"
    return cut if cut and cut.isprintable() and cut == cut.strip() else ascii(cut)


def newer_format(version: int, known: int) -> str:
    """Return the fault of a document of a later format, whose fields this release must not interpret.

    Args:
        version: the version of its format.
        known: the newest version that this release reads.
    """
    return f"it needs a later Strongroom: its format is version {version}, and this release reads up to {known}"


def nearest(name: object, known: Iterable[str], synonyms: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """Return the known name that was probably meant, or None. It is one of `known`, never the given text.

    Args:
        name: the unknown name; None for anything but text.
        known: the known names.
        synonyms: words that others use for a known name, each with that name.
    """
    import difflib

    if not isinstance(name, str):
        return None
    meant = {**synonyms, **{each: each for each in known}}
    near = difflib.get_close_matches(name.lower(), meant, n=1, cutoff=_LEAST_LIKENESS)
    return meant[near[0]] if near else None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name, such as `; did you mean "approle"?`, or an empty string."""
    near = nearest(name, known)
    return "" if near is None else f'; did you mean "{near}"?'
