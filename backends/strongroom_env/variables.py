"""Variables as secrets, one for each key: the process environment, which is never changed, and a `.env` file."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from strongroom.errors import (
    Check,
    CheckState,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreUnavailableError,
)
from strongroom.files.bounded import read_bytes
from strongroom.formats.variables import EnvironmentMapping, is_service_link, variable_value
from strongroom.paths import entries_below
from strongroom.secret import Secret, SensitiveStr, Value, protect
from strongroom.store import Health, Option, Traits

if TYPE_CHECKING:
    from strongroom.formats.dotenv import Dotenv

logger = logging.getLogger("strongroom.env")

_SHOWN_NAMES = 8
_FILE = "_FILE"
_MAX_SIZE = 1 << 20
"""The largest file that a variable may name, in bytes."""


class VariableStore(ABC):
    """Variables as secrets, one variable for each key.

    An empty variable counts as missing, because some CI systems set absent secrets to it. So does a service link of
    Kubernetes, which is skipped with one warning for each name.

    Several paths and keys can have one derived name. If a variable answers for a second one, there is a warning.

    Args:
        mapping: the names.
        origin: the source of the variables, for messages: "the environment", a file.
    """

    traits = Traits(local=True)

    def __init__(self, mapping: EnvironmentMapping, origin: str) -> None:
        self._mapping = mapping
        self._origin = origin
        self._warned: dict[str, object] = {}
        self._answered: dict[str, tuple[str, str]] = {}
        """The path and key for which each variable has answered first."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._origin!r})"

    @abstractmethod
    def variables(self, path: str | None) -> Mapping[str, str]:
        """Return all current variables.

        Raises:
            SecretNotFoundError: the source does not exist, so no variable is set.
        """

    def read(self, path: str) -> Secret:
        """Return the keys of the table at this path whose variables are set. The open rule cannot list keys."""
        names = self._mapping.keys(path)
        if not names:
            raise SecretNotFoundError(
                path, "no variable is known for the whole secret", hint="Ask for one key, or list its keys in [secrets]"
            )
        variables = self.variables(path)
        data = {key: value for key, name in names.items() if (value := self._usable(name, variables)) is not None}
        if not data:
            raise SecretNotFoundError(path, f"{_none_set(names.values())} in {self._origin}")
        for key in data:
            self._note(names[key], path, key)
        return Secret(path=path, data=data)

    def read_key(self, path: str, key: str) -> Value:
        """Return the variable of this path and key, by the table or by the open rule if it is enabled."""
        name = self._mapping.variable(path, key)
        if name is None:
            raise SecretNotFoundError(path, f"no variable stands for key {key!r}")
        variables = self.variables(path)
        value = self._usable(name, variables)
        if value is None:
            raise SecretNotFoundError(path, f"{name} is {_why_not(variables.get(name))} in {self._origin}")
        self._note(name, path, key)
        return value

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names of the table below the prefix whose variables are set."""
        try:
            variables = self.variables(prefix or None)
        except SecretNotFoundError:
            return
        start = f"{prefix}/" if prefix else ""
        located = ((path, name) for path, _, name in self._mapping.present(variables) if path.startswith(start))
        set_ones = (path for path, name in located if self._usable(name, variables) is not None)
        yield from sorted(entries_below(set_ones, prefix))

    def close(self) -> None:  # noqa: B027  # subclasses hold no resource
        pass  # no resource is held

    def _note(self, name: str, path: str, key: str) -> None:
        """Warn once of a variable that answers for more than one path and key: one of the two values is wrong."""
        first = self._answered.setdefault(name, (path, key))
        if first != (path, key) and self._is_first(f"{name}#"):
            text = "%s in %s answers for %s and for %s: list both in [secrets], each with its own variable"
            logger.warning(text, name, self._origin, "#".join(first), f"{path}#{key}")

    def _is_first(self, warning: str) -> bool:
        """Return True for the first thread that gives this warning."""
        mark = object()
        return self._warned.setdefault(warning, mark) is mark

    def _usable(self, name: str, variables: Mapping[str, str]) -> Value | None:
        value = variables.get(name)
        if not value:
            return None
        if is_service_link(name, value):
            if self._is_first(name):
                logger.warning("%s in %s is skipped: it holds a Kubernetes service link", name, self._origin)
            return None
        return protect(variable_value(value))


class EnvironmentStore(VariableStore):
    """The variables of this process, by the mapping's names, and the files that NAME_FILE variables name."""

    def __init__(self, mapping: EnvironmentMapping) -> None:
        super().__init__(mapping, "the environment")

    def variables(self, path: str | None) -> Mapping[str, str]:
        """Return the live environment, so that later changes are seen."""
        return _Variables(path, self._mapping.files)


class _Variables(Mapping[str, str]):
    """The live environment. `NAME_FILE` gives `NAME` the content of a file, as images for containers do.

    So does an absolute path in one of `files`, the variables of rows with `as_path`, as `strongroom run` sets it.
    """

    def __init__(self, path: str | None, files: Collection[str]) -> None:
        self._path = path
        self._files = files

    def __getitem__(self, name: str) -> str:
        file = os.environ.get(name + _FILE)
        if not file:
            text = os.environ[name]
            is_path = name in self._files and text.startswith("/")
            return self._content(name, text) if is_path else text
        if os.environ.get(name):
            raise InvalidDataError(self._path, f"{name} and {name}{_FILE} are both set", hint="Unset one of them")
        content = self._content(name + _FILE, file)
        return SensitiveStr(content[:-1].removesuffix("\r")) if content.endswith("\n") else content

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*os.environ, *(name.removesuffix(_FILE) for name in os.environ)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _content(self, variable: str, file: str) -> str:
        """Return the content of a file; bytes that are not UTF-8 as lone surrogates."""
        reason = f"the file of {variable}"
        try:
            content, _ = read_bytes(file, _MAX_SIZE)
        except PermissionError:
            raise PermissionDeniedError(self._path, f"{reason} may not be read", hint="Let this user read it") from None
        except (OSError, ValueError) as error:
            fault = (error.strerror if isinstance(error, OSError) else None) or "invalid file name"
            hint = f"Check {variable}, and that the file is mounted"
            raise StoreUnavailableError(self._path, f"{reason}: {fault}", hint=hint) from None
        if len(content) > _MAX_SIZE:
            del content
            raise SecretTooLargeError(self._path, f"{reason} has more than {_MAX_SIZE:,} bytes")
        return SensitiveStr(os.fsdecode(content))


def open_env(*, mapping: EnvironmentMapping) -> EnvironmentStore:
    """The process environment."""
    return EnvironmentStore(mapping)


class DotenvStore(VariableStore):
    """The variables of a `.env` file, named by the mapping.

    Each read parses the file (0.3 ms for twenty lines), so an edit is seen at once and no value stays in memory.

    Args:
        mapping: the names.
        file: the file, relative to the working directory at this moment.
    """

    def __init__(self, mapping: EnvironmentMapping, file: Path) -> None:
        super().__init__(mapping, str(file))
        self._file = file.absolute()

    def variables(self, path: str | None) -> Mapping[str, str]:
        """Return the variables of the current file.

        Raises:
            SecretNotFoundError: there is no such file, or a folder of that name, so every variable is absent.
            PermissionDeniedError: it may not be read.
            StoreUnavailableError: it is an empty folder, which Docker creates in the place of a file to mount that is
                missing; or it cannot be read for another reason.
            ConfigurationError: a line is malformed. Names the file and the line.
        """
        return {name: value for name, value in self._read(path).values.items() if isinstance(value, str)}

    def _read(self, path: str | None) -> Dotenv:
        from strongroom.formats.dotenv import read_dotenv  # the store is in each default chain, and is seldom read

        try:
            return read_dotenv(self._file)
        except (FileNotFoundError, NotADirectoryError):
            raise SecretNotFoundError(path, f"there is no {self._origin}") from None
        except IsADirectoryError:
            if self._is_empty():
                hint = "Docker creates it if the file of a bind mount is missing: provide the file"
                raise StoreUnavailableError(path, f"{self._origin} is an empty folder, not a file", hint=hint) from None
            raise SecretNotFoundError(path, f"{self._origin} is a folder, not a file") from None
        except PermissionError:
            raise PermissionDeniedError(
                path, f"{self._origin} may not be read", hint="Let this user read the file"
            ) from None
        except OSError as error:
            raise StoreUnavailableError(
                path, f"{self._origin}: {error.strerror}", hint="Check that it is a regular file"
            ) from None

    def _is_empty(self) -> bool:
        """Return True for an empty folder. One with content is a virtual environment, or holds files of variables."""
        try:
            return next(self._file.iterdir(), None) is None
        except OSError:
            return False

    def probe(self) -> Health:
        """Return whether the file can be read now, with its probable mistakes as warnings.

        A missing file is healthy and empty, and so is a folder of that name with content.
        """
        try:
            read = self._read(None)
        except SecretNotFoundError as absence:
            return Health(ok=True, detail=absence.reason)
        hint = f"Correct {self._origin}, which is read all the same"
        checks = tuple(Check("tidy", CheckState.WARNING, note, hint) for note in read.notes)
        return Health(ok=True, detail=f"variables in {self._origin}: {len(read.values):,}", checks=checks)


def open_dotenv(
    *, mapping: EnvironmentMapping, file: Annotated[Path, Option("the file to read", location=True)] = Path(".env")
) -> DotenvStore:
    """A .env file."""
    return DotenvStore(mapping, file)


def _why_not(value: str | None) -> str:
    return "not set" if value is None else "a Kubernetes service link" if value else "empty"


def _none_set(names: Collection[str]) -> str:
    """Return a message that none of these is set, cut if they are many."""
    shown = ", ".join(list(names)[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
    return f"{shown} is not set" if len(names) == 1 else f"none of {shown} is set"
