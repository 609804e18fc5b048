"""Exit codes of the command line, one table for every command and every error."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Self

from strongroom import errors
from strongroom.errors import StrongroomError


class ExitCode(IntEnum):
    """Exit codes. `meaning` is the text in `strongroom --help`."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Create a member with its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "success"
    FAILED = 1, "declined at the prompt, an undone rotation, or an unexpected failure"
    USAGE = 2, "invalid command line"
    NOT_FOUND = 3, "secret or key not found"
    DENIED = 4, "permission denied, or authentication failed"
    UNAVAILABLE = 5, "a store is unavailable: try again later"
    IMPOSSIBLE = 6, "conflict, invalid path or value, too large, or not supported"
    CONFIGURATION = 7, "invalid configuration or plugin, or a file of a later release"
    PARTIAL = 8, "partly done"
    DIFFERENT = 10, "differences found, or changes pending"
    CHANGED = 11, "a secret changed, and run --on-change exit ended its command"
    INTERRUPTED = 130, "interrupted"
    CLOSED_PIPE = 141, "the output pipe was closed"


CODES: dict[type[StrongroomError], ExitCode] = {
    errors.SecretNotFoundError: ExitCode.NOT_FOUND,
    errors.AuthenticationError: ExitCode.DENIED,
    errors.PermissionDeniedError: ExitCode.DENIED,
    errors.StoreUnavailableError: ExitCode.UNAVAILABLE,
    errors.ConflictError: ExitCode.IMPOSSIBLE,
    errors.InvalidPathError: ExitCode.IMPOSSIBLE,
    errors.InvalidDataError: ExitCode.IMPOSSIBLE,
    errors.SecretTooLargeError: ExitCode.IMPOSSIBLE,
    errors.UnsupportedOperationError: ExitCode.IMPOSSIBLE,
    errors.DecryptionError: ExitCode.IMPOSSIBLE,
    errors.ConfigurationError: ExitCode.CONFIGURATION,
    errors.PluginError: ExitCode.CONFIGURATION,
    errors.MigrationError: ExitCode.PARTIAL,
    errors.RotationError: ExitCode.FAILED,
    errors.UnfinishedRotationError: ExitCode.PARTIAL,
    StrongroomError: ExitCode.FAILED,
}
"""Exit code of each error class. A class that is not listed, such as one of a backend, has its parent's."""

_GRAVEST_FIRST = (
    ExitCode.CONFIGURATION,
    ExitCode.FAILED,
    ExitCode.PARTIAL,
    ExitCode.IMPOSSIBLE,
    ExitCode.DENIED,
    ExitCode.NOT_FOUND,
    ExitCode.UNAVAILABLE,
)


def code_of(error: StrongroomError) -> ExitCode:
    """Return the exit code of an error."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def code_of_all(found: Iterable[StrongroomError]) -> ExitCode:
    """Return the code of the gravest error, or DONE without errors. UNAVAILABLE is the least: a retry may be enough."""
    return min(map(code_of, found), key=_GRAVEST_FIRST.index, default=ExitCode.DONE)
