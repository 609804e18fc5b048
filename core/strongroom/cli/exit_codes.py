"""What the command's exit code says: one table, for every command and every error."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Self

from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    MigrationError,
    PermissionDeniedError,
    PluginError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
)


class ExitCode(IntEnum):
    """Each code, and in its `meaning` the words of `strongroom --help`."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """A member with its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "done"
    UNEXPECTED = 1, "an unexpected failure"
    USAGE = 2, "the command line is wrong"
    NOT_FOUND = 3, "there is no such secret or key"
    DENIED = 4, "denied, or not authenticated"
    UNAVAILABLE = 5, "a store gave no answer in time: worth trying again"
    IMPOSSIBLE = 6, "it cannot be done: a conflict, a bad path or value, too large, or not supported"
    CONFIGURATION = 7, "the configuration or a plugin is wrong"
    PARTIAL = 8, "done in part"
    DIFFERENT = 10, "what was compared differs, or changes are pending"
    INTERRUPTED = 130, "interrupted"
    CLOSED_PIPE = 141, "the reader of the output went away"


CODES: dict[type[StrongroomError], ExitCode] = {
    SecretNotFoundError: ExitCode.NOT_FOUND,
    AuthenticationError: ExitCode.DENIED,
    PermissionDeniedError: ExitCode.DENIED,
    StoreUnavailableError: ExitCode.UNAVAILABLE,
    ConflictError: ExitCode.IMPOSSIBLE,
    InvalidPathError: ExitCode.IMPOSSIBLE,
    InvalidDataError: ExitCode.IMPOSSIBLE,
    SecretTooLargeError: ExitCode.IMPOSSIBLE,
    UnsupportedOperationError: ExitCode.IMPOSSIBLE,
    ConfigurationError: ExitCode.CONFIGURATION,
    PluginError: ExitCode.CONFIGURATION,
    MigrationError: ExitCode.PARTIAL,
    StrongroomError: ExitCode.UNEXPECTED,
}
"""The code of each error class; a class that is not here, such as a backend's own, has its nearest parent's."""

_GRAVEST_FIRST = (
    ExitCode.CONFIGURATION,
    ExitCode.UNEXPECTED,
    ExitCode.PARTIAL,
    ExitCode.IMPOSSIBLE,
    ExitCode.DENIED,
    ExitCode.NOT_FOUND,
    ExitCode.UNAVAILABLE,
)


def code_of(error: StrongroomError) -> ExitCode:
    """The exit code that stands for this error."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def code_of_all(errors: Iterable[StrongroomError]) -> ExitCode:
    """The code of the error that needs the most doing, since UNAVAILABLE says that trying again is enough.

    DONE where there is none.
    """
    return min(map(code_of, errors), key=_GRAVEST_FIRST.index, default=ExitCode.DONE)
